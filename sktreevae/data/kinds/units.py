"""Units of the columns of a table: their resolution, or their spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import differential_entropy

from .discrete import discrete_steps, neighbor_errors

__all__ = ["column_resolutions", "entropy_deviations", "standardization_gain"]

MIN_RESOLUTION = 1e-5
"""Minimum resolution of a column relative to the range of its values. Values of fewer
digits than this have no resolution that can be told from rounding errors."""

MIN_SHARE = 0.98
"""Minimum share of the values that are multiples of the resolution: a few may have been
written with other digits."""

ROUNDING = 1e-9
"""Rounding errors of values relative to their range, in double precision."""

MIN_STEP = 100
"""Minimum resolution relative to the rounding errors, so that values aren't multiples
by chance."""

N_FOLDS = 8
"""Number of groups of columns that are predicted to compare units."""

MIN_ROWS = 4
"""Minimum number of rows that units are compared on."""

MIN_ENTROPY_ROWS = 20
"""Minimum number of rows that entropies are estimated from."""

TINY = 1e-12
"""Lower bound of a relative variance."""

MIN_VALUES = 10
"""Minimum number of values that aren't the most frequent one of a column, from which
its resolution is found."""

N_CANDIDATES = 16
"""Number of smallest differences between values that the resolution is among."""

Array = NDArray[np.floating]


def column_resolutions(x: Array) -> NDArray[np.float64] | None:
    """Return the step that differences between values of a column are multiples of.

    A measurement has a resolution, such as a millimeter or a gray level. It scales with
    the unit that it is written in, so that values divided by it don't depend on the
    unit, nor on an affine scaling of the column.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The data; NaN counts for nothing.

    Returns
    -------
    resolution : ndarray of shape (n_features,) or None
        None if a column has none. Columns of fewer than ten values that aren't the most
        frequent one have the median of the others.
    """
    resolution = np.full(x.shape[1], np.nan)
    # Few values have many common divisors.
    n_others = np.count_nonzero(x != np.nanmedian(x, axis=0, keepdims=True), axis=0)
    (varying,) = np.nonzero(n_others >= min(MIN_VALUES, max(1, len(x) // 4)))
    for column in varying:
        resolution[column] = _resolution(x[:, column])
        if np.isnan(resolution[column]):
            return None
    if not len(varying):
        return None
    return np.where(np.isnan(resolution), np.nanmedian(resolution), resolution)


def _resolution(x: Array) -> float:
    """Return the largest difference that most values are multiples of, or NaN."""
    eps = 2 * np.finfo(x.dtype if x.dtype.kind == "f" else np.float64).eps
    x = x[~np.isnan(x)]
    x = np.sort(x).astype(np.float64)
    length = x[-1] - x[0]
    tolerance = max(ROUNDING * length, eps * max(abs(x[0]), abs(x[-1])))
    gaps = np.unique(np.diff(x))
    gaps = gaps[gaps > max(MIN_RESOLUTION * length, MIN_STEP * tolerance)]
    # The same difference has several values, which are equal up to rounding.
    gaps = gaps[np.diff(gaps, prepend=-np.inf) > 2 * tolerance][:N_CANDIDATES]
    excess = x - x[len(x) // 2]
    excess = excess[np.abs(excess) > tolerance]
    for gap in gaps[::-1]:
        step = _refine_step(excess, gap)
        error = np.abs(excess - step * np.round(excess / step))
        if np.mean(error <= 2 * tolerance) >= MIN_SHARE:
            return step
    return np.nan


def _refine_step(x: Array, step: float) -> float:
    """Return a more precise step, by small multiples first, then by large ones."""
    size, radius = np.abs(x), step
    while radius < size.max():
        radius *= 4
        multiple = np.round(x / step)
        is_near = (size <= radius) & (size > radius / 8) & (multiple != 0)
        if is_near.any():
            # Not the mean: a few values may be no multiples.
            step = float(np.median(x[is_near] / multiple[is_near]))
    return step


def entropy_deviations(x: Array) -> NDArray[np.float64]:
    """Return the standard deviation of a normal column with the entropy of each column.

    It scales with the unit, as the standard deviation does, but is smaller for columns
    whose values are in clusters. So a column of clusters far from each other beside a
    column of noise isn't reduced to the width of the noise.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The data; NaN counts for nothing.

    Returns
    -------
    deviation : ndarray of shape (n_features,)
        0 for columns of many equal values, whose entropy isn't finite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.standard_normal((1000, 1))
    >>> x = np.hstack([noise, noise + 100 * rng.integers(2, size=(1000, 1))])
    >>> x.std(axis=0).round(), entropy_deviations(x).round()
    (array([ 1., 50.]), array([1., 3.]))
    """
    if len(x) < MIN_ENTROPY_ROWS:
        return np.zeros(x.shape[1])
    with np.errstate(divide="ignore"):
        entropy = differential_entropy(x, axis=0, nan_policy="omit")
    return np.exp(np.nan_to_num(entropy, nan=-np.inf)) / np.sqrt(2 * np.pi * np.e)


def standardization_gain(x: NDArray[np.float64], rng: np.random.Generator) -> float:
    """Return how much better neighbors predict columns if all have the same spread.

    Columns are predicted by the mean of the neighbors in all other columns, or in those
    of the other folds if there are many. Discrete columns don't count if there are two
    others. The code of a column is half the logarithm of
    the variance of the residuals relative to that of the column, at most 0.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The data.
    rng : numpy.random.Generator
        Draws the folds.

    Returns
    -------
    gain : float
        Mean difference of the codes, in nats per column: positive if neighbors in units
        of the standard deviations predict better.
    """
    x = x - x.mean(axis=0)
    std = x.std(axis=0)
    x, std = x[:, std > 0], std[std > 0]
    if len(std) < 2 or len(x) < MIN_ROWS:
        return 0.0
    standardized = x / std
    is_real = discrete_steps(standardized) == 0
    if is_real.sum() >= 2:
        x, standardized = x[:, is_real], standardized[:, is_real]
    folds = np.array_split(rng.permutation(x.shape[1]), N_FOLDS)
    plain, other = (
        neighbor_errors(features, standardized, folds).sum(axis=0).clip(TINY, 1.0)
        for features in (x, standardized)
    )
    return 0.5 * float(np.mean(np.log(plain / other)))
