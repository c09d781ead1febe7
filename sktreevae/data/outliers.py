"""Bounds of the values of each feature, beyond which they are outliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from ..utils.limits import MAX_STATISTICS_ROWS, MAX_STATISTICS_VALUES
from ..utils.random import draw_rows
from .sources import Index, Matrix

MIN_GROUP_SIZE = 5
"""Minimum number of samples that may be a group of their own. Fewer are outliers."""

ROWS_PER_EXTREME = 20
"""Number of values for each at either end that is taken for an outlier."""

MAX_DISTANCE = 3.0
"""Distance of the bounds from the range, relative to its length."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Outlier:
    """A value beyond the bounds of its feature.

    Parameters
    ----------
    sample, feature : int
        Its row and column.
    value : float
        In the user's units.
    low, high : float
        The bounds.
    """

    sample: int
    feature: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class FeatureBounds:
    """Bounds of the values of each feature.

    The range of a feature reaches from its fifth smallest to its fifth largest value,
    of fewer than 80 rows nearer to the ends. The bounds are further out by three times
    the length of the range; of a range without length, by three times the longest one.

    Parameters
    ----------
    low, high : ndarray of shape (n_features,)
        Bounds in the user's units; infinite if all ranges have no length.
    """

    low: Array
    high: Array

    @classmethod
    def from_matrix(
        cls, X: Matrix, generator: torch.Generator | np.random.Generator
    ) -> Self:
        """Find the bounds of a dense matrix, on at most 20 000 random rows."""
        n_samples, n_features = X.shape
        # Enough rows for all extremes, however wide they are.
        min_rows = MIN_GROUP_SIZE * ROWS_PER_EXTREME
        max_rows = max(min_rows, MAX_STATISTICS_VALUES // n_features)
        max_rows = min(MAX_STATISTICS_ROWS, max_rows)
        rows = np.asarray(X[draw_rows(n_samples, max_rows, generator)])
        n_extremes = min(MIN_GROUP_SIZE - 1, len(rows) // ROWS_PER_EXTREME)
        kth = [n_extremes, len(rows) - 1 - n_extremes]
        low, high = np.partition(rows, kth, axis=0)[kth].astype(np.float64)
        length = high - low
        # A rare value of a feature that is constant otherwise may be as far from it as
        # those of another feature are from each other.
        length[length == 0] = length.max(initial=0.0)
        distance = np.where(length > 0, MAX_DISTANCE * length, np.inf)
        return cls(low - distance, high + distance)

    def select(self, columns: Index) -> Self:
        """Return the bounds of some features."""
        return type(self)(self.low[columns], self.high[columns])

    def excess(self, rows: NDArray) -> Array:
        """Return how far values of dense rows are beyond the bounds, if positive."""
        return np.maximum(self.low - rows, rows - self.high)

    def outliers(self, furthest: Array) -> tuple[Outlier, ...]:
        """Return the value of each feature that is furthest beyond its bounds, if any.

        Parameters
        ----------
        furthest : ndarray of shape (3, n_features)
            Excess, value and row of the furthest value of each feature.
        """
        excess, value, sample = furthest
        return tuple(
            Outlier(int(sample[j]), int(j), value[j], self.low[j], self.high[j])
            for j in np.flatnonzero(excess > 0)
        )
