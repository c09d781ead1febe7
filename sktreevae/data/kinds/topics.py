"""Components of text of many terms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import eigh
from sklearn.decomposition import TruncatedSVD

__all__ = ["count_topics", "fit_topics"]

MAX_TERMS = 2048
"""Text of more terms than this is reduced to components."""

MAX_TERM_VALUES = 1 << 25
"""Text of more samples times terms than this is reduced to components."""

N_TOPICS = 500
"""Maximum number of components of text."""

MIN_TOPICS = 200
"""Number of components of text of many samples."""

MAX_PRODUCT_ROWS = 2000
"""Components of up to so many rows are computed from the products of the rows."""

MIN_RELATIVE_SQUARE = 1e-10
"""Minimum squared singular value of a component, relative to the largest."""


def count_topics(n_samples: int, n_features: int) -> int | None:
    """Return the number of components of text; None if terms are the features."""
    if n_features <= MAX_TERMS and n_samples * n_features <= MAX_TERM_VALUES:
        return None
    n_topics = max(MIN_TOPICS, min(N_TOPICS, MAX_TERM_VALUES // n_samples))
    return min(n_topics, n_samples - 1, n_features - 1)


def fit_topics(
    rows: sparse.csr_array, n_topics: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the first right singular vectors of rows, (n_features, n_topics).

    Those of few rows of many terms are exact. They are computed from the products of
    the rows, since iterations on vectors of all terms would take much longer. Vectors
    of singular values of almost zero are zero: the rows don't determine them.
    """
    n_samples, n_features = rows.shape
    if n_samples > min(MAX_PRODUCT_ROWS, n_features):
        svd = TruncatedSVD(n_topics, random_state=int(rng.integers(2**31)))
        return svd.fit(rows).components_.T
    products = (rows @ rows.T).toarray()
    bounds = [n_samples - n_topics, n_samples - 1]
    square, vectors = eigh(products, subset_by_index=bounds)
    is_determined = square > MIN_RELATIVE_SQUARE * square[-1]
    length = np.sqrt(np.where(is_determined, square, 1.0))
    return rows.T @ (vectors * (is_determined / length))[:, ::-1]
