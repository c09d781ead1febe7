"""Units of the columns of a table: their resolution, or their spread."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import differential_entropy

from ...utils.limits import ROUNDING
from ..binary import MIN_COUNT

MIN_SHARE = 0.98
"""Minimum share of the values that are multiples of the resolution: a few may have been
written with other digits."""

NUMBERS_OF_NEIGHBORS = 3, 6, 12
"""Numbers of neighbors whose distance is the bandwidth of a kernel; the best counts."""

Array = NDArray[np.floating]


def column_resolutions(x: Array) -> NDArray[np.float64]:
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
    resolution : ndarray of shape (n_features,)
        NaN for columns without. Columns of fewer than ten values that aren't their
        median have the median resolution of the others, if all of these have one.
    """
    # Few values have many common divisors.
    is_other = (x != np.nanmedian(x, axis=0)) & ~np.isnan(x)
    n_others = np.count_nonzero(is_other, axis=0)
    is_judged = n_others >= min(MIN_COUNT, max(1, len(x) // 4))
    resolution = np.full(x.shape[1], np.nan)
    for column in np.flatnonzero(is_judged):
        resolution[column] = _resolution(x[:, column])
    if is_judged.any() and not np.isnan(resolution[is_judged]).any():
        resolution[~is_judged] = np.median(resolution[is_judged])
    return resolution


def _resolution(x: Array) -> float:
    """Return the largest difference that most values are multiples of, or NaN."""
    x = np.sort(x[~np.isnan(x)])
    # Values of float32 may be in an array of float64.
    for dtype in (x.dtype, np.dtype(np.float32)):
        eps = 2 * np.finfo(dtype).eps
        with np.errstate(over="ignore"):
            has_type = (x == x.astype(dtype)).all()
        step = _common_step(x.astype(np.float64), eps) if has_type else np.nan
        if not np.isnan(step):
            return step
    return np.nan


def _common_step(x: Array, eps: float, n_candidates: int = 16) -> float:
    """Return the largest difference that most sorted values are multiples of, or NaN.

    Parameters
    ----------
    x : ndarray of shape (n_values,)
        The values, in ascending order.
    eps : float
        Rounding error of a value, relative to it.
    n_candidates : int, default=16
        Number of smallest differences that are compared.
    """
    tolerance = max(ROUNDING**2 * (x[-1] - x[0]), eps * np.abs(x).max())
    # Of larger differences, hardly any value is a multiple by chance.
    min_gap = 4 * tolerance / (1 - MIN_SHARE)
    gaps = np.unique(np.diff(x))
    gaps = gaps[gaps > min_gap]
    # The same difference has several values, which are equal up to rounding.
    gaps = gaps[np.diff(gaps, prepend=-np.inf) > 2 * tolerance][:n_candidates]
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
    if len(x) < MIN_COUNT:
        return np.zeros(x.shape[1])
    with np.errstate(divide="ignore"):
        entropy = differential_entropy(x, axis=0, nan_policy="omit")
    return np.exp(np.nan_to_num(entropy, nan=-np.inf)) / np.sqrt(2 * np.pi * np.e)


def density_gain(
    x: NDArray[np.float64],
    resolution: NDArray[np.float64],
    unit: NDArray[np.float64],
    other: NDArray[np.float64],
    rng: np.random.Generator,
) -> float:
    """Return how much better a kernel density fits the data in other units.

    The kernel of a row is normal, with the same width in all columns, so its density is
    largest in the units in which the data have the same structure in all columns. The
    density of a row is estimated from the other rows, and compared in the units of `x`.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The data.
    resolution : ndarray of shape (n_features,)
        Resolution of each column; NaN for those without. Uniform noise of this width is
        added, so that values have a density (Theis et al. 2016).
    unit, other : ndarray of shape (n_features,)
        Factors of the columns.
    rng : numpy.random.Generator
        Draws the noise.

    Returns
    -------
    gain : float
        Mean difference of the log-densities with `other` and with `unit`, in nats per
        column.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((500, 2)) * [1.0, 100.0]
    >>> unit, resolution = np.ones(2), np.full(2, np.nan)
    >>> density_gain(x, resolution, unit, 1 / x.std(axis=0), rng) > 0.1
    True
    """
    x = np.unique(x, axis=0)
    if len(x) <= min(NUMBERS_OF_NEIGHBORS):
        return 0.0
    length = np.ptp(x, axis=0) * unit
    varies = length > ROUNDING**2 * length.max(initial=0.0)
    if varies.sum() < 2:
        return 0.0
    x, unit, other = x[:, varies], unit[varies], other[varies]
    width, length = np.nan_to_num(resolution[varies]), np.ptp(x, axis=0)
    # A column of zeros with few other values says nothing about units but by its range,
    # if it is larger than most others.
    n_equal = np.count_nonzero(x == np.median(x, axis=0), axis=0)
    is_dense = n_equal <= len(x) // 2
    width = np.where(is_dense, width, length)
    if is_dense.any():
        counts = is_dense | (length * unit >= np.median((length * unit)[is_dense]))
        x, width, unit, other = x[:, counts], width[counts], unit[counts], other[counts]
    x = x + width * rng.uniform(-0.5, 0.5, x.shape)
    return _log_density(x, other) - _log_density(x, unit)


def _log_density(x: NDArray[np.float64], unit: NDArray[np.float64]) -> float:
    """Return the mean log-density of rows by the others, in nats per column."""
    n_samples, n_features = x.shape
    scaled = torch.from_numpy((x - x.mean(axis=0)) * unit)
    # Without products of matrices, which lose differences that are small.
    mode = "donot_use_mm_for_euclid_dist"
    square = torch.cdist(scaled, scaled, compute_mode=mode).square()
    square.fill_diagonal_(torch.inf)
    n_neighbors = [k for k in NUMBERS_OF_NEIGHBORS if k < n_samples]
    nearest = square.topk(max(n_neighbors), largest=False).values
    densities = []
    for k in n_neighbors:
        variance = nearest[:, :k].mean(1) / n_features
        # Copies have no bandwidth, and most rows may be almost equal.
        min_variance = ROUNDING**2 * float(variance.median())
        tiny = np.finfo(np.float64).tiny
        variance = variance.clamp(min=max(min_variance, tiny))
        log_scale = 0.5 * n_features * torch.log(2 * torch.pi * variance)
        density = torch.logsumexp(-square / (2 * variance) - log_scale, 1)
        densities.append(float(density.mean()))
    density = max(densities) - np.log(n_samples - 1)
    return float(density / n_features + np.log(unit).mean())
