"""Moments of groups of samples, and effect sizes of the differences between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import mannwhitneyu

from ..utils.chunks import MAX_CHUNK_VALUES, row_slices

if TYPE_CHECKING:
    from ..data import Matrix

MIN_VARIANCE_SHARE = 1e-3
"""Minimum of the pooled variance, relative to the variance of two equal groups taken
together. It bounds effects of features that are constant in both groups to 63."""

MIN_RELATIVE_SPREAD = 1e-8
"""Minimum of the pooled standard deviation, relative to the means: rounding errors of
the means of a constant feature are no effect."""

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

    def __getitem__(self, group: int | slice) -> GroupMoments:
        """Return the moments of one group, (n_features,), or of some."""
        return GroupMoments(self.mean[group], self.variance[group])


def mix_moments(moments: GroupMoments, weight: Floats) -> GroupMoments:
    """Return the moments of mixtures of groups; NaN for mixtures without weight.

    The variance of a mixture is the mean variance of its groups, plus the variance of
    their means.

    Parameters
    ----------
    moments : GroupMoments
        Moments of the groups.
    weight : ndarray of shape (n_mixtures, n_groups)
        Non-negative weight of each group in each mixture.

    Examples
    --------
    >>> moments = GroupMoments(np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]]))
    >>> mix_moments(moments, np.array([[3.0, 3.0]]))
    GroupMoments(mean=array([[1.]]), variance=array([[2.]]))
    """
    mean = np.full((len(weight), moments.mean.shape[1]), np.nan)
    variance = np.full_like(mean, np.nan)
    for i, row in enumerate(weight):
        # Nodes of a tree are mixtures of few of the leaves.
        used = np.flatnonzero(row)
        if len(used):
            share = row[used] / row[used].sum()
            mean[i] = share @ moments.mean[used]
            between = np.square(moments.mean[used] - mean[i])
            variance[i] = share @ (moments.variance[used] + between)
    return GroupMoments(mean, variance)


def row_moments(X: Matrix, labels: NDArray[np.int64], n_groups: int) -> GroupMoments:
    """Return the moments of groups of rows; NaN for groups without rows.

    The matrix is read once, in chunks whose moments are combined.

    Parameters
    ----------
    X : ndarray, CSR matrix or LazyRows of shape (n_samples, n_features)
        Data in the user's units.
    labels : ndarray of int of shape (n_samples,)
        Group of each row, from 0 to ``n_groups - 1``; -1 for rows of no group.
    n_groups : int
        Number of groups.
    """
    n = np.zeros((n_groups, 1))
    mean, squares = np.zeros((2, n_groups, X.shape[1]))
    for rows in row_slices(*X.shape):
        chunk, groups = X[rows].astype(np.float64), labels[rows]
        used = np.flatnonzero(groups >= 0)
        entries = np.ones(len(used)), (groups[used], used)
        members = sparse.csr_array(entries, shape=(n_groups, len(groups)))
        n_new = members.sum(axis=1)[:, None]
        new_mean = as_dense(members @ chunk) / np.maximum(n_new, 1)
        if sparse.issparse(chunk):
            new_squares = (members @ chunk.multiply(chunk)).toarray()
            new_squares -= n_new * np.square(new_mean)
        else:
            # Squares of large values with small differences would cancel.
            new_squares = members @ np.square(chunk - new_mean[groups])
        share = n_new / np.maximum(n + n_new, 1)
        squares += new_squares + n * share * np.square(new_mean - mean)
        mean += share * (new_mean - mean)
        n += n_new
    n[n == 0] = np.nan
    return GroupMoments(np.where(n > 0, mean, np.nan), np.maximum(squares, 0.0) / n)


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
    X: Matrix,
    groups: Groups,
    features: NDArray[np.int64],
    max_values: int = MAX_CHUNK_VALUES,
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
    max_values : int, default=MAX_CHUNK_VALUES
        Maximum number of values of several features that are read at a time.

    Returns
    -------
    area : ndarray of shape (n_selected,)
        Between 0 and 1.
    """
    first, second = groups
    size = max(max_values // len(first), 1)
    n_larger = []
    for start in range(0, len(features), size):
        columns = features[start : start + size]
        chunks = [as_dense(X[rows][:, columns]) for rows in row_slices(*X.shape)]
        # Ranks would have the type of the values.
        for x in np.concatenate(chunks, dtype=np.float64).T:
            test = mannwhitneyu(x[first], x[second], method="asymptotic")
            n_larger.append(test.statistic)
    return np.array(n_larger) / (first.sum() * second.sum())


def as_dense(rows: np.ndarray | sparse.csr_array) -> np.ndarray:
    """Return rows as an array."""
    return rows.toarray() if sparse.issparse(rows) else rows
