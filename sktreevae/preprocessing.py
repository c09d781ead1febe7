"""What a model has to know about a user's matrix before it sees a batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from .model.likelihoods import LARGEST_COUNT
from .sources import Matrix, row_slices
from .validation import InvalidParameterError

__all__ = [
    "COUNT_LIKELIHOODS",
    "chunks_of_values",
    "resolve_likelihood",
    "standardisation",
    "value_range",
]

COUNT_LIKELIHOODS = ("poisson", "negative_binomial")

LARGEST_VALUE = 1e150
"""Squares of larger values overflow."""


def resolve_likelihood(X: Matrix, likelihood: str) -> str:
    """Choose the likelihood for "auto", and check that data and likelihood agree.

    Parameters
    ----------
    X : ndarray, CSR matrix or Rows of shape (n_samples, n_features)
        Data.
    likelihood : {"auto", "bernoulli", "gaussian", "poisson", "negative_binomial"}
        The wish of a user.

    Returns
    -------
    likelihood : {"bernoulli", "gaussian", "poisson", "negative_binomial"}
        For "auto", "bernoulli" if all values lie in [0, 1], and "gaussian" otherwise:
        whole numbers may be codes or grey levels, so counts are never guessed.

    Raises
    ------
    ValueError
        If the likelihood is one of other values, or values are so large that they
        can't be standardised.
    """
    low, high = value_range(X)
    if max(-low, high) > LARGEST_VALUE:
        raise ValueError(
            "X has values too large to standardise: their squares overflow. "
            f"Scale X to at most {LARGEST_VALUE:g}."
        )
    in_unit_interval = low >= 0.0 and high <= 1.0
    if likelihood == "auto":
        return "bernoulli" if in_unit_interval else "gaussian"
    if likelihood == "bernoulli" and not in_unit_interval:
        raise InvalidParameterError(
            "likelihood='bernoulli' needs values between 0 and 1, but those of X "
            f"lie between {low:g} and {high:g}. Scale X, or use 'gaussian'."
        )
    if likelihood in COUNT_LIKELIHOODS:
        _check_counts(X, likelihood)
    return likelihood


def standardisation(
    X: Matrix, likelihood: str, as_a_whole: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what to subtract from features, and what to divide them by.

    Parameters
    ----------
    X : ndarray, CSR matrix or Rows of shape (n_samples, n_features)
        Data.
    likelihood : {"bernoulli", "gaussian", "poisson", "negative_binomial"}
        Only values of a Gaussian likelihood don't stay as they are.
    as_a_whole : bool, default=False
        Whether all features share a mean and a scale, as the pixels of images do.

    Returns
    -------
    center, scale : ndarray of shape (n_features,)
        Mean and standard deviation, 1 for a constant feature; or zeros and ones.
    """
    n_features = X.shape[1]
    if likelihood != "gaussian":
        return np.zeros(n_features), np.ones(n_features)
    # The scaler doesn't center sparse features, but it does find their means.
    scaler = StandardScaler(with_mean=not sparse.issparse(X))
    for chunk in _chunks(X):
        scaler.partial_fit(chunk.astype(np.float64))
    if as_a_whole:
        variance = np.mean(scaler.var_ + np.square(scaler.mean_ - scaler.mean_.mean()))
        scale = np.sqrt(variance) if variance > 0 else 1.0
        return np.full(n_features, scaler.mean_.mean()), np.full(n_features, scale)
    return scaler.mean_, scaler.scale_


def _check_counts(X: Matrix, likelihood: str) -> None:
    """Raise if a value isn't a whole number from 0 to the largest possible."""
    for values in chunks_of_values(X):
        wrong = (values < 0) | (values > LARGEST_COUNT) | (values != np.floor(values))
        if wrong.any():
            raise InvalidParameterError(
                f"likelihood={likelihood!r} needs counts, whole numbers from 0 to "
                f"{LARGEST_COUNT}, but X has the value {values[wrong][0]:.17g}. Pass "
                "counts that aren't normalised or transformed, or use 'gaussian'."
            )


def value_range(X: Matrix) -> tuple[float, float]:
    """Return the least and the largest value."""
    extremes = [(float(v.min()), float(v.max())) for v in chunks_of_values(X)]
    lows, highs = zip(*extremes, strict=True)
    return min(lows), max(highs)


def chunks_of_values(X: Matrix) -> Iterator[NDArray[np.number]]:
    """Yield the values of a matrix; of a sparse one those stored, and a zero."""
    if sparse.issparse(X):
        yield np.zeros(1, dtype=X.dtype)
        X = X.data[:, None]
    # Maybe there are none.
    yield from (chunk for chunk in _chunks(X) if chunk.size)


def _chunks(X: Matrix) -> Iterator[Matrix]:
    return (X[rows] for rows in row_slices(*X.shape))
