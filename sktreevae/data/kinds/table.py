"""Tables: any columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from ...model import FeatureMap
from ...utils.random import draw_rows
from ..samples import Samples
from ..scaling import MAX_PLAIN_FEATURES, DataSummary, Standardizer
from .base import (
    Kind,
    components,
    draw_component_rows,
    raw_features,
    unit_buffers,
)
from .discrete import discrete_steps, discrete_weights
from .units import column_resolutions, entropy_deviations, standardization_gain

__all__ = ["Table"]

MAX_TRIAL_ROWS = 1000
"""Maximum number of rows that units are compared on."""

MIN_GAIN = 0.06
"""Minimum gain, in nats per column, for which other units than those of the data are
used. Breast cancer gains 0.23 to 0.29, beside as many columns of noise 0.065; gray
levels of digits and of MNIST, iris and glass gain 0.007 at most. In units of their
resolutions, wine gains 0.056 to 0.072, by the groups of columns that are predicted, and
zoo 0.03 to 0.055: the seed decides for wine."""

MAX_LOSS = 0.03
"""Maximum loss, in nats per column, for which a narrow table without a resolution is in
other units. Principal components of the digits lose 0.045 to 0.07."""

MIN_STD = 1e-30
"""Lower bound of a standard deviation that is divided by."""


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

    def share(
        self,
        samples: Samples,
        summary: DataSummary,
        image_shape: tuple[int, ...] | None,
        rng: np.random.Generator,
    ) -> float:
        """Return the share of the data that is of this kind; see `Kind.share`."""
        return 1.0

    def fit_features(
        self,
        samples: Samples,
        summary: DataSummary,
        image_shape: tuple[int, ...] | None,
        rng: np.random.Generator,
    ) -> FeatureMap:
        """Fit features; see `Kind.fit_features`."""
        index = draw_component_rows(samples, rng)
        x = samples[index].numpy(force=True)
        rows = draw_rows(len(x), MAX_TRIAL_ROWS, rng)
        trial = x[rows].astype(np.float64)
        unit, kind = _column_units(samples, x, index[rows], trial, rng)
        is_narrow = summary.n_features <= MAX_PLAIN_FEATURES
        if kind == "plain" and summary.has_amounts:
            return _fit_unit(samples, index, rng)
        if is_narrow:
            unit = unit * discrete_weights(trial * unit)
        raw = x * unit.astype(np.float32)
        if is_narrow:
            # Without a matrix product, whose rounding depends on the row: equal values
            # of a discrete column have equal features.
            total = raw.var(axis=0).sum()
            scale = 1.0 / np.sqrt(total if total > 0 else 1.0)
            return FeatureMap(x.shape[1], kind=kind).set_buffers(
                unit=scale * unit, mean=scale * raw.mean(axis=0)
            )
        projection = components(raw, rng)
        return FeatureMap(*projection.shape, kind).set_buffers(
            unit=unit, mean=raw.mean(axis=0), projection=projection
        )


def _column_units(
    samples: Samples,
    x: NDArray[np.float32],
    index: Tensor,
    trial: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], str]:
    """Return the unit of each column, and "plain" or "standardized".

    A unit is the resolution of the column, if all columns have one, so that it doesn't
    matter in which unit a column is written. Otherwise, units are those of the data.
    Columns are standardized instead if neighbors in columns of the same standard
    deviation predict other columns with a shorter code: divided by deviations of the
    same entropy, or by the range of discrete columns. Narrow tables without a
    resolution are also standardized where neither predicts better: their units mean
    nothing.

    Parameters
    ----------
    samples : Samples
        The data.
    x : ndarray of shape (n_rows, n_features)
        Some standardized samples.
    index : Tensor of int of shape (n_trial_rows,)
        Indices of the samples in `trial`.
    trial : ndarray of shape (n_trial_rows, n_features)
        Some of `x`.
    rng : numpy.random.Generator
        Draws the groups of columns that are predicted together.
    """
    standardizer = samples.standardizer
    unit = unit_buffers(standardizer)["unit"]
    values = samples.X[index.numpy(force=True)][:, standardizer.columns]
    if sparse.issparse(values):
        values = values.toarray()
    is_outlier = np.isnan(_without_outliers(trial, standardizer))
    resolution = column_resolutions(np.where(is_outlier, np.nan, values))
    if resolution is not None:
        unit = standardizer.scale / resolution
        unit /= unit.max()
    is_wide = trial.shape[1] > MAX_PLAIN_FEATURES
    min_gain = -MAX_LOSS if resolution is None and not is_wide else MIN_GAIN
    if standardization_gain(trial * unit, rng) <= min_gain:
        return unit, "plain"
    std = np.nan_to_num(np.nanstd(_without_outliers(x, standardizer), axis=0))
    spread = entropy_deviations(_without_outliers(trial, standardizer))
    spread = np.where(spread > 0, spread, std)
    is_discrete = discrete_steps(trial) > 0
    if not is_discrete.all():
        # Beside other columns, encodings would weigh more, the more values they have.
        spread = np.where(is_discrete, np.ptp(trial, axis=0), spread)
    return np.where(spread > 0, 1.0 / np.maximum(spread, MIN_STD), 0.0), "standardized"


def _without_outliers(
    x: NDArray[np.floating], standardizer: Standardizer
) -> NDArray[np.floating]:
    """Return rows with NaN instead of values that are at a bound."""
    is_inside = (x > standardizer.low) & (x < standardizer.high)
    is_inside[:, list(standardizer.binary)] = True
    return np.where(is_inside, x, np.nan)


def _fit_unit(samples: Samples, index: Tensor, rng: np.random.Generator) -> FeatureMap:
    units = unit_buffers(samples.standardizer)
    rows = FeatureMap(samples.n_features, kind="unit").set_buffers(**units)
    raw = raw_features(rows, samples, index)
    projection = components(raw, rng)
    return FeatureMap(*projection.shape, "unit").set_buffers(
        **units, mean=raw.mean(axis=0), projection=projection
    )
