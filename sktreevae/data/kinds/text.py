"""Text: amounts of many terms, most of which are zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import eigh
from sklearn.decomposition import TruncatedSVD
from sklearn.preprocessing import normalize

from ...exceptions import InvalidParameterError
from ...model import FeatureMap
from ...utils.chunks import row_slices
from ...utils.limits import (
    MAX_DENSE_ROWS,
    MAX_STATISTICS_ROWS,
    MAX_STATISTICS_VALUES,
    ROUNDING,
)
from ...utils.random import draw_rows
from ..sources import Index, Matrix
from .base import Kind, Observations, unit_buffers

MAX_TEXT_DENSITY = 0.1
"""Fraction of nonzero entries below which data without negative values are text."""

MAX_TERMS = 2048
"""Text of more terms than this is reduced to components."""

N_TOPICS = 500
"""Maximum number of components of text."""

MIN_TOPICS = 200
"""Number of components of text of many samples."""


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

    def share(self, data: Observations, rng: np.random.Generator) -> float:
        """Return the share of the data that is of this kind; see `Kind.share`."""
        summary = data.summary
        is_sparse = summary.has_amounts and 0 < summary.density < MAX_TEXT_DENSITY
        # Sums of larger values overflow in single precision.
        max_value = np.finfo(np.float32).max / summary.n_features
        return float(is_sparse and summary.high <= max_value)

    def check(self, data: Observations) -> None:
        """Raise an error if values are negative; see `Kind.check`."""
        if not data.summary.is_nonnegative:
            raise InvalidParameterError(
                "kind='text' needs values that aren't negative, but X has the value "
                f"{data.summary.low:.17g}."
            )

    def fit_features(self, data: Observations, rng: np.random.Generator) -> FeatureMap:
        """Fit features; see `Kind.fit_features`."""
        samples = data.samples
        roots = _text_roots(samples.X, samples.standardizer.columns, rng)
        mean_square = np.asarray(roots.power(2).mean(axis=0)).ravel()
        variance = mean_square - np.asarray(roots.mean(axis=0)).ravel() ** 2
        is_varying = variance > ROUNDING * variance.max()
        weight = np.zeros_like(variance)
        weight[is_varying] = variance[is_varying] ** -0.25
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
    """Return square roots of columns of rows, scaled to unit length.

    Values that are rounding errors are zero, as in `TextFeatures`.
    """
    n_samples, n_columns = X.shape
    index = draw_rows(n_samples, MAX_STATISTICS_ROWS, rng)
    chunks = (X[index[rows]] for rows in row_slices(len(index), n_columns))
    subset = sparse.vstack([sparse.csr_array(c, dtype=np.float64) for c in chunks])
    amounts = normalize(subset[:, columns].maximum(0), norm="max")
    amounts.data[amounts.data <= ROUNDING] = 0.0
    amounts.eliminate_zeros()
    return normalize(amounts.sqrt())


def count_topics(n_samples: int, n_features: int) -> int | None:
    """Return the number of components of text; None if terms are the features."""
    if n_features <= MAX_TERMS and n_samples * n_features <= MAX_STATISTICS_VALUES:
        return None
    n_topics = np.clip(MAX_STATISTICS_VALUES // n_samples, MIN_TOPICS, N_TOPICS)
    return max(1, min(int(n_topics), n_samples - 1, n_features - 1))


def fit_topics(
    rows: sparse.csr_array, n_topics: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the first right singular vectors of rows, (n_features, n_topics).

    Those of few rows of many terms are exact. They are computed from the products of
    the rows, since iterations on vectors of all terms would take much longer. Vectors
    of singular values of almost zero are zero: the rows don't determine them.
    """
    n_samples, n_features = rows.shape
    if n_samples > min(MAX_DENSE_ROWS, n_features):
        svd = TruncatedSVD(n_topics, random_state=int(rng.integers(2**31)))
        return svd.fit(rows).components_.T
    products = (rows @ rows.T).toarray()
    bounds = [n_samples - n_topics, n_samples - 1]
    square, vectors = eigh(products, subset_by_index=bounds)
    rounding = n_samples * np.finfo(np.float64).eps
    is_determined = square > rounding * square[-1]
    length = np.sqrt(np.where(is_determined, square, 1.0))
    return rows.T @ (vectors * (is_determined / length))[:, ::-1]
