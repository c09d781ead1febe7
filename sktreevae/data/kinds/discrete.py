"""Columns of few different values in tables: their steps, and their weights.

The samples of each value of such a column lie in a layer of their own, with a gap to
the next one. Without care, the graph of nearest neighbors is cut between the layers,
whether the column says anything about the clusters or not.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from ..binary import MIN_COUNT
from ..outliers import MIN_GROUP_SIZE

MAX_DISTINCT = 10
"""Maximum number of different values of a discrete column."""

MIN_RELATIVE_STEP = 0.05
"""Minimum step of a discrete column, relative to the root of the sum of all variances.
Smaller steps, such as gray levels of digits, are no gaps."""

MAX_DIFFERENT = 0.95
"""Fraction of different rows from which on discrete columns alone have no gaps."""

Array = NDArray[np.floating]


def discrete_steps(x: Array) -> Array:
    """Return the smallest difference between values of each discrete column.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The data. A column with at most ten different values, two of which are in five
        rows or more, is discrete, unless its steps are small.

    Returns
    -------
    step : ndarray of shape (n_features,)
        0 for columns that aren't discrete, or are nearly constant.
    """
    min_step = MIN_RELATIVE_STEP * np.sqrt(x.var(axis=0).sum())
    max_distinct = min(MAX_DISTINCT, len(x) // MIN_COUNT)
    step = np.zeros(x.shape[1], dtype=x.dtype)
    for column in range(x.shape[1]):
        values, count = np.unique(x[:, column], return_counts=True)
        # Fewer rows, such as one wrong value of a constant column, are no layer.
        n_layers = np.count_nonzero(count >= MIN_GROUP_SIZE)
        if n_layers >= 2 and len(values) <= max_distinct:
            step[column] = np.diff(values).min()
    return np.where(step >= min_step, step, 0)


def spread_values(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return rows with uniform noise of one step in each discrete column.

    The values of a column touch then, so that no gap remains between them (Theis et al.
    2016). Without real columns, rows stay as they are if they are repeated ten times on
    average, because noise would make groups of equal rows, or if hardly any is
    repeated, because there are no gaps.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
        The data.
    generator : torch.Generator
        Source of the noise.
    """
    rows = x.numpy(force=True)
    step = discrete_steps(rows)
    if not step.any() or not _have_gaps(rows, step):
        return x
    noise = torch.empty_like(x).uniform_(-0.5, 0.5, generator=generator)
    return x + torch.from_numpy(step).to(x) * noise


def _have_gaps(x: Array, step: Array) -> bool:
    """Return whether there are gaps between values, but rows aren't mostly equal."""
    if (np.ptp(x[:, step == 0], axis=0) > 0).any():
        return True
    n_different = len(np.unique(x, axis=0))
    is_repeated = n_different * MIN_COUNT <= len(x)
    return not is_repeated and n_different < MAX_DIFFERENT * len(x)


def discrete_weights(x: Array) -> Array:
    """Return the weight of each column: how well neighbors predict a discrete one.

    It is the square root of the fraction of its variance that the mean of the neighbors
    explains. They are found by the other columns. Columns of the same one-hot encoded
    variable, which exclude each other, are left out as well.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The data, scaled so that distances are meaningful.

    Returns
    -------
    weight : ndarray of shape (n_features,)
        From 0 to 1; 1 for columns that aren't discrete.
    """
    weight = np.ones(x.shape[1])
    (discrete,) = np.nonzero(discrete_steps(x))
    if len(discrete) == 0:
        return weight
    is_high = x > x.min(axis=0)
    is_binary = np.array([len(np.unique(column)) == 2 for column in x.T])
    both = is_high.T.astype(np.float64) @ is_high
    excludes = (both == 0) & is_binary & is_binary[:, None]
    varies = np.ptp(x, axis=0) > 0
    for column in discrete:
        others = varies & ~excludes[column]
        others[column] = False
        explained = _explained_variance(x[:, others], x[:, column])
        weight[column] = np.sqrt(max(0.0, explained))
    # There may be nothing to predict any column by, such as a single variable.
    return weight if weight[varies].any() else np.ones_like(weight)


def _explained_variance(x: Array, target: Array) -> float:
    """Return the fraction of a variance that the mean of the nearest rows explains."""
    n_neighbors = min(max(3, round(np.log2(len(x)))), len(x) - 1)
    if not x.shape[1]:
        return 0.0
    search = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(x)
    predicted = target[search.kneighbors(return_distance=False)].mean(axis=1)
    return 1.0 - np.square(predicted - target).mean() / target.var()
