"""Columns of two values in tables, and the one-hot encodings among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..utils.chunks import row_slices
from .outliers import FeatureBounds, value_pairs
from .sources import Index, Matrix

MIN_COUNT = 10
"""Minimum number of rows of a value of a discrete column without an encoding: a rarer
value may be one of many, or an error."""

MAX_COLUMNS = 2000
"""Maximum number of columns of two values. Wider data are not tables."""


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
        cls, X: Matrix, bounds: FeatureBounds, columns: Index = slice(None)
    ) -> Self:
        """Find the columns of a dense matrix.

        Parameters
        ----------
        X : ndarray or LazyRows of shape (n_samples, n_columns)
            Data in the user's units. It is read if a sample of its rows has columns of
            two values.
        bounds : FeatureBounds
            Values beyond the bounds are ignored: they will be clipped.
        columns : slice or ndarray of int, default=slice(None)
            The columns of X that the bounds are of, and that are numbered.
        """
        columns = np.arange(X.shape[1])[columns]
        index = bounds.binary
        low = high = np.zeros(len(index))
        ends = []
        for rows in row_slices(*X.shape):
            if not len(index):
                break
            # The ends of the values so far are rows of their own.
            values = np.vstack([X[rows][:, columns[index]], *ends], dtype=np.float64)
            low, high, is_known = value_pairs(
                values, bounds.low[index], bounds.high[index]
            )
            keeps = is_known.all(axis=0)
            index, low, high = index[keeps], low[keeps], high[keeps]
            ends = [low, high]
        varies = low < high
        index, low, high = index[varies], low[varies], high[varies]
        groups = _find_groups(X, columns[index], index, high)
        keeps = np.isin(index, [column for group in groups for column in group])
        return cls(index[keeps], low[keeps], high[keeps], groups)


def _find_groups(
    X: Matrix,
    columns: NDArray[np.int64],
    index: NDArray[np.int64],
    high: NDArray[np.float64],
) -> tuple[tuple[int, ...], ...]:
    """Return the columns of encodings, and other columns that are frequent enough."""
    n_samples = X.shape[0]
    if n_samples < 2 * MIN_COUNT or not 0 < len(index) <= MAX_COLUMNS:
        return ()
    # Number of rows in which both of two columns are high.
    both = np.zeros((len(index), len(index)))
    for rows in row_slices(*X.shape):
        is_high = (X[rows][:, columns] == high).astype(np.float64)
        both += is_high.T @ is_high
    count = both.diagonal()
    groups = []
    start = 0
    while start < len(index):
        stop = _end_of_run(index, both, start)
        if count[start:stop].sum() < n_samples:
            stop = start + 1
        if stop > start + 1 or MIN_COUNT <= count[start] <= n_samples - MIN_COUNT:
            groups.append(tuple(index[start:stop].tolist()))
        start = stop
    return tuple(groups)


def _end_of_run(index: NDArray[np.int64], both: NDArray[np.float64], start: int) -> int:
    """Return the end of the adjacent columns of which at most one is high in a row."""
    stop = start + 1
    while (
        stop < len(index)
        and index[stop] == index[stop - 1] + 1
        and not both[start:stop, stop].any()
    ):
        stop += 1
    return stop
