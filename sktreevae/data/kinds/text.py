"""Text: amounts of many terms, most of which are zero."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from ...model import FeatureMap
from ...utils.random import draw_rows
from ..samples import Samples
from ..scaling import MAX_PLAIN_FEATURES, UNIT_INTERVAL_TOLERANCE, DataSummary
from ..sources import Index, Matrix, row_slices
from .base import Kind, unit_buffers
from .topics import count_topics, fit_topics

__all__ = ["Text"]

MAX_ROWS = 100_000
"""Maximum number of rows that weights and components of text are computed from."""

MAX_DENSITY = 0.1
"""Fraction of nonzero entries below which data without negative values are text."""

MAX_VALUE = 1e30
"""Largest value of text: sums of larger ones overflow in float32."""

MIN_RELATIVE_VARIANCE = 1e-6
"""Minimum variance of a term that has a weight, relative to the largest."""

MIN_VARIANCE = 1e-30
"""Lower bound of a variance that is divided by."""


class Text(Kind):
    """More than 64 features without negative values, which are mostly zero.

    Features are square roots, scaled to unit length, and divided by the square root of
    the standard deviation of each term. Up to 2048 terms are the features, without
    their mean. More terms, or more than 2^25 values, are reduced to at most 500
    components by truncated SVD. Features are scaled to unit length. The matrix is never
    made dense.
    """

    name = "text"
    features = ("text",)

    def share(
        self,
        samples: Samples,
        summary: DataSummary,
        image_shape: tuple[int, ...] | None,
        rng: np.random.Generator,
    ) -> float:
        """Return the share of the data that is of this kind; see `Kind.share`."""
        n_samples, n_features = summary.n_samples, summary.n_features
        if n_features <= MAX_PLAIN_FEATURES or min(n_samples, n_features) < 3:
            return 0.0
        # Negative values that are rounding errors count as zero.
        if summary.low < -UNIT_INTERVAL_TOLERANCE * summary.high:
            return 0.0
        n_values = n_samples * n_features
        is_sparse = 0 < summary.n_nonzero < MAX_DENSITY * n_values
        return float(is_sparse and summary.high <= MAX_VALUE)

    def fit_features(
        self,
        samples: Samples,
        summary: DataSummary,
        image_shape: tuple[int, ...] | None,
        rng: np.random.Generator,
    ) -> FeatureMap:
        """Fit features; see `Kind.fit_features`."""
        roots = _text_roots(samples.X, samples.standardizer.columns, rng)
        mean_square = np.asarray(roots.power(2).mean(axis=0)).ravel()
        variance = mean_square - np.asarray(roots.mean(axis=0)).ravel() ** 2
        is_varying = variance > MIN_RELATIVE_VARIANCE * variance.max()
        weight = np.where(is_varying, np.maximum(variance, MIN_VARIANCE) ** -0.25, 0.0)
        weighted = normalize(roots @ sparse.diags_array(weight))
        n_topics = count_topics(*samples.shape)
        if n_topics is None:
            feature_map = FeatureMap(samples.n_features, kind="text")
        else:
            feature_map = FeatureMap(samples.n_features, n_topics, "text")
            feature_map.set_buffers(projection=fit_topics(weighted, n_topics, rng))
        return feature_map.set_buffers(
            **unit_buffers(samples.standardizer),
            weight=weight,
            mean=np.asarray(weighted.mean(axis=0)).ravel(),
        )


def _text_roots(
    X: Matrix, columns: Index, rng: np.random.Generator
) -> sparse.csr_array:
    """Return square roots of columns of rows, scaled to unit length."""
    n_samples, n_columns = X.shape
    index = draw_rows(n_samples, MAX_ROWS, rng)
    chunks = (X[index[rows]] for rows in row_slices(len(index), n_columns))
    subset = sparse.vstack([sparse.csr_array(c, dtype=np.float64) for c in chunks])
    return normalize(subset[:, columns].maximum(0).sqrt())
