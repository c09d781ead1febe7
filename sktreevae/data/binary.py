"""Columns of two values in tables, and the one-hot encodings among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..utils.chunks import row_slices
from ..utils.processes import ONE_PROCESS, Processes
from .outliers import FeatureBounds
from .sources import Matrix

MIN_COUNT = 10
"""Minimum number of rows of a value of a discrete column without an encoding: a rarer
value may be one of many, or an error."""


@dataclass(frozen=True, eq=False)
class BinaryColumns:
    """Columns of two values, each of which at least ten rows have.

    Columns of one-hot encodings may have fewer.

    Parameters
    ----------
    index : ndarray of int of shape (n_columns,)
        Indices of the columns, in ascending order.
    low, high : ndarray of shape (n_columns,)
        Their values in the user's units.
    groups : tuple of tuples of int
        The columns of each one-hot encoding, and every other column alone. An encoding
        is two or more adjacent columns of which one is high in each row.
    """

    index: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    groups: tuple[tuple[int, ...], ...]

    @classmethod
    def from_matrix(
        cls,
        X: Matrix,
        columns: NDArray[np.int64],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        bounds: FeatureBounds,
        processes: Processes = ONE_PROCESS,
    ) -> Self:
        """Find the columns of a dense matrix.

        Parameters
        ----------
        X : ndarray or LazyRows of shape (n_samples, n_columns)
            Data in the user's units. They are read as long as there may be columns of
            two values.
        columns : ndarray of int of shape (n_features,)
            Columns of X that are features, and that are numbered.
        low, high : ndarray of shape (n_features,)
            Smallest and largest value of each feature inside its bounds.
        bounds : FeatureBounds
            Values beyond the bounds are ignored: they will be clipped.
        processes : Processes, default=ONE_PROCESS
            Processes that share the data.
        """
        index = np.flatnonzero(low < high)
        n_high = np.zeros(len(low), dtype=np.int64)
        partner = np.full(len(low), -1)
        for rows in row_slices(*X.shape):
            if not len(index):
                break
            values = X[rows][:, columns[index]]
            is_high = values == high[index]
            is_beyond = (values < bounds.low[index]) | (values > bounds.high[index])
            is_binary = (is_high | (values == low[index]) | is_beyond).all(axis=0)
            index, is_high = index[is_binary], is_high[:, is_binary]
            n_high[index] += is_high.sum(axis=0)
            partner[index] = np.maximum(partner[index], _partners(is_high, index))
        parts = processes.gather((index, n_high, partner, X.shape[0]))
        indices, n_high, partner, n_samples = zip(*parts, strict=True)
        index = reduce(np.intersect1d, indices)
        counts = sum(n_high), np.max(partner, axis=0), sum(n_samples)
        groups = tuple(_find_groups(index, *counts))
        index = np.array([column for group in groups for column in group], np.int64)
        return cls(index, low[index], high[index], groups)


def _partners(
    is_high: NDArray[np.bool_], index: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the last column before each that is high in the same row; -1 if none is.

    Parameters
    ----------
    is_high : ndarray of bool of shape (n_rows, n_columns)
        Whether a value is the larger one of its column.
    index : ndarray of int of shape (n_columns,)
        Numbers of the columns, in ascending order.
    """
    number = np.where(is_high, index.astype(np.int32), -1)
    before = np.full_like(number, -1)
    np.maximum.accumulate(number[:, :-1], axis=1, out=before[:, 1:])
    return np.where(is_high, before, -1).max(axis=0, initial=-1)


def _find_groups(
    index: NDArray[np.int64],
    n_high: NDArray[np.int64],
    partner: NDArray[np.int64],
    n_samples: int,
) -> Iterator[tuple[int, ...]]:
    """Yield the columns of encodings, and other columns that are frequent enough."""
    if n_samples < 2 * MIN_COUNT:
        return
    while len(index):
        # Adjacent columns of which at most one is high in a row.
        is_next = np.diff(index, prepend=index[0] - 1) == 1
        is_next[1:] &= partner[index[1:]] < index[0]
        size = len(index) if is_next.all() else int(is_next.argmin())
        count = n_high[index[:size]]
        if count.sum() < n_samples:
            size = 1
        if size > 1 or MIN_COUNT <= count[0] <= n_samples - MIN_COUNT:
            yield tuple(index[:size].tolist())
        index = index[size:]
