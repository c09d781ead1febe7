"""Moments of groups of samples, and effect sizes of the differences between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import mannwhitneyu

from ..utils.chunks import row_slices
from ..utils.limits import ROUNDING

if TYPE_CHECKING:
    from ..data import Matrix

MIN_VARIANCE_SHARE = 1e-3
"""Minimum of the pooled variance, relative to the variance of two equal groups taken
together. It bounds effects of features that are constant in both groups to 63."""

MIN_EFFECT = 0.3
"""Minimum effect, in standard deviations, of a difference that is found. Two normal
distributions that are so close have 88% of their area in common."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GroupMoments:
    """Mean, variance and weight of each feature in each group.

    Parameters
    ----------
    mean, variance : ndarray of shape (n_groups, n_features)
        Mean and variance, in the units of X; NaN if the weight is 0.
    weight : ndarray of shape (n_groups, n_features) or (n_groups, 1)
        Number of known values, or another weight of the group.
    """

    mean: Floats
    variance: Floats
    weight: Floats

    def __getitem__(self, group: int | slice | NDArray) -> GroupMoments:
        """Return the moments of one group, (n_features,), or of some."""
        return GroupMoments(self.mean[group], self.variance[group], self.weight[group])

    @classmethod
    def join(cls, how: Callable, parts: Sequence[GroupMoments]) -> GroupMoments:
        """Join the arrays of several moments by a function such as `np.stack`."""
        return cls(
            how([part.mean for part in parts]),
            how([part.variance for part in parts]),
            how([np.broadcast_to(part.weight, part.mean.shape) for part in parts]),
        )

    def pool(self) -> GroupMoments:
        """Return the moments of all groups, the first axis, taken together.

        The variance is the mean variance of the groups, plus the variance of their
        means.

        Examples
        --------
        >>> mean, variance, weight = np.array([[[0.0], [2.0]], [[1], [1]], [[3], [3]]])
        >>> GroupMoments(mean, variance, weight).pool().variance
        array([2.])
        """
        total = self.weight.sum(axis=0)
        share = self.weight / np.where(total > 0, total, np.nan)
        has_values = self.weight > 0
        mean = (share * np.where(has_values, self.mean, 0.0)).sum(axis=0)
        square = self.variance + np.square(self.mean - mean)
        variance = (share * np.where(has_values, square, 0.0)).sum(axis=0)
        return GroupMoments(mean, variance, total)

    def mix(self, is_in: NDArray[np.bool_]) -> GroupMoments:
        """Return the moments of mixtures of groups.

        Parameters
        ----------
        is_in : ndarray of bool of shape (n_mixtures, n_groups)
            Whether each group is in each mixture.
        """
        # Nodes of a tree are mixtures of few of the leaves.
        return GroupMoments.join(np.stack, [self[row].pool() for row in is_in])


def row_moments(X: Matrix, labels: NDArray[np.int64], n_groups: int) -> GroupMoments:
    """Return the moments of groups of rows; NaN for groups without rows.

    The matrix is read once, in chunks whose moments are pooled. NaN in an array is an
    unknown value, and is left out.

    Parameters
    ----------
    X : ndarray, CSR matrix or LazyRows of shape (n_samples, n_features)
        Data in the user's units.
    labels : ndarray of int of shape (n_samples,)
        Group of each row, from 0 to ``n_groups - 1``.
    n_groups : int
        Number of groups.
    """
    moments = None
    for rows in row_chunks(X):
        part = _chunk_moments(X[rows].astype(np.float64), labels[rows], n_groups)
        moments = (
            part
            if moments is None
            else GroupMoments.join(np.stack, [moments, part]).pool()
        )
    return moments


def row_chunks(X: Matrix) -> Iterator[slice]:
    """Yield slices of rows that are small enough to be copied; at least one.

    Of a sparse matrix, it is the nonzero values that are copied.
    """
    n_rows, n_columns = X.shape
    if sparse.issparse(X):
        n_columns = max(1, X.nnz // max(1, n_rows))
    return row_slices(n_rows, n_columns)


def _chunk_moments(
    X: Floats | sparse.csr_array, labels: NDArray[np.int64], n_groups: int
) -> GroupMoments:
    """Return the moments of groups of rows in memory."""
    entries = np.ones(len(labels)), (labels, np.arange(len(labels)))
    members = sparse.csr_array(entries, shape=(n_groups, len(labels)))
    if sparse.issparse(X):
        n = members.sum(axis=1)[:, None]
        size = np.where(n > 0, n, np.nan)
        mean = (members @ X).toarray() / size
        variance = (members @ X.multiply(X)).toarray() / size - np.square(mean)
        return GroupMoments(mean, np.maximum(variance, 0.0), n)
    is_known = ~np.isnan(X)
    n = members @ is_known.astype(np.float64)
    size = np.where(n > 0, n, np.nan)
    mean = members @ np.where(is_known, X, 0.0) / size
    # Squares of large values with small differences would cancel.
    square = np.square(np.where(is_known, X - mean[labels], 0.0))
    return GroupMoments(mean, members @ square / size, n)


def pooled_spread(left: GroupMoments, right: GroupMoments) -> Floats:
    """Return the standard deviation within two groups, (..., n_features).

    It is the root of the mean of the two variances, so that it doesn't depend on the
    sizes of the groups. It isn't much smaller than the difference of their means, and 0
    only for features that have the same value in all of both groups.
    """
    within = (left.variance + right.variance) / 2
    total = within + np.square((left.mean - right.mean) / 2)
    return np.sqrt(np.maximum(within, MIN_VARIANCE_SHARE * total))


def effect_size(left: GroupMoments, right: GroupMoments) -> Floats:
    """Return standardized differences of means (Cohen's d), (..., n_features).

    Positive where the left group has the larger mean.

    Examples
    --------
    >>> left, right = (GroupMoments(*np.array([[m], [1.0], [9]])) for m in (3, 1))
    >>> effect_size(left, right)
    array([2.])
    """
    difference = left.mean - right.mean
    largest = np.maximum(np.abs(left.mean), np.abs(right.mean))
    # Rounding errors of the means of a constant feature are no effect.
    difference[np.abs(difference) <= ROUNDING**2 * largest] = 0.0
    spread = pooled_spread(left, right)
    return np.divide(
        difference, spread, out=np.zeros_like(difference), where=spread > 0
    )


def area_under_curve(first: Floats, second: Floats) -> float:
    """Return the probability that a value is larger in the first group; ties are half.

    It is the area under the ROC curve, 0.5 for equal distributions. NaN is left out,
    and the result if nothing is left of a group.

    Examples
    --------
    >>> area_under_curve(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    0.875
    """
    first, second = (x[~np.isnan(x)] for x in (first, second))
    if not (len(first) and len(second)):
        return np.nan
    test = mannwhitneyu(first, second, method="asymptotic")
    return float(test.statistic) / (len(first) * len(second))


def as_dense(rows: np.ndarray | sparse.csr_array) -> np.ndarray:
    """Return rows as an array."""
    return rows.toarray() if sparse.issparse(rows) else rows
