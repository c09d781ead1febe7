"""How many clusters the data supports, by how well held-out samples are predicted."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from torch import Tensor

from .batches import Features

__all__ = ["count_supported"]

N_ROWS = 10_000
N_DIMENSIONS = 20
N_ERRORS = 2.0
N_FOLDS = 5
UNKNOWN = -1e9
"""Log-density where a fold leaves too little to fit a Gaussian to."""

TINY = 1e-12
"""Least variance; that of the data is about 1."""

Array = NDArray[np.float64]


def count_supported(
    x: Tensor | Features,
    cluster: NDArray[np.int64],
    merges: NDArray[np.int64],
    rng: np.random.Generator,
) -> int:
    """Count the leaves of a tree that predict held-out samples better than fewer do.

    A Gaussian is fitted to each node on four fifths of the samples; the density of the
    others is that of this Gaussian, or of the mixture of the node's two branches. From
    the leaves upwards, a split is kept if the mixture's mean log-density of held-out
    samples is larger by more than two standard errors. Each fifth is held out once.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
        Data. Of at most 10 000 rows, the first 20 principal components are used.
    cluster : ndarray of int of shape (n_samples,)
        Leaf of each sample, 0 to n_leaves - 1.
    merges : ndarray of int of shape (n_leaves - 1, 2)
        The tree, numbered as in `scipy.cluster.hierarchy.linkage`.
    rng : numpy Generator
        Draws the folds.

    Returns
    -------
    n_supported : int
        From 1 to the number of leaves.
    """
    order = rng.permutation(len(x))[:N_ROWS]
    rows = x[torch.from_numpy(order).to(x.device)].numpy(force=True)
    x, cluster = _principal_components(rows), cluster[order]
    fold = np.arange(len(x)) % N_FOLDS
    n_leaves = len(merges) + 1
    below = [np.array([leaf]) for leaf in range(n_leaves)]
    density = [
        _held_out_log_density(x, cluster == leaf, fold) for leaf in range(n_leaves)
    ]
    n_supported = [1] * n_leaves
    for left, right in merges:
        below.append(np.concatenate([below[left], below[right]]))
        member = np.isin(cluster, below[-1])
        single = _held_out_log_density(x, member, fold)
        share = (np.isin(cluster, below[left]).sum() + 1) / (member.sum() + 2)
        mixture = np.logaddexp(
            np.log(share) + density[left], np.log1p(-share) + density[right]
        )
        gain = (mixture - single)[member]
        error = gain.std() / np.sqrt(max(len(gain), 1))
        kept = len(gain) > 1 and gain.mean() > N_ERRORS * error
        density.append(mixture if kept else single)
        n_supported.append(n_supported[left] + n_supported[right] if kept else 1)
    return n_supported[-1]


def _principal_components(x: Array) -> Array:
    x = x - x.mean(axis=0)
    vectors = np.linalg.eigh(x.T @ x)[1][:, ::-1]
    return x @ vectors[:, :N_DIMENSIONS]


def _held_out_log_density(
    x: Array, member: NDArray[np.bool_], fold: NDArray[np.int64]
) -> Array:
    """Log-density of all rows, by a Gaussian of the members in the other folds."""
    result = np.empty(len(x))
    for k in range(N_FOLDS):
        result[fold == k] = _log_density(x[fold == k], x[member & (fold != k)])
    return result


def _log_density(x: Array, sample: Array) -> Array:
    """Log-density by a Gaussian with the mean and the covariance of a sample.

    The covariance is shrunk towards a sphere, as by one more row for each feature.
    """
    n_features = x.shape[1]
    if len(sample) < 2:
        return np.full(len(x), UNKNOWN)
    centred = sample - sample.mean(axis=0)
    covariance = centred.T @ centred
    variance = np.trace(covariance) / (n_features * len(sample))
    covariance.flat[:: n_features + 1] += n_features * max(variance, TINY)
    covariance /= len(sample) + n_features
    root = np.linalg.cholesky(covariance)
    z = solve_triangular(root, (x - sample.mean(axis=0)).T, lower=True)
    log_scale = np.log(root.diagonal()).sum() + 0.5 * n_features * np.log(2 * np.pi)
    return -0.5 * np.square(z).sum(axis=0) - log_scale
