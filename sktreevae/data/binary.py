"""Columns of two values in tables, and the one-hot encodings among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .outliers import FeatureBounds
from .sources import Matrix, row_slices

__all__ = ["BinaryColumns"]

MIN_ROWS = 20
"""Minimum number of rows. Columns of fewer have two values by chance."""

CHUNK_ROWS = 1000
"""Number of rows that are read at a time. The first ones tell most other columns."""

MAX_ENCODED = 1000
"""Maximum number of columns of two values among which encodings are looked for."""


@dataclass(frozen=True, eq=False)
class BinaryColumns:
    """Columns of exactly two values.

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
    def from_matrix(cls, X: Matrix, bounds: FeatureBounds) -> Self:
        """Find the columns of a dense matrix.

        Parameters
        ----------
        X : ndarray or LazyRows of shape (n_samples, n_features)
            Data in the user's units. After the first thousand rows, it is only read if
            they have columns of two values.
        bounds : FeatureBounds
            Values beyond the bounds are ignored: they will be clipped.
        """
        n_samples, n_features = X.shape
        index = np.arange(n_features if n_samples >= MIN_ROWS else 0)
        low, high = np.full(len(index), np.inf), np.full(len(index), -np.inf)
        for rows in row_slices(n_samples, n_features, CHUNK_ROWS):
            if not len(index):
                break
            values = X[rows][:, index].astype(np.float64)
            is_inside = values >= bounds.low[index]
            is_inside &= values <= bounds.high[index]
            new_low = np.where(is_inside, values, low).min(axis=0, initial=np.inf)
            new_high = np.where(is_inside, values, high).max(axis=0, initial=-np.inf)
            new_low, new_high = np.minimum(low, new_low), np.maximum(high, new_high)
            is_known = (values == new_low) | (values == new_high) | ~is_inside
            # The values before were the ends as well, if there were any.
            keeps = is_known.all(axis=0)
            for old in (low, high):
                keeps &= (old == new_low) | (old == new_high) | np.isinf(old)
            index, low, high = index[keeps], new_low[keeps], new_high[keeps]
        varies = low < high
        index, low, high = index[varies], low[varies], high[varies]
        return cls(index, low, high, _find_groups(X, index, high))


def _find_groups(
    X: Matrix, index: NDArray[np.int64], high: NDArray[np.float64]
) -> tuple[tuple[int, ...], ...]:
    """Return the adjacent columns of which one is high in each row, and the others."""
    if not 2 <= len(index) <= MAX_ENCODED:
        return tuple((column,) for column in index.tolist())
    both = np.zeros((len(index), len(index)))
    for rows in row_slices(*X.shape, CHUNK_ROWS):
        is_high = (X[rows][:, index] == high).astype(np.float64)
        both += is_high.T @ is_high
    count = both.diagonal()
    groups = []
    start = 0
    while start < len(index):
        stop = start + 1
        while (
            stop < len(index)
            and index[stop] == index[stop - 1] + 1
            and not both[start:stop, stop].any()
        ):
            stop += 1
        if count[start:stop].sum() < X.shape[0]:
            stop = start + 1
        groups.append(tuple(index[start:stop].tolist()))
        start = stop
    return tuple(groups)
