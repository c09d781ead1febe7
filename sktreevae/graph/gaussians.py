"""Gaussians of samples: shrunk covariances, and mixtures that start from clusters."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.special import digamma, gammaln
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from ..tree.arrays import Ints
from ..utils.limits import MAX_MODEL_ROWS, MAX_STATISTICS_ROWS, ROUNDING
from ..utils.random import draw_rows
from .linkage import Array, sum_members
from .neighbors import DENSITY_NEIGHBORS

MAX_STEPS = 20
"""Maximum number of steps of `refine_gaussians`."""

NEIGHBOR_WEIGHTS = 1.0, 10.0
"""Weights of the neighbors in `refine_gaussians` that are tried."""

MIN_SHARE = 0.01
"""Lower bound of the share of a cluster among the neighbors."""

MAX_MIXTURE_FEATURES = 32
"""Maximum number of dimensions of a Gaussian mixture. With more, its covariances cost
too much, and its posterior probabilities are near 0 or 1."""

MIN_ROWS_PER_FEATURE = 2
"""Minimum number of samples of a cluster of a Gaussian mixture, for each dimension."""

MAX_OVERCONFIDENCE = 0.05
"""Maximum excess of the mean of the largest posterior probability over the accuracy of
a mixture that is a model of clusters."""

MAX_DEFICIT = 0.05
"""Maximum difference of the mean log-densities of the nearest neighbors and of a
mixture that is a model of the samples, in nats, apart from two standard errors.
Mixtures of the Gaussians of the suite of shapes have 0.01, those of other shapes 0.14
and more."""

Shares = Callable[[Ints], NDArray[np.floating]]
"""Function that returns the share of each cluster of a partition among the neighbors of
each sample, (n_samples, n_clusters)."""

_FILTERS_LOCK = threading.Lock()
"""Warning filters belong to the process, and fits may run in threads."""


@dataclass(frozen=True, eq=False)
class ClusterMixture:
    """A Gaussian mixture of principal components.

    Parameters
    ----------
    axes : ndarray of shape (n_features, n_components)
        See `principal_axes`.
    mixture : GaussianMixture
        Mixture of the components.
    """

    axes: Array
    mixture: GaussianMixture

    def predict_proba(self, x: NDArray[np.floating]) -> Array:
        """Return posterior probabilities, (n_samples, n_clusters)."""
        return self.mixture.predict_proba(x @ self.axes)


def principal_axes(x: NDArray[np.floating], max_components: int) -> Array:
    """Return the axes of the principal components that vary.

    Features that are constant, or linear functions of others, have no component of
    their own. In the space of the features, a covariance would be shrunk toward a
    sphere in directions without variance, too.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The samples.
    max_components : int
        Maximum number of components, those of the largest variance.

    Returns
    -------
    axes : ndarray of shape (n_features, n_components)
        Orthonormal columns; at least one, also for equal samples.
    """
    n_samples, n_features = x.shape
    x = x.astype(np.float64)
    x -= x.mean(axis=0)
    largest = [max(0, n_features - max_components), n_features - 1]
    variance, axes = eigh(x.T @ x / n_samples, subset_by_index=largest)
    # Features have the rounding errors of float32.
    rounding = n_features * np.finfo(np.float32).eps
    is_positive = variance > rounding**2 * variance[-1]
    is_positive[-1] = True
    return axes[:, is_positive]


def stable_refinement(
    x: NDArray[np.floating],
    cluster: Ints,
    other: Ints,
    shares: Shares,
    generator: torch.Generator | np.random.Generator,
    min_size: float = 1,
) -> Ints:
    """Refine a partition as Gaussians, if this makes two partitions more alike.

    Two partitions from different starts are refined with each weight of the neighbors.
    The refinement, or none, after which they agree the most is returned. Where clusters
    aren't Gaussians of a common covariance, refinements of different partitions differ
    more than the partitions do.

    Parameters
    ----------
    x, cluster, shares, generator, min_size
        See `refine_gaussians`.
    other : ndarray of int of shape (n_samples,)
        A partition from another start.

    Returns
    -------
    cluster : ndarray of int of shape (n_samples,)
        A partition into as many clusters as `cluster`.
    """
    pairs = [(cluster, other)]
    for weight in NEIGHBOR_WEIGHTS:
        one, two = (
            refine_gaussians(x, labels, shares, weight, generator, min_size)
            for labels in (cluster, other)
        )
        pairs.append((one, two))
    return max(pairs, key=lambda pair: adjusted_rand_score(*pair))[0]


def refine_gaussians(
    x: NDArray[np.floating],
    cluster: Ints,
    shares: Shares,
    neighbor_weight: float,
    generator: torch.Generator | np.random.Generator,
    min_size: float = 1,
) -> Ints:
    """Move samples to the cluster that their Gaussian and their neighbors favor.

    All Gaussians have the same covariance and weight. The logarithm of the share of a
    cluster among the neighbors is added to its log-density, as in a Potts model. Means,
    covariance and shares are computed anew after each step, until no sample moves
    (classification EM, Celeux and Govaert 1992).

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The samples.
    cluster : ndarray of int of shape (n_samples,)
        A partition, 0 to n_clusters - 1.
    shares : callable
        See `Shares`.
    neighbor_weight : float
        Weight of the logarithm of the shares.
    generator : torch.Generator or numpy.random.Generator
        Draws the samples that the covariance is computed from, if there are many.
    min_size : float, default=1
        Minimum number of samples of a cluster. No step makes one smaller.

    Returns
    -------
    cluster : ndarray of int of shape (n_samples,)
        A partition into as many clusters.
    """
    n_clusters = cluster.max() + 1
    min_size = min(min_size, np.bincount(cluster).min())
    rows = draw_rows(len(x), MAX_STATISTICS_ROWS, generator)
    for _ in range(MAX_STEPS):
        mean = sum_members(x, cluster) / np.bincount(cluster)[:, None]
        residual = x[rows].astype(np.float64) - mean[cluster[rows]]
        factor = cho_factor(shrunk_covariance(residual))
        weight = cho_solve(factor, mean.T)
        bias = -0.5 * (mean.T * weight).sum(axis=0)
        score = x @ weight.astype(x.dtype) + bias
        score += neighbor_weight * np.log(shares(cluster) + MIN_SHARE)
        new = score.argmax(axis=1)
        if np.bincount(new, minlength=n_clusters).min() < min_size:
            break
        moved, cluster = (new != cluster).any(), new
        if not moved:
            break
    return cluster


def overlapping_gaussians(
    x: NDArray[np.floating],
    cluster: Ints,
    generator: torch.Generator | np.random.Generator,
) -> ClusterMixture | None:
    """Return the Gaussian mixture that models clusters, if there is one.

    Expectation-maximization starts from the clusters. The components share a covariance
    or have one each, whichever has the lower Bayesian information criterion. The
    mixture is a model of the clusters if it assigns as many samples to their own
    cluster as its probabilities claim, but for 0.05, and if its density is no lower
    than that of the nearest neighbors. Otherwise the clusters don't have the shape of
    Gaussians, and the probabilities have no meaning.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The samples.
    cluster : ndarray of int of shape (n_samples,)
        A partition, 0 to n_clusters - 1.
    generator : torch.Generator or numpy.random.Generator
        Draws the samples that a mixture is fitted to, if there are many.

    Returns
    -------
    mixture : ClusterMixture or None
        One Gaussian for each cluster. None if the clusters aren't Gaussian, if one is
        too small or if there are too many dimensions.
    """
    rows = draw_rows(len(x), MAX_MODEL_ROWS, generator)
    size = np.bincount(cluster[rows], minlength=cluster.max() + 1)
    if len(size) == 1:
        return None
    x, cluster = x[rows], cluster[rows]
    axes = principal_axes(x, MAX_MIXTURE_FEATURES + 1)
    n_components = axes.shape[1]
    is_small = size.min() < MIN_ROWS_PER_FEATURE * n_components
    if n_components > MAX_MIXTURE_FEATURES or is_small:
        return None
    x = x @ axes
    mixtures = [_fit_mixture(x, cluster, kind) for kind in ("tied", "full")]
    mixture = min(mixtures, key=lambda candidate: candidate.bic(x))
    proba = mixture.predict_proba(x)
    assigned = proba.argmax(axis=1)
    claimed = proba.max(axis=1).mean() - MAX_OVERCONFIDENCE
    is_model = np.mean(assigned == cluster) >= claimed
    if not is_model or len(np.unique(assigned)) < len(size):
        return None
    deficit = neighbor_log_density(x) - mixture.score_samples(x)
    if deficit.mean() > MAX_DEFICIT + 2 * deficit.std() / np.sqrt(len(x)):
        return None
    return ClusterMixture(axes, mixture)


def neighbor_log_density(x: Array) -> Array:
    """Return log-densities by the third neighbors, (n_samples,), in nats.

    Their mean estimates minus the entropy of any continuous distribution (Kozachenko
    and Leonenko 1987).
    """
    n_samples, n_features = x.shape
    k = min(DENSITY_NEIGHBORS, n_samples - 1)
    distance, _ = NearestNeighbors(n_neighbors=k).fit(x).kneighbors()
    log_ball = 0.5 * n_features * np.log(np.pi) - gammaln(0.5 * n_features + 1)
    log_distance = np.log(np.maximum(distance[:, -1], ROUNDING**2))
    return digamma(k) - digamma(n_samples) - log_ball - n_features * log_distance


def mixture_partition(x: Array, rows: Ints, cluster: Ints) -> Ints | None:
    """Return the partition by a Gaussian mixture that starts from a partition.

    Each component has a covariance of its own.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The samples.
    rows : ndarray of int of shape (n_rows,)
        Random samples; at most 10 000 of them are fitted.
    cluster : ndarray of int of shape (n_samples,)
        A partition, 0 to n_clusters - 1.

    Returns
    -------
    cluster : ndarray of int of shape (n_samples,) or None
        None if a cluster is lost, or if there are too few samples.
    """
    rows = rows[:MAX_MODEL_ROWS]
    n_clusters, n_features = cluster.max() + 1, x.shape[1]
    sample, start = x[rows], cluster[rows]
    if n_features == 0 or n_clusters == 1 or len(rows) <= n_clusters * (n_features + 1):
        return None
    if len(np.unique(start)) < n_clusters:
        return None
    labels = _fit_mixture(sample, start, "full").predict(x)
    return labels if len(np.unique(labels)) == n_clusters else None


def _fit_mixture(x: Array, cluster: Ints, kind: str) -> GaussianMixture:
    """Fit a Gaussian mixture that starts from clusters."""
    size = np.bincount(cluster)
    mean = sum_members(x, cluster) / size[:, None]
    if kind == "tied":
        covariance = shrunk_covariance(x - mean[cluster])
    else:
        groups = (x[cluster == i] for i in range(len(size)))
        covariance = np.stack([shrunk_covariance(group) for group in groups])
    mixture = GaussianMixture(
        len(size),
        covariance_type=kind,
        weights_init=size / len(x),
        means_init=mean,
        precisions_init=np.linalg.inv(covariance),
        tol=1e-4,
        # Clusters that overlap strongly converge slowly, and not to better ones.
        max_iter=20,
        random_state=0,  # nothing is drawn: all initial values are given
    )
    with _FILTERS_LOCK, warnings.catch_warnings():
        # The number of steps is limited on purpose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(x)


def shrunk_covariance(sample: Array) -> Array:
    """Return the covariance by oracle approximating shrinkage (Chen et al. 2010).

    It is shrunk toward a sphere, the more the fewer rows there are and the nearer to a
    sphere it is. Otherwise the errors of the covariances of two branches would outweigh
    the gain of a split.
    """
    # scikit-learn's `oas` warns of single rows, and divides by a rounding error if the
    # sample is a sphere.
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
    covariance.flat[:: n_features + 1] += shrinkage * variance + ROUNDING**2
    return covariance
