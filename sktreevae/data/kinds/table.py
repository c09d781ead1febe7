"""Tables: any columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from ...model import FeatureMap
from ...utils.limits import MAX_DENSE_ROWS
from ...utils.random import draw_rows
from ..samples import Samples
from ..scaling import MAX_PLAIN_FEATURES
from .base import (
    Kind,
    Observations,
    components,
    draw_component_rows,
    project,
    raw_features,
    unit_buffers,
)
from .discrete import discrete_steps, discrete_weights
from .units import column_resolutions, density_gain, entropy_deviations

MIN_GAIN = 0.04
"""Minimum gain of the density, in nats per column, for which columns are standardized.
On 125 tables whose columns have one unit (the shapes, simulated clusters, gray levels,
principal components, iris, crabs, biopsy) it is 0.036 at most. Wine gains 0.25, beside
its resolutions, breast cancer 3.6, lines at a ratio of 66 between columns 0.18."""

MIN_WIDE_GAIN = 0.5
"""The same of more than 64 columns. Most may be noise of different width, such as the
last of 200 principal components of images or of embeddings, which gain 0.12 to 0.22."""


class Table(Kind):
    """Other data.

    Features are 50 principal components, or all of up to 64 columns, in units that make
    distances meaningful; see `_column_units`. Rows of more than 64 columns without
    negative values, of which a tenth or more are zero, are scaled to unit length first:
    they are amounts, whose shares matter more than their total. Of up to 64 columns,
    those of few different values are weighted by how well neighbors predict them; see
    `discrete_weights`.
    """

    name = "table"
    features = "plain", "standardized", "unit"
    common_units = "plain", "unit"
    spread_values = True

    def fit_features(self, data: Observations, rng: np.random.Generator) -> FeatureMap:
        """Fit features; see `Kind.fit_features`."""
        samples, summary = data.samples, data.summary
        n_features = samples.n_features
        index = draw_component_rows(samples, rng)
        x = samples[index].numpy(force=True)
        rows = draw_rows(len(x), MAX_DENSE_ROWS, rng)
        unit, kind = _column_units(samples, index[rows], rng)
        if kind == "plain" and summary.has_amounts:
            feature_map = FeatureMap(n_features, kind="unit")
            feature_map.set_buffers(**unit_buffers(samples.standardizer))
            raw = raw_features(feature_map, samples, index)
            return project(feature_map, raw, components(raw, rng))
        is_narrow = n_features <= MAX_PLAIN_FEATURES
        if is_narrow:
            unit = unit * discrete_weights(x[rows] * unit)
        size = np.abs(x * unit).max()
        unit = unit / size if size > 0 else unit  # squares of tiny values vanish
        raw = x * unit.astype(np.float32)
        feature_map = FeatureMap(n_features, kind=kind)
        if not is_narrow:
            return project(
                feature_map.set_buffers(unit=unit), raw, components(raw, rng)
            )
        # Without a matrix product, whose rounding depends on the row: equal values of a
        # discrete column have equal features.
        total = raw.var(axis=0).sum()
        scale = 1.0 / np.sqrt(total if total > 0 else 1.0)
        return feature_map.set_buffers(unit=scale * unit, mean=scale * raw.mean(axis=0))


def _column_units(
    samples: Samples, index: Tensor, rng: np.random.Generator
) -> tuple[NDArray[np.float64], str]:
    """Return the unit of each column, and "plain" or "standardized".

    A unit is the resolution of the column, if all columns have one, so that it doesn't
    matter in which unit a column is written. Otherwise, units are those of the data.
    Columns are standardized instead if a kernel density fits the data better: divided
    by deviations of the same entropy, or by the range of discrete columns. Tables of
    discrete columns alone are always standardized: codes have no unit.

    Parameters
    ----------
    samples : Samples
        The data.
    index : Tensor of int of shape (n_rows,)
        Indices of the samples to choose by.
    rng : numpy.random.Generator
        Draws the columns that units are compared on.
    """
    standardizer, scale = samples.standardizer, samples.standardizer.scale
    rows = samples.X[index.numpy(force=True)]
    rows = rows.toarray() if sparse.issparse(rows) else rows
    x = standardizer.transform(rows)
    is_inside = (x > standardizer.low) & (x < standardizer.high)
    is_inside[:, list(standardizer.binary)] = True
    values = np.where(is_inside, rows[:, standardizer.columns], np.nan)
    spread, has_codes = _spread(np.where(is_inside, x, np.nan))
    other = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    if has_codes:
        return other, "standardized"
    columns = np.sort(rng.permutation(np.flatnonzero(spread > 0))[:MAX_PLAIN_FEATURES])
    resolution = column_resolutions(values[:, columns])
    unit = unit_buffers(standardizer)["unit"]
    if not np.isnan(resolution).any():
        all_resolutions = column_resolutions(values)
        if not np.isnan(all_resolutions).any():
            unit = scale / all_resolutions
            unit /= unit.max()
    gain = density_gain(
        x[is_inside[:, columns].all(axis=1)][:, columns],
        resolution / scale[columns],
        unit[columns],
        other[columns],
        rng,
    )
    min_gain = MIN_GAIN if x.shape[1] <= MAX_PLAIN_FEATURES else MIN_WIDE_GAIN
    return (other, "standardized") if gain > min_gain else (unit, "plain")


def _spread(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """Return the deviation of the same entropy, or the range of discrete columns.

    NaN count for nothing.

    Returns
    -------
    spread : ndarray of shape (n_features,)
        0 for columns that don't vary. Discrete columns alone have deviations.
    has_codes : bool
        Whether all columns are discrete.
    """
    spread = entropy_deviations(x)
    spread = np.where(spread > 0, spread, np.nanstd(x, axis=0))
    is_discrete = discrete_steps(np.where(np.isnan(x), np.nanmedian(x, axis=0), x)) > 0
    if is_discrete[spread > 0].all():
        return spread, True
    # Beside other columns, encodings would weigh more, the more values they have.
    length = np.nanmax(x, axis=0) - np.nanmin(x, axis=0)
    return np.where(is_discrete, length, spread), False
