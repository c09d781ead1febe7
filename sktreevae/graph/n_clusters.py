"""Support of the splits of a tree by held-out samples, and number of clusters."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular
from scipy.stats import chi2

from ..data import FeatureTable, count_extremes
from ..tree.arrays import leaves_below_merges
from ..utils.limits import MAX_MODEL_ROWS
from .gaussians import principal_axes, shrunk_covariance

MAX_COMPONENTS = 20
"""Maximum number of principal components of the features."""

MIN_STANDARD_ERRORS = 2.0
"""Improvement of the mean log-density, in standard errors, that keeps a split."""

OUTLIER_PROB = 1e-12
"""Probability of samples of a Gaussian that are further away than an outlier."""

N_FOLDS = 5
"""Number of parts of the samples, each of which is held out once."""

UNKNOWN_LOG_DENSITY = -1e9
"""Log-density if there are too few samples to fit a Gaussian."""

Array = NDArray[np.float64]


def split_support(
    features: FeatureTable,
    cluster: NDArray[np.int64],
    merges: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Return how much the splits of a tree help to predict held-out samples.

    A Gaussian is fitted to each node on four fifths of the samples. The density of the
    others is that of the Gaussian, or of the mixture of the two branches. From the
    leaves upward, a split is kept if the mixture increases the mean log-density of
    held-out samples by more than two standard errors. Each fifth is held out once. The
    largest and smallest increases, up to four of each, count as the next ones: a single
    outlier has a log-density far below all others.

    Parameters
    ----------
    features : FeatureTable of shape (n_samples, n_features)
        Data. At most 10 000 random rows and their first 20 principal components are
        used.
    cluster : ndarray of int of shape (n_samples,)
        Leaf of each sample, 0 to n_leaves - 1.
    merges : ndarray of int of shape (n_leaves - 1, 2)
        The tree, numbered as in `scipy.cluster.hierarchy.linkage`.
    rng : numpy.random.Generator
        Draws the folds.

    Returns
    -------
    gain : ndarray of shape (n_leaves - 1,)
        Increase of the mean log-density by each split, in nats per sample below it.
    error : ndarray of shape (n_leaves - 1,)
        Its standard error; infinite for a node with fewer than two samples.
    """
    order = rng.permutation(len(features))[:MAX_MODEL_ROWS]
    rows = features[torch.from_numpy(order).to(features.device)].numpy(force=True)
    x, cluster = rows @ principal_axes(rows, MAX_COMPONENTS), cluster[order]
    fold = np.arange(len(x)) % N_FOLDS
    n_leaves = len(merges) + 1
    is_member = leaves_below_merges(merges)[:, cluster]
    density = [
        _held_out_log_density(x, is_member[leaf], fold) for leaf in range(n_leaves)
    ]
    gain, error = np.zeros(len(merges)), np.full(len(merges), np.inf)
    for step, (left, right) in enumerate(merges):
        member = is_member[n_leaves + step]
        single = _held_out_log_density(x, member, fold)
        share = (is_member[left].sum() + 1) / (member.sum() + 2)
        mixture = np.logaddexp(
            np.log(share) + density[left], np.log1p(-share) + density[right]
        )
        if member.sum() > 1:
            gains = _without_outliers((mixture - single)[member])
            gain[step] = gains.mean()
            error[step] = gains.std() / np.sqrt(len(gains))
        is_kept = is_supported(gain[step], error[step])
        density.append(mixture if is_kept else single)
    return gain, error


def _without_outliers(values: Array) -> Array:
    """Return values with the extremes at both ends replaced by the next values."""
    n_extremes = count_extremes(len(values))
    kth = [n_extremes, len(values) - 1 - n_extremes]
    return np.clip(values, *np.partition(values, kth)[kth])


def is_supported(gain: ArrayLike, error: ArrayLike) -> NDArray[np.bool_]:
    """Return whether gains are positive beyond their standard errors."""
    return np.greater(gain, MIN_STANDARD_ERRORS * np.asarray(error))


def count_supported(merges: NDArray[np.int64], gain: Array, error: Array) -> int:
    """Count the leaves of the tree that remain without unsupported splits.

    Parameters
    ----------
    merges : ndarray of int of shape (n_leaves - 1, 2)
        The tree.
    gain, error : ndarrays of shape (n_leaves - 1,)
        Results of `split_support`.

    Returns
    -------
    n_clusters : int
        From 1 to the number of leaves.
    """
    n_clusters = [1] * (len(merges) + 1)
    is_kept = is_supported(gain, error)
    for (left, right), kept in zip(merges, is_kept, strict=True):
        n_clusters.append(n_clusters[left] + n_clusters[right] if kept else 1)
    return n_clusters[-1]


def _held_out_log_density(
    x: Array, member: NDArray[np.bool_], fold: NDArray[np.int64]
) -> Array:
    """Return the log-density of all rows by a Gaussian of members in other folds."""
    result = np.empty(len(x))
    for k in range(N_FOLDS):
        result[fold == k] = _log_density(x[fold == k], x[member & (fold != k)])
    return result


def _log_density(x: Array, sample: Array) -> Array:
    """Return the log-density by a Gaussian with mean and covariance of a sample.

    Outliers of the sample are left out.
    """
    if len(sample) < 2:
        return np.full(len(x), UNKNOWN_LOG_DENSITY)
    square, _ = _square_distances(sample, sample)
    n_extremes = count_extremes(len(sample))
    core = sample[np.argsort(square)[: len(sample) - n_extremes]]
    if n_extremes > 0:
        # Distances from the others tell whether they are outliers.
        square, _ = _square_distances(sample, core)
        core = sample[square <= max(chi2.isf(OUTLIER_PROB, x.shape[1]), square.min())]
    square, log_det = _square_distances(x, core)
    return -0.5 * (square + log_det + x.shape[1] * np.log(2 * np.pi))


def _square_distances(x: Array, sample: Array) -> tuple[Array, float]:
    """Return squared Mahalanobis distances, and the log-determinant of the covariance.

    Mean and covariance are those of a sample.
    """
    root = np.linalg.cholesky(shrunk_covariance(sample))
    z = solve_triangular(root, (x - sample.mean(axis=0)).T, lower=True)
    return np.square(z).sum(axis=0), 2 * np.log(root.diagonal()).sum()
