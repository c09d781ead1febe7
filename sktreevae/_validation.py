"""Validation of X: types, shapes and images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from torch.utils.data import Dataset

from .data import LazyRows, Matrix, as_matrix
from .utils.validation import check_images

__all__ = ["validate_rows"]

INTEGER_TYPES = [np.dtype(code) for code in np.typecodes["AllInteger"] + "?"]
FLOAT_TYPES = [
    dtype.newbyteorder(order)
    for dtype in map(np.dtype, (np.float64, np.float32, np.float16))
    for order in "=S"
]


def validate_rows(
    estimator: BaseEstimator, X: ArrayLike | Dataset, *, reset: bool
) -> Matrix:
    """Return X as a matrix, without a copy of numeric data.

    Parameters
    ----------
    estimator : TreeVAEClustering
        Gets `n_features_in_` and `feature_names_in_`, or is checked against them.
    X : array-like, sparse matrix, Dataset or Dask array
        Rows, or images of the shape `image_shape`.
    reset : bool
        Whether to set the attributes.

    Raises
    ------
    ValueError, TypeError
        If X isn't numeric, two-dimensional and finite, doesn't agree with the
        estimator, or, with `reset`, has fewer rows than clusters are asked for.
    """
    X = as_matrix(_flatten_images(X, estimator.image_shape))
    if isinstance(X, LazyRows):
        # Values are checked whenever they are read.
        X = validate_data(estimator, X, reset=reset, skip_check_array=True)
    else:
        # Integers stay as they are: batches are converted, never the whole.
        X = validate_data(
            estimator,
            X,
            reset=reset,
            accept_sparse="csr",
            dtype=[*FLOAT_TYPES, *INTEGER_TYPES],
        )
    if sparse.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    check_images(
        encoder=estimator.encoder,
        decoder=estimator.decoder,
        views=estimator.views,
        image_shape=estimator.image_shape,
        n_features=X.shape[1],
    )
    if reset and estimator.n_clusters is not None and X.shape[0] < estimator.n_clusters:
        raise ValueError(
            f"n_samples={X.shape[0]} should be >= n_clusters={estimator.n_clusters}."
        )
    return X


def _flatten_images(X: object, image_shape: tuple[int, ...] | None) -> object:
    """Return images, an array with more than two dimensions, as rows.

    Raises
    ------
    ValueError
        If the images don't have the shape `image_shape`.
    """
    shape = getattr(X, "shape", ())
    if image_shape is None or len(shape) <= 2 or not hasattr(X, "reshape"):
        return X
    # A channel axis of length 1 may be left out.
    if [n for n in shape[1:] if n != 1] != [n for n in image_shape if n != 1]:
        raise ValueError(
            f"X has images of shape {tuple(shape[1:])}, but image_shape is "
            f"{tuple(image_shape)}."
        )
    return X.reshape((shape[0], -1))
