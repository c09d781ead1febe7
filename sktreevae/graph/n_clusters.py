"""P-values of the splits of a tree by held-out samples."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import xlogy

from ..data import FeatureTable
from ..tree.arrays import SIGNIFICANCE, Ints, sum_below_merges
from ..utils.limits import MAX_MODEL_ROWS, ROUNDING
from .gaussians import principal_axes, shrunk_covariance
from .linkage import Array

MAX_COMPONENTS = 20
"""Maximum number of principal components of the features."""

N_FOLDS = 5
"""Number of parts of the rows, each of which is projected by the others."""

N_INTERVALS = 3.0
"""Factor of a p-value for the choice of the intervals. With it, 2 to 5% of uniform
draws of 20 to 3000 rows have a p-value below 0.05, and 1% below 0.01. Draws of other
densities with one mode have fewer."""


def split_p_values(
    features: FeatureTable, cluster: Ints, merges: Ints, rng: np.random.Generator
) -> Array:
    """Return the p-value of each split of a tree: no gap separates its sides.

    From the leaves upward, the clusters on both sides of a split are compared. Each
    cluster of the side with fewer is paired with the nearest one of the other side; see
    `gap_evidence`. The p-value is that of the pair with the least evidence of a gap,
    since a split is real if it cuts no cluster. If it isn't significant, this pair is
    one cluster for the splits above.

    P-values are corrected for the number of splits, which share the level of
    significance by their numbers of samples (weighted Bonferroni): a tree of samples
    with one mode has a significant split with a probability of at most `SIGNIFICANCE`.

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
        Draws the rows, and values between those of discrete features.

    Returns
    -------
    p_value : ndarray of shape (n_leaves - 1,)
        Between 0 and 1; 1 if clusters have fewer than five samples.
    """
    order = rng.permutation(len(features))[:MAX_MODEL_ROWS]
    rows = features[torch.from_numpy(order).to(features.device)].numpy(force=True)
    x, cluster = spread_steps(rows, rng), cluster[order]
    x = x @ principal_axes(x, MAX_COMPONENTS)
    groups = [[x[cluster == leaf]] for leaf in range(len(merges) + 1)]
    size = np.bincount(cluster, minlength=len(groups))
    size = sum_below_merges(merges, size)[len(groups) :]
    n_splits = size.sum() / np.maximum(size, 1)
    p_value = np.ones(len(merges))
    for step, (left, right) in enumerate(merges):
        few, many = sorted((groups[left], groups[right]), key=len)
        evidence, one, other = _least_separated(few, many)
        p_value[step] = min(1.0, n_splits[step] * N_INTERVALS * np.exp(-evidence))
        clusters = few + many
        if p_value[step] > SIGNIFICANCE:
            clusters[one] = np.concatenate([few[one], many[other]])
            del clusters[len(few) + other]
        groups.append(clusters)
    return p_value


def spread_steps(x: NDArray[np.floating], rng: np.random.Generator) -> Array:
    """Return rows whose values fill the steps between those of discrete features.

    A value is drawn from the interval of the points that are nearest to it. Values of
    continuous features hardly move. Of a feature with two values, the intervals have
    half of the length: between two values there is a gap.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The samples.
    rng : numpy.random.Generator
        Draws the values.
    """
    x = x.astype(np.float64)
    for column in x.T:
        values, index = np.unique(column, return_inverse=True)
        if len(values) > 1:
            half = np.diff(values) / (4.0 if len(values) == 2 else 2.0)
            below, above = np.append(half[0], half), np.append(half, half[-1])
            column += rng.uniform(-below[index], above[index])
    return x


def _least_separated(few: list[Array], many: list[Array]) -> tuple[float, int, int]:
    """Return the least evidence of a gap between clusters of two sides, and where."""
    means = (
        np.stack([rows.sum(axis=0) / max(len(rows), 1) for rows in side])
        for side in (few, many)
    )
    nearest = cdist(*means).argmin(axis=1)
    evidence = [gap_evidence(few[i], many[j]) for i, j in enumerate(nearest)]
    one = int(np.argmin(evidence))
    return evidence[one], one, int(nearest[one])


def gap_evidence(left: Array, right: Array) -> float:
    """Return the evidence that a gap separates two groups of rows, in nats.

    The rows are projected to an axis. On it, an interval between two others is a gap if
    its density is lower than that of both. The evidence is the log-likelihood ratio of
    two densities and one, of the neighbor with less evidence and the interval with
    most. If the rows have one mode, fixed intervals have this evidence or more with a
    probability of at most ``exp(-evidence)`` (Chernoff).

    Parameters
    ----------
    left, right : ndarray of shape (n_samples, n_features)
        The groups, in random order.

    Returns
    -------
    evidence : float
        At least 0; 0 if a group has fewer than five rows.
    """
    if min(len(left), len(right)) < N_FOLDS:
        return 0.0
    return _gap_evidence(*_held_out_scores(left, right))


def _held_out_scores(left: Array, right: Array) -> tuple[Array, Array]:
    """Return groups on an axis: the linear discriminant of the rows of other folds."""
    folds = [np.arange(len(group)) % N_FOLDS for group in (left, right)]
    scores = np.empty(len(left)), np.empty(len(right))
    for k in range(N_FOLDS):
        center, axis = _discriminant(left[folds[0] != k], right[folds[1] != k])
        for score, group, fold in zip(scores, (left, right), folds, strict=True):
            score[fold == k] = (group[fold == k] - center) @ axis
    return scores


def _discriminant(left: Array, right: Array) -> tuple[Array, Array]:
    """Return a point and an axis, on which two groups have the means -0.5 and 0.5."""
    means = left.mean(axis=0), right.mean(axis=0)
    within = np.concatenate([left - means[0], right - means[1]])
    difference = means[1] - means[0]
    axis = np.linalg.solve(shrunk_covariance(within), difference)
    return (means[0] + means[1]) / 2, axis / max(axis @ difference, ROUNDING**2)


def _gap_evidence(left: Array, right: Array, n_cuts: int = 12) -> float:
    """Return the evidence of a gap among the values of two groups.

    Intervals end at as many quantiles of each group.
    """
    levels = np.linspace(0.0, 1.0, n_cuts)
    cuts = np.concatenate(
        [np.quantile(values, levels, method="inverted_cdf") for values in (left, right)]
    )
    cuts = np.unique(cuts)
    values = np.sort(np.concatenate([left, right]))
    n_below = np.searchsorted(values, cuts, side="right")
    start, stop = np.triu_indices(len(cuts), 1)
    gap = cuts[stop] - cuts[start], n_below[stop] - n_below[start]
    # One row for each cut: the interval between it and the gap.
    before = cuts[start] - cuts[:, None], n_below[start] - n_below[:, None]
    after = cuts[:, None] - cuts[stop], n_below[:, None] - n_below[stop]
    evidence = [_log_ratio(*gap, *side).max(axis=0) for side in (before, after)]
    return float(np.minimum(*evidence).max(initial=0.0))


def _log_ratio(length: Array, n: Ints, other_length: Array, n_other: Ints) -> Array:
    """Return the log-likelihood ratio of two densities of two intervals, and one.

    It is 0 unless the other interval has a positive length and the higher density.
    """
    n = n + 0.5  # an interval without rows has a density, too
    other_length, n_other = np.maximum(other_length, 0.0), np.maximum(n_other, 0)
    density = n / length
    other = n_other / np.maximum(other_length, np.finfo(float).tiny)
    both = (n + n_other) / (length + other_length)
    ratio = xlogy(n, density / both) + xlogy(n_other, other / both)
    return np.where(other > density, ratio, 0.0)
