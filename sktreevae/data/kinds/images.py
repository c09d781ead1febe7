"""Images, whose shape the user gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag
from sklearn.decomposition import PCA

from ...exceptions import InvalidParameterError
from ...model import FeatureMap
from ...utils.limits import ROUNDING
from .base import Kind, Observations, draw_component_rows, project, raw_features

N_GRADIENT_COMPONENTS = 200
"""Number of principal components of oriented gradients."""

PIXEL_SHARE = 0.5
"""Number and weight of the components of the pixels of color images, relative to those
of the oriented gradients."""

MIN_ROWS_PER_COMPONENT = 4
"""Minimum number of rows per component that is whitened: more components of few rows
are noise, which whitening makes larger."""


class Images(Kind):
    """Images. Counts in images are gray levels.

    Features are histograms of oriented gradients, reduced to 200 principal components
    that are whitened halfway: divided by the square root of their standard deviation.
    For color images, 100 such components of the pixels at half the weight are others.
    Features are scaled to unit length. This is prior knowledge about images.
    """

    name = "images"
    features = ("image",)

    def share(self, data: Observations, rng: np.random.Generator) -> float:
        """Return the share of the data that is of this kind; see `Kind.share`."""
        return float(data.image_shape is not None)

    def check(self, data: Observations) -> None:
        """Raise an error if there is no image shape; see `Kind.check`."""
        if data.image_shape is None:
            raise InvalidParameterError("kind='images' needs an image_shape, got None.")

    def fit_features(self, data: Observations, rng: np.random.Generator) -> FeatureMap:
        """Fit features; see `Kind.fit_features`."""
        samples = data.samples
        index = draw_component_rows(samples, rng)
        feature_map = FeatureMap(
            samples.n_features, kind="image", image_shape=data.image_shape
        )
        raw = raw_features(feature_map, samples, index)
        n_gradients = feature_map.raw_features.gradients.n_outputs
        gradients, pixels = raw[:, :n_gradients], raw[:, n_gradients:]
        projection = _whitened_components(gradients, N_GRADIENT_COMPONENTS, rng)
        if pixels.shape[1]:
            n_components = int(PIXEL_SHARE * N_GRADIENT_COMPONENTS)
            of_pixels = _whitened_components(pixels, n_components, rng)
            projection = block_diag(projection, PIXEL_SHARE * of_pixels)
        return project(feature_map, raw, projection)


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
    is_varying = variance > ROUNDING * variance[0]
    components, std = pca.components_[is_varying], np.sqrt(variance[is_varying])
    return components.T / np.sqrt(std * std.sum())
