"""Columns of few different values in tables: their steps, and their weights.

The samples of each value of such a column lie in a layer of their own, with a gap to
the next one. Without care, the graph of nearest neighbors is cut between the layers,
whether the column says anything about the clusters or not.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...utils.limits import MAX_DENSE_ROWS
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
        # Most columns have more different values in a few rows.
        if len(np.unique(x[:MAX_DENSE_ROWS, column])) > max_distinct:
            continue
        values, count = np.unique(x[:, column], return_counts=True)
        # Fewer rows, such as one wrong value of a constant column, are no layer.
        n_layers = np.count_nonzero(count >= MIN_GROUP_SIZE)
        if n_layers >= 2 and len(values) <= max_distinct:
            smallest = np.diff(values).min()
            step[column] = smallest if smallest >= min_step else 0.0
    return step


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
    folds = [
        np.union1d([column], np.flatnonzero(excludes[column])) for column in discrete
    ]
    x = x - x.mean(axis=0)
    varies = np.ptp(x, axis=0) > 0
    for column, fold, error in zip(
        discrete, folds, neighbor_errors(x, x, folds), strict=True
    ):
        variance = np.square(x[:, column]).mean()
        # Without other columns, all rows are neighbors.
        has_others = np.delete(varies, fold).any()
        explained = 1.0 - error[column] / variance if has_others else 0.0
        weight[column] = np.sqrt(max(0.0, explained))
    # There may be nothing to predict any column by, such as a single variable.
    return weight if weight[varies].any() else np.ones_like(weight)


def neighbor_errors(x: Array, target: Array, folds: list[NDArray[np.int64]]) -> Array:
    """Return mean squared errors of predictions by the mean of the neighbors.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        Features that neighbors are found by.
    target : ndarray of shape (n_samples, n_features)
        Features that are predicted.
    folds : list of ndarrays of int
        Features that each prediction is made without.

    Returns
    -------
    error : ndarray of shape (n_folds, n_features)
        Errors of the features of each fold; 0 for others.
    """
    n_neighbors = min(max(3, round(np.log2(len(x)))), len(x) - 1)
    gram = x @ x.T
    errors = np.zeros((len(folds), x.shape[1]))
    for fold, error in zip(folds, errors, strict=True):
        rest = gram - x[:, fold] @ x[:, fold].T
        square = rest.diagonal() - 2 * rest
        np.fill_diagonal(square, np.inf)
        nearest = np.argpartition(square, n_neighbors - 1, axis=1)[:, :n_neighbors]
        predicted = target[:, fold][nearest].mean(axis=1)
        error[fold] = np.square(predicted - target[:, fold]).mean(axis=0)
    return errors
