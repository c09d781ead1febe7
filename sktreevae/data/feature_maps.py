"""Unsupervised choice and fit of the features that neighbors are found by."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import block_diag
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize
from torch import Tensor

from ..model import FeatureMap
from ..model.likelihoods import LIKELIHOODS
from ..utils.random import draw_rows
from .discrete import discrete_steps, discrete_weights, neighbor_errors
from .samples import Samples
from .scaling import DataSummary, Standardizer
from .sources import Index, Matrix, row_slices
from .topics import count_topics, fit_topics

__all__ = ["choose_kind", "fit_feature_map"]

MAX_PLAIN_FEATURES = 64
"""Data with more features than this are reduced to principal components."""

N_COMPONENTS = 50
"""Number of principal components."""

N_GRADIENT_COMPONENTS = 200
"""Number of principal components of oriented gradients."""

N_PIXEL_COMPONENTS = 100
"""Number of principal components of the pixels of color images."""

MIN_ROWS_PER_COMPONENT = 4
"""Minimum number of rows per component that is whitened: more components of few rows
are noise, which whitening makes larger."""

MIN_RELATIVE_VARIANCE = 1e-6
"""Minimum variance of a component that is whitened, relative to the largest."""

MAX_COMPONENT_ROWS = 20_000
"""Maximum number of rows that principal components are computed from."""

MAX_COMPONENT_VALUES = 1 << 25
"""Maximum number of values that principal components are computed from, if these are
at least `N_COMPONENTS` rows."""

MAX_TOPIC_ROWS = 100_000
"""Maximum number of rows that weights and components of text are computed from."""

MAX_TEXT_DENSITY = 0.1
"""Fraction of nonzero entries below which data without negative values are text."""

MAX_TEXT_VALUE = 1e30
"""Largest value of text: sums of larger ones overflow in float32."""

MAX_NONZERO = 0.9
"""Fraction of nonzero entries below which data without negative values are amounts."""

PIXEL_WEIGHT = 0.5
"""Weight of the pixels of color images, relative to the oriented gradients."""

TOTAL_WEIGHT = 0.2
"""Weight of the total of a row of counts, relative to the shares."""

MIN_EFFECTIVE_FRACTION = 0.25
"""Features are only standardized if the effective number of features is below this
fraction of their number; see `_scales_differ`."""

MIN_EFFECTIVE_NUMBER = 1.02
"""The same for the effective number of few features: the standard deviation of one is
ten times that of all others together."""

MAX_TRIAL_ERROR = 0.9
"""Mean squared error, relative to the variance, below which a feature is predicted."""

MAX_TRIAL_ROWS = 1000
"""Maximum number of rows that scalings or lengths are compared on."""

MAX_LENGTH_ERROR = 0.01
"""Maximum difference between the length of an embedding and 1: that of half precision,
and more."""

N_TRIAL_FOLDS = 8
"""Number of groups of features that are predicted to compare scalings."""

MIN_STD = 1e-30
"""Lower bound of a standard deviation that is divided by."""


def fit_feature_map(
    samples: Samples,
    summary: DataSummary,
    image_shape: tuple[int, ...] | None,
    rng: np.random.Generator,
) -> FeatureMap:
    """Choose and fit features whose Euclidean distances tell neighbors.

    - Images: histograms of oriented gradients, reduced to 200 principal components that
      are whitened halfway: divided by the square root of their standard deviation. For
      color images, 100 such components of the pixels at half the weight. Features are
      scaled to unit length. This is prior knowledge about images.
    - Counts, according to the likelihood: square roots of up to 64 features. Of more
      features, 50 principal components of the logarithms of their shares, scaled to
      the median total, and the logarithm of the total at a fifth of the weight. The
      total is the sequencing depth of a cell or the length of a text, which says
      little about its kind.
    - Other text-like data, which aren't negative and mostly zero: square roots, scaled
      to unit length, and divided by the square root of the standard deviation of each
      term. Up to 2048 terms are the features, without their mean. More terms, or more
      than 2^25 values, are reduced to at most 500 components by truncated SVD. Features
      are scaled to unit length. The matrix is never made dense.
    - Embeddings, which are more than 64 features of both signs in rows of unit length:
      the rows without their mean, scaled to unit length again.
    - Other data: 50 principal components, or all of up to 64 features. Features are
      standardized if their scales seem to be of different units. Otherwise, rows of
      more than 64 features without negative values, of which a tenth or more are zero,
      are scaled to unit length first: they are amounts, whose shares matter more than
      their total. Of up to 64 features, those of few different values are weighted by
      how well neighbors predict them; see `discrete_weights`.

    Parameters
    ----------
    samples : Samples
        The data.
    summary : DataSummary
        Statistics of the data in the user's units.
    image_shape : tuple of int or None
        Height, width and optionally channels of images. Counts in images are gray
        levels.
    rng : numpy.random.Generator
        Draws rows and starting points of the decompositions.

    Returns
    -------
    feature_map : FeatureMap
        On the CPU. Features have a mean squared length of 1.
    """
    kind = choose_kind(samples, summary, image_shape, rng)
    if kind == "text":
        return _fit_text(samples, rng)
    index = _draw_rows(samples, rng)
    if kind == "directions":
        return _fit_directions(samples, index)
    if kind == "image":
        return _fit_image(samples, index, image_shape, rng)
    if kind == "roots":
        return _fit_roots(samples, index, rng)
    if kind == "log_shares":
        return _fit_log_shares(samples, index, rng)
    return _fit_plain(samples, summary, index, rng)


def choose_kind(
    samples: Samples,
    summary: DataSummary,
    image_shape: tuple[int, ...] | None,
    rng: np.random.Generator,
) -> str:
    """Return the kind of `FeatureMap` that suits the data.

    "plain" data may be standardized, or scaled to unit length, as well. Arguments as
    for `fit_feature_map`.
    """
    if image_shape is not None:
        return "image"
    if LIKELIHOODS[samples.likelihood].support == "counts":
        return "roots" if summary.n_features <= MAX_PLAIN_FEATURES else "log_shares"
    if _is_text_like(summary):
        return "text"
    return "directions" if _has_unit_rows(samples, summary, rng) else "plain"


def _has_unit_rows(
    samples: Samples, summary: DataSummary, rng: np.random.Generator
) -> bool:
    """Return whether rows have unit length and both signs, as embeddings do.

    Rows of zeros, of texts without words, have no length.
    """
    if summary.n_features <= MAX_PLAIN_FEATURES or summary.low >= 0:
        return False
    index = torch.from_numpy(draw_rows(len(samples), MAX_TRIAL_ROWS, rng))
    rows = samples[index.to(samples.device)].numpy(force=True).astype(np.float64)
    standardizer = samples.standardizer
    rows = rows * standardizer.scale + standardizer.center
    length = np.linalg.norm(rows, axis=1)
    error = np.minimum(length, np.abs(length - 1.0))
    return bool(error.max() < MAX_LENGTH_ERROR < length.max())


def _is_text_like(summary: DataSummary) -> bool:
    n_samples, n_features = summary.n_samples, summary.n_features
    if n_features <= MAX_PLAIN_FEATURES or min(n_samples, n_features) < 3:
        return False
    if summary.low < 0 or summary.high > MAX_TEXT_VALUE:
        return False
    return 0 < summary.n_nonzero < MAX_TEXT_DENSITY * n_samples * n_features


def _units(standardizer: Standardizer) -> dict[str, NDArray[np.float64]]:
    """Return the buffers that restore the user's units up to a factor.

    The data may be huge or tiny.
    """
    max_scale = standardizer.scale.max()
    return {
        "unit": standardizer.scale / max_scale,
        "origin": standardizer.center / max_scale,
    }


def _fit_directions(samples: Samples, index: Tensor) -> FeatureMap:
    feature_map = FeatureMap(samples.n_features, kind="directions")
    feature_map.set_buffers(**_units(samples.standardizer))
    return feature_map.set_buffers(mean=_raw(feature_map, samples, index).mean(axis=0))


def _fit_text(samples: Samples, rng: np.random.Generator) -> FeatureMap:
    roots = _text_roots(samples.X, samples.standardizer.columns, rng)
    mean_square = np.asarray(roots.power(2).mean(axis=0)).ravel()
    variance = mean_square - np.asarray(roots.mean(axis=0)).ravel() ** 2
    is_varying = variance > MIN_RELATIVE_VARIANCE * variance.max()
    weight = np.where(is_varying, np.maximum(variance, MIN_STD) ** -0.25, 0.0)
    weighted = normalize(roots @ sparse.diags_array(weight))
    n_topics = count_topics(*samples.shape)
    if n_topics is None:
        feature_map = FeatureMap(samples.n_features, kind="text")
    else:
        feature_map = FeatureMap(samples.n_features, n_topics, "text")
        feature_map.set_buffers(projection=fit_topics(weighted, n_topics, rng))
    return feature_map.set_buffers(
        **_units(samples.standardizer),
        weight=weight,
        mean=np.asarray(weighted.mean(axis=0)).ravel(),
    )


def _text_roots(
    X: Matrix, columns: Index, rng: np.random.Generator
) -> sparse.csr_array:
    """Return square roots of columns of rows, scaled to unit length."""
    n_samples, n_columns = X.shape
    index = draw_rows(n_samples, MAX_TOPIC_ROWS, rng)
    chunks = (X[index[rows]] for rows in row_slices(len(index), n_columns))
    subset = sparse.vstack([sparse.csr_array(c, dtype=np.float64) for c in chunks])
    return normalize(subset[:, columns].sqrt())


def _fit_image(
    samples: Samples,
    index: Tensor,
    image_shape: tuple[int, ...],
    rng: np.random.Generator,
) -> FeatureMap:
    n_features = samples.n_features
    unreduced = FeatureMap(n_features, kind="image", image_shape=image_shape)
    raw = _raw(unreduced, samples, index)
    n_gradients = unreduced.raw_features.gradients.n_outputs
    projection = _whitened_components(raw[:, :n_gradients], N_GRADIENT_COMPONENTS, rng)
    if n_gradients < raw.shape[1]:
        pixels = _whitened_components(raw[:, n_gradients:], N_PIXEL_COMPONENTS, rng)
        projection = block_diag(projection, PIXEL_WEIGHT * pixels)
    feature_map = FeatureMap(n_features, projection.shape[1], "image", image_shape)
    return feature_map.set_buffers(mean=raw.mean(axis=0), projection=projection)


def _fit_roots(samples: Samples, index: Tensor, rng: np.random.Generator) -> FeatureMap:
    raw = _raw(FeatureMap(samples.n_features, kind="roots"), samples, index)
    projection = _components(raw, rng)
    return FeatureMap(*projection.shape, "roots").set_buffers(
        mean=raw.mean(axis=0), projection=projection
    )


def _fit_log_shares(
    samples: Samples, index: Tensor, rng: np.random.Generator
) -> FeatureMap:
    n_features = samples.n_features
    totals = samples.map(lambda rows: rows.sum(1), index).numpy(force=True)
    depth = max(np.median(totals), 1.0)
    identity = FeatureMap(n_features, 1, "log_shares").set_buffers(depth=depth)
    raw = _raw(identity, samples, index)
    shares, total = raw[:, :-1], raw[:, -1:]
    projection = block_diag(
        _components(shares, rng), TOTAL_WEIGHT * _components(total, rng)
    )
    feature_map = FeatureMap(n_features, projection.shape[1], "log_shares")
    return feature_map.set_buffers(
        depth=depth, mean=raw.mean(axis=0), projection=projection
    )


def _fit_plain(
    samples: Samples, summary: DataSummary, index: Tensor, rng: np.random.Generator
) -> FeatureMap:
    x = samples[index].numpy(force=True)
    unit = _units(samples.standardizer)["unit"]
    trial = x[draw_rows(len(x), MAX_TRIAL_ROWS, rng)].astype(np.float64)
    kind = "plain"
    if _scales_differ(trial * unit, rng):
        kind = "standardized"
        std = _std_without_outliers(x, samples.standardizer)
        unit = np.where(std > 0, 1.0 / np.maximum(std, MIN_STD), 0.0)
    elif _has_amounts(summary):
        return _fit_unit(samples, index, rng)
    is_narrow = summary.n_features <= MAX_PLAIN_FEATURES
    if is_narrow:
        unit = unit * discrete_weights(trial * unit)
    raw = x * unit.astype(np.float32)
    if is_narrow:
        # Without a matrix product, whose rounding depends on the row: equal values of a
        # discrete column have equal features.
        total = raw.var(axis=0).sum()
        scale = 1.0 / np.sqrt(total if total > 0 else 1.0)
        return FeatureMap(x.shape[1], kind=kind).set_buffers(
            unit=scale * unit, mean=scale * raw.mean(axis=0)
        )
    projection = _components(raw, rng)
    return FeatureMap(*projection.shape, kind).set_buffers(
        unit=unit, mean=raw.mean(axis=0), projection=projection
    )


def _std_without_outliers(
    x: NDArray[np.float32], standardizer: Standardizer
) -> NDArray[np.float32]:
    """Return standard deviations of the values that aren't at a bound."""
    is_inside = (x > standardizer.low) & (x < standardizer.high)
    is_inside[:, list(standardizer.binary)] = True
    if is_inside.all():
        return x.std(axis=0)
    return np.nan_to_num(np.nanstd(np.where(is_inside, x, np.nan), axis=0))


