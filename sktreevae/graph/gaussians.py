"""Gaussians of samples: shrunk covariances, and clusters of a common covariance."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from .linkage import sum_members

__all__ = ["refine_gaussians", "shrunk_covariance"]

MIN_VARIANCE = 1e-12
"""Lower bound of a variance. The variance of the features is about 1."""

MAX_STEPS = 20
"""Maximum number of steps of `refine_gaussians`."""

MAX_COVARIANCE_ROWS = 20_000
"""Maximum number of samples that the common covariance is computed from."""

Array = NDArray[np.float64]


def refine_gaussians(
    x: NDArray[np.floating], cluster: NDArray[np.int64], min_size: float = 1
) -> NDArray[np.int64]:
    """Move samples to the cluster whose Gaussian makes them most probable.

    All Gaussians have the same covariance and weight. Means and covariance are computed
    anew after each step, until no sample moves (classification EM, Celeux and Govaert
    1992). The clusters that result are separated by linear discriminants.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The samples.
    cluster : ndarray of int of shape (n_samples,)
        A partition, 0 to n_clusters - 1.
    min_size : float, default=1
        Minimum number of samples of a cluster. No step makes one smaller.

    Returns
    -------
    cluster : ndarray of int of shape (n_samples,)
        A partition into as many clusters.
    """
    n_clusters = cluster.max() + 1
    min_size = min(min_size, np.bincount(cluster).min())
    rows = slice(None, None, math.ceil(len(x) / MAX_COVARIANCE_ROWS))
    for _ in range(MAX_STEPS):
        mean = sum_members(x, cluster) / np.bincount(cluster)[:, None]
        residual = x[rows].astype(np.float64) - mean[cluster[rows]]
        factor = cho_factor(shrunk_covariance(residual))
        weight = cho_solve(factor, mean.T)
        bias = -0.5 * (mean.T * weight).sum(axis=0)
        new = (x @ weight.astype(x.dtype) + bias).argmax(axis=1)
        if np.bincount(new, minlength=n_clusters).min() < min_size:
            break
        moved, cluster = (new != cluster).any(), new
        if not moved:
            break
    return cluster


def shrunk_covariance(sample: Array) -> Array:
    """Return the covariance by oracle approximating shrinkage (Chen et al. 2010).

    It is shrunk toward a sphere, the more the fewer rows there are and the nearer to a
    sphere it is. Otherwise the errors of the covariances of two branches would outweigh
    the gain of a split.
    """
    n_samples, n_features = sample.shape
    centered = sample - sample.mean(axis=0)
    covariance = centered.T @ centered / n_samples
    variance = np.trace(covariance) / n_features
    mean_square = np.mean(covariance**2)
    excess = (n_samples + 1) * (mean_square - variance**2 / n_features)
    shrinkage = 1.0
    if excess > 0:
        shrinkage = min(1.0, (mean_square + variance**2) / excess)
    covariance *= 1.0 - shrinkage
    covariance.flat[:: n_features + 1] += shrinkage * variance + MIN_VARIANCE
    return covariance
