"""Which features of the data tell neighbours: a choice without labels."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import block_diag
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.preprocessing import normalize

from .model import FeatureMap
from .preprocessing import chunks_of_values
from .sources import Matrix, row_slices
from .training import Samples

__all__ = ["fit_feature_map"]

N_COMPONENTS = 50
MAX_PLAIN_FEATURES = 64
"""Data with more features than this is reduced to `N_COMPONENTS`."""

N_TOPICS = 200
LARGEST_COUNT = 1e30
TINY = 1e-30
TEXT_DENSITY = 0.1
"""Largest fraction of entries that aren't zero in text-like data."""

PIXEL_WEIGHT = 0.5
"""Of the pixels, relative to the oriented gradients."""

TOTAL_WEIGHT = 0.2
"""Of the total of a row of counts, relative to the shares."""

FEW_FEATURES = 0.25
"""Least fraction of the features that should decide on distances."""

N_TOPIC_ROWS = 100_000
"""Most rows that topics are found on."""

N_TRAINING_ROWS = 20_000
N_TRAINING_VALUES = 1 << 25
"""Most rows, and most entries, that components are found on."""

N_TRIAL_ROWS = 1000
"""Most rows that scalings are compared on."""

N_TRIAL_FOLDS = 8


def fit_feature_map(
    X: Matrix,
    samples: Samples,
    center: NDArray[np.float64],
    scale: NDArray[np.float64],
    image_shape: tuple[int, ...] | None,
    rng: np.random.Generator,
    *,
    counts: bool = False,
) -> FeatureMap:
    """Choose features in which Euclidean distances tell neighbours, and fit them.

    - Images: histograms of oriented gradients, reduced to 50 principal components, and
      50 of the pixels at half the weight. This is prior knowledge about images.
    - Counts, where the likelihood says so: square roots of up to 64 features. Of more,
      50 principal components of the logarithms of their shares, at the median total,
      and the logarithm of the total at a fifth of the weight: how deep a cell was
      sequenced, or how long a text is, tells little about what it is.
    - Other text-like data, which is not negative and mostly zero: square roots, scaled
      to unit length, reduced by truncated SVD without the first component, which is
      little more than the mean; scaled to unit length again. Never made dense.
    - Other data: 50 principal components; all features, where they are few. Features
      are standardised first if their scales seem to differ in kind.

    Parameters
    ----------
    X : ndarray, CSR matrix or Rows of shape (n_samples, n_features)
        Data in the user's units.
    samples : Samples
        The same, standardised.
    center, scale : ndarray of shape (n_features,)
        How they were.
    image_shape : tuple of int, default=None
        Height, width and, maybe, channels.
    rng : numpy Generator
        Draws rows and the starts of iterations.
    counts : bool, default=False
        Whether the data are counts; those of images are grey levels nevertheless.

    Returns
    -------
    feature_map : FeatureMap
        On the CPU. Features have a mean square length of 1.
    """
    n_features = X.shape[1]
    # In the user's units, but for a factor: the data may be huge or tiny.
    unit = scale / scale.max()
    if image_shape is None and not counts and _is_text_like(X):
        feature_map = FeatureMap(n_features, _n_topics(X), "text")
        _set(feature_map, unit=unit, origin=center / scale.max())
        _set(feature_map, projection=_topics(X, rng))
        return feature_map
    n_rows = min(N_TRAINING_ROWS, max(N_TRAINING_VALUES // n_features, N_COMPONENTS))
    x = _some_rows(samples, n_rows, rng)
    if image_shape is not None:
        make = partial(FeatureMap, n_features, kind="image", image_shape=image_shape)
        raw = make(n_outputs=1).raw(torch.from_numpy(x)).numpy()
        n_gradients = raw.shape[1] - n_features
        gradients, pixels = raw[:, :n_gradients], raw[:, n_gradients:]
        mean = raw.mean(axis=0)
        projection = block_diag(
            _components(gradients, rng), PIXEL_WEIGHT * _components(pixels, rng)
        )
        return _set(make(projection.shape[1]), mean=mean, projection=projection)
    if counts:
        return _fit_counts(x, rng)
    trial = x[:N_TRIAL_ROWS].astype(np.float64)
    if _scales_differ(trial * unit, rng):
        spread = x.std(axis=0)
        unit = np.where(spread > 0, 1.0 / np.maximum(spread, TINY), 0.0)
    raw = x * unit.astype(np.float32)
    projection = _components(raw, rng)
    feature_map = FeatureMap(n_features, projection.shape[1])
    return _set(feature_map, unit=unit, mean=raw.mean(axis=0), projection=projection)


def _fit_counts(x: NDArray[np.float32], rng: np.random.Generator) -> FeatureMap:
    n_features = x.shape[1]
    make = partial(FeatureMap, n_features)
    if n_features <= MAX_PLAIN_FEATURES:
        raw = np.sqrt(x)
        feature_map = make(kind="roots")
        return _set(
            feature_map, mean=raw.mean(axis=0), projection=_components(raw, rng)
        )
    depth = max(np.median(x.sum(axis=1)), 1.0)
    start = _set(make(kind="shares"), depth=depth)
    raw = start.raw(torch.from_numpy(x)).numpy()
    shares, total = raw[:, :-1], raw[:, -1:]
    projection = block_diag(
        _components(shares, rng), TOTAL_WEIGHT * _components(total, rng)
    )
    feature_map = make(projection.shape[1], "shares")
    return _set(feature_map, depth=depth, mean=raw.mean(axis=0), projection=projection)


def _set(feature_map: FeatureMap, **buffers: NDArray[np.floating]) -> FeatureMap:
    """Fill the buffers of a map."""
    for name, values in buffers.items():
        getattr(feature_map, name).copy_(torch.from_numpy(np.asarray(values)))
    return feature_map


def _some_rows(
    samples: Samples, n_rows: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    some = torch.from_numpy(rng.permutation(len(samples))[:n_rows])
    return samples[some.to(samples.device)].numpy(force=True)


def _components(
    x: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return a projection to principal components, with a mean square length of 1."""
    total = x.var(axis=0).sum()
    if x.shape[1] <= MAX_PLAIN_FEATURES or total == 0:
        projection = np.eye(x.shape[1], dtype=np.float32)
    else:
        seed = int(rng.integers(2**31))
        pca = PCA(min(N_COMPONENTS, *x.shape), random_state=seed).fit(x)
        projection, total = pca.components_.T, pca.explained_variance_.sum()
    return projection / np.sqrt(total if total > 0 else 1.0)


def _n_topics(X: Matrix) -> int:
    return max(1, min(N_TOPICS, *X.shape) - 1)


def _topics(X: Matrix, rng: np.random.Generator) -> NDArray[np.float64]:
    n_samples, n_features = X.shape
    index = np.arange(n_samples)
    if n_samples > N_TOPIC_ROWS:
        index = np.sort(rng.permutation(n_samples)[:N_TOPIC_ROWS])
    chunks = (X[index[rows]] for rows in row_slices(len(index), n_features))
    some = sparse.vstack([sparse.csr_array(c, dtype=np.float64) for c in chunks])
    roots = some.tocsr().sqrt()
    svd = TruncatedSVD(_n_topics(X) + 1, random_state=int(rng.integers(2**31)))
    return svd.fit(normalize(roots)).components_[1:].T


def _is_text_like(X: Matrix) -> bool:
    if X.shape[1] <= MAX_PLAIN_FEATURES or min(X.shape) < 3:
        return False
    n_nonzero = 0
    for values in chunks_of_values(X):
        if values.min() < 0 or values.max() > LARGEST_COUNT:
            return False
        n_nonzero += np.count_nonzero(values)
    return 0 < n_nonzero < TEXT_DENSITY * X.shape[0] * X.shape[1]


def _scales_differ(x: NDArray[np.float64], rng: np.random.Generator) -> bool:
    """Tell whether features have units so different that they should be standardised.

    Two things must hold. Few features decide on all distances: (sum of variances)^2 /
    sum of squared variances, the number of equally spread features that would carry
    as much, is below a quarter of the features. And the neighbours found by
    standardised features are better at predicting features that they were found
    without, so it isn't that the other features are noise.
    """
    x = x - x.mean(axis=0)
    variance = x.var(axis=0)
    x, variance = x[:, variance > 0], variance[variance > 0]
    if len(variance) < 2 or len(x) < 4:
        return False
    effective = variance.sum() ** 2 / np.square(variance).sum()
    if not effective < FEW_FEATURES * len(variance):
        return False
    standardised = x / x.std(axis=0)
    folds = np.array_split(rng.permutation(len(variance)), N_TRIAL_FOLDS)
    plain = _prediction_error(x, standardised, folds)
    return _prediction_error(standardised, standardised, folds) < plain


def _prediction_error(
    x: NDArray[np.float64],
    target: NDArray[np.float64],
    folds: list[NDArray[np.int64]],
) -> float:
    """Mean square error of the mean of neighbours found without the feature."""
    n_neighbors = min(max(3, round(np.log2(len(x)))), len(x) - 1)
    gram = x @ x.T
    error = 0.0
    for fold in folds:
        rest = gram - x[:, fold] @ x[:, fold].T
        square = rest.diagonal() - 2 * rest
        np.fill_diagonal(square, np.inf)
        nearest = np.argpartition(square, n_neighbors - 1, axis=1)[:, :n_neighbors]
        predicted = target[:, fold][nearest].mean(axis=1)
        error += np.square(predicted - target[:, fold]).sum()
    return error / target.size