def _has_amounts(summary: DataSummary) -> bool:
    """Return whether values are many amounts, of which some are nothing."""
    n_values = summary.n_samples * summary.n_features
    is_wide = summary.n_features > MAX_PLAIN_FEATURES
    return is_wide and summary.low >= 0 and summary.n_nonzero < MAX_NONZERO * n_values


def _fit_unit(samples: Samples, index: Tensor, rng: np.random.Generator) -> FeatureMap:
    units = _units(samples.standardizer)
    rows = FeatureMap(samples.n_features, kind="unit").set_buffers(**units)
    raw = _raw(rows, samples, index)
    projection = _components(raw, rng)
    return FeatureMap(*projection.shape, "unit").set_buffers(
        **units, mean=raw.mean(axis=0), projection=projection
    )


def _draw_rows(samples: Samples, rng: np.random.Generator) -> Tensor:
    """Return the indices of random rows to compute principal components from."""
    n_rows = max(MAX_COMPONENT_VALUES // samples.n_features, N_COMPONENTS)
    index = draw_rows(len(samples), min(MAX_COMPONENT_ROWS, n_rows), rng)
    return torch.from_numpy(index).to(samples.device)


def _raw(
    feature_map: FeatureMap, samples: Samples, index: Tensor
) -> NDArray[np.float32]:
    """Return the raw features of rows, computed block by block."""
    feature_map.to(samples.device)
    raw = samples.map(feature_map.raw, index).numpy(force=True)
    feature_map.cpu()
    return raw


def _components(
    x: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return a projection to principal components, with a mean squared length of 1."""
    total = x.var(axis=0).sum()
    n_varying = np.count_nonzero(np.ptp(x, axis=0))
    if n_varying <= MAX_PLAIN_FEATURES or total == 0:
        projection = np.eye(x.shape[1], dtype=np.float32)
    else:
        seed = int(rng.integers(2**31))
        pca = PCA(min(N_COMPONENTS, *x.shape), random_state=seed).fit(x)
        projection, total = pca.components_.T, pca.explained_variance_.sum()
    return projection / np.sqrt(total if total > 0 else 1.0)


def _whitened_components(
    x: NDArray[np.float32], n_components: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return a projection to principal components that are whitened halfway.

    Each is divided by the square root of its standard deviation. The mean squared
    length of the result is 1.
    """
    if not x.var(axis=0).any():
        return np.zeros((x.shape[1], 1), dtype=np.float32)
    seed = int(rng.integers(2**31))
    max_components = max(1, len(x) // MIN_ROWS_PER_COMPONENT)
    pca = PCA(min(n_components, max_components, x.shape[1]), random_state=seed).fit(x)
    variance = pca.explained_variance_
    is_varying = variance > MIN_RELATIVE_VARIANCE * variance[0]
    components, std = pca.components_[is_varying], np.sqrt(variance[is_varying])
    return components.T / np.sqrt(std * std.sum())


def _scales_differ(x: NDArray[np.float64], rng: np.random.Generator) -> bool:
    """Return whether features seem to have different units, and need standardization.

    Two conditions must hold. First, few features dominate all distances: the effective
    number of features, (sum of variances)^2 / sum of squared variances, is below a
    quarter of their number or, of few features, near 1. Second, neighbors by
    standardized features predict features that they weren't found by better than
    neighbors by the plain ones do. Otherwise the features of small variance are noise.
    Only features that aren't discrete are compared, if there are more than two of them.
    Of fewer, neighbors must predict a feature of small variance at all.
    """
    x = x - x.mean(axis=0)
    variance = x.var(axis=0)
    x, variance = x[:, variance > 0], variance[variance > 0]
    if len(variance) < 2 or len(x) < 4:
        return False
    effective = variance.sum() ** 2 / np.square(variance).sum()
    if effective >= max(MIN_EFFECTIVE_FRACTION * len(variance), MIN_EFFECTIVE_NUMBER):
        return False
    standardized = x / x.std(axis=0)
    is_real = discrete_steps(standardized) == 0
    if 0 < is_real.sum() <= 2:
        small = np.delete(np.arange(len(variance)), variance.argmax())
        errors = neighbor_errors(standardized, standardized, [[i] for i in small])
        return bool(errors.sum(axis=1).min() < MAX_TRIAL_ERROR)
    if is_real.any():
        x, standardized = x[:, is_real], standardized[:, is_real]
    folds = np.array_split(rng.permutation(x.shape[1]), N_TRIAL_FOLDS)
    plain_error, error = (
        neighbor_errors(features, standardized, folds).sum()
        for features in (x, standardized)
    )
    return error < plain_error
