"""Moments of groups of samples, and effect sizes of the differences between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import rankdata
from sklearn.preprocessing import StandardScaler

from ._chunks import row_slices

if TYPE_CHECKING:
    from .data import Matrix

__all__ = [
    "GroupMoments",
    "area_under_curve",
    "effect_size",
    "mix_moments",
    "pooled_spread",
    "row_moments",
]

MIN_VARIANCE_SHARE = 1e-3
"""Minimum of the pooled variance, relative to the variance of two equal groups taken
together. It bounds effects of features that are constant in both groups to 63."""

MIN_RELATIVE_SPREAD = 1e-8
"""Minimum of the pooled standard deviation, relative to the means: rounding errors of
the means of a constant feature are no effect."""

MAX_VALUES = 1 << 24
"""Maximum number of values of several features that are ranked at a time."""

Floats = NDArray[np.float64]
Groups = Sequence[NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class GroupMoments:
    """Mean and variance of each feature in each group.

    Parameters
    ----------
    mean, variance : ndarray of shape (n_groups, n_features)
        Mean and variance, in the units of X.
    """

    mean: Floats
    variance: Floats


def mix_moments(moments: GroupMoments, share: Floats) -> GroupMoments:
    """Return the moments of mixtures of groups.

    The variance of a mixture is the mean variance of its groups, plus the variance of
    their means.

    Parameters
    ----------
    moments : GroupMoments
        Moments of the groups.
    share : ndarray of shape (n_mixtures, n_groups)
        Share of each group in each mixture; rows sum to 1.

    Examples
    --------
    >>> moments = GroupMoments(np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]]))
    >>> mix_moments(moments, np.array([[0.5, 0.5]]))
    GroupMoments(mean=array([[1.]]), variance=array([[2.]]))
    """
    mean = share @ moments.mean
    variance = np.empty_like(mean)
    for i, row in enumerate(share):
        between = np.square(moments.mean - mean[i])
        variance[i] = row @ (moments.variance + between)
    return GroupMoments(mean, variance)


def row_moments(X: Matrix, groups: Groups) -> GroupMoments:
    """Return the moments of groups of rows, in one pass over a matrix.

    Parameters
    ----------
    X : ndarray, CSR matrix or LazyRows of shape (n_samples, n_features)
        Data in the user's units.
    groups : sequence of ndarray of bool of shape (n_samples,)
        Rows of each group, at least one.
    """
    # Scalers update means and variances without cancellation.
    scalers = [StandardScaler(with_mean=not sparse.issparse(X)) for _ in groups]
    for rows in row_slices(*X.shape):
        chunk = X[rows].astype(np.float64)
        for scaler, group in zip(scalers, groups, strict=True):
            if group[rows].any():
                scaler.partial_fit(chunk[group[rows]])
    return GroupMoments(
        np.array([scaler.mean_ for scaler in scalers]),
        np.array([scaler.var_ for scaler in scalers]),
    )


def pooled_spread(left: GroupMoments, right: GroupMoments) -> Floats:
    """Return the standard deviation within two groups, (..., n_features).

    It is the root of the mean of the two variances, so that it doesn't depend on the
    sizes of the groups. It isn't much smaller than the difference of their means, and 0
    only for features that are 0 in both groups.
    """
    within = (left.variance + right.variance) / 2
    total = within + np.square((left.mean - right.mean) / 2)
    spread = np.sqrt(np.maximum(within, MIN_VARIANCE_SHARE * total))
    largest = np.maximum(np.abs(left.mean), np.abs(right.mean))
    return np.maximum(spread, MIN_RELATIVE_SPREAD * largest)


def effect_size(left: GroupMoments, right: GroupMoments) -> Floats:
    """Return standardized differences of means (Cohen's d), (..., n_features).

    Positive where the left group has the larger mean.

    Examples
    --------
    >>> left = GroupMoments(np.array([3.0]), np.array([1.0]))
    >>> right = GroupMoments(np.array([1.0]), np.array([1.0]))
    >>> effect_size(left, right)
    array([2.])
    """
    difference = left.mean - right.mean
    spread = pooled_spread(left, right)
    return np.divide(
        difference, spread, out=np.zeros_like(difference), where=spread > 0
    )


def area_under_curve(
    X: Matrix, groups: Groups, features: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the probability that a feature is larger in a row of the first group.

    Ties count half. It is the area under the ROC curve, 0.5 for equal distributions.

    Parameters
    ----------
    X : ndarray, CSR matrix or LazyRows of shape (n_samples, n_features)
        Data.
    groups : sequence of two ndarrays of bool of shape (n_samples,)
        Rows of the two groups, at least one each.
    features : ndarray of int of shape (n_selected,)
        Columns.

    Returns
    -------
    area : ndarray of shape (n_selected,)
        Between 0 and 1.
    """
    first, second = groups
    is_either = first | second
    is_first = first[is_either]
    n_first, n_second = first.sum(), second.sum()
    rank_sums = np.empty(len(features))
    size = max(MAX_VALUES // max(len(is_first), 1), 1)
    for start in range(0, len(features), size):
        columns = features[start : start + size]
        values = np.concatenate(
            [
                _dense(X[rows][:, columns])[is_either[rows]]
                for rows in row_slices(*X.shape)
            ]
        )
        for i in range(len(columns)):
            rank_sums[start + i] = rankdata(values[:, i])[is_first].sum()
    n_larger = rank_sums - n_first * (n_first + 1) / 2
    return n_larger / (n_first * n_second)


def _dense(rows: np.ndarray | sparse.csr_array) -> np.ndarray:
    return rows.toarray() if sparse.issparse(rows) else rows
