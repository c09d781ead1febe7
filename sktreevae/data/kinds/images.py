"""Images, whose shape the user gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag
from sklearn.decomposition import PCA

from ...model import FeatureMap
from ...utils.limits import ROUNDING
from .base import Kind, Observations, draw_component_rows, raw_features

N_GRADIENT_COMPONENTS = 200
"""Number of principal components of oriented gradients."""

N_PIXEL_COMPONENTS = 100
"""Number of principal components of the pixels of color images."""

MIN_ROWS_PER_COMPONENT = 4
"""Minimum number of rows per component that is whitened: more components of few rows
are noise, which whitening makes larger."""

PIXEL_WEIGHT = 0.5
"""Weight of the pixels of color images, relative to the oriented gradients."""


class Images(Kind):
    """Images. Counts in images are gray levels.

    Features are histograms of oriented gradients, reduced to 200 principal components
    that are whitened halfway: divided by the square root of their standard deviation.
    For color images, 100 such components of the pixels at half the weight are others.
    Features are scaled to unit length. This is prior knowledge about images.
    """

    name = "images"
    description = (
        "with an `image_shape`, which it needs. Gradients of gray levels, and the "
        "pixels of color images, are compared."
    )
    features = ("image",)

    def share(self, data: Observations, rng: np.random.Generator) -> float:
        """Return the share of the data that is of this kind; see `Kind.share`."""
        return float(data.image_shape is not None)

    def violation(self, data: Observations) -> str | None:
        """Return a message if there is no image shape; see `Kind.violation`."""
        if data.image_shape is not None:
            return None
        return "kind='images' needs an image_shape, got None."

    def fit_features(self, data: Observations, rng: np.random.Generator) -> FeatureMap:
        """Fit features; see `Kind.fit_features`."""
        samples, image_shape = data.samples, data.image_shape
        index = draw_component_rows(samples, rng)
        n_features = samples.n_features
        unreduced = FeatureMap(n_features, kind="image", image_shape=image_shape)
        raw = raw_features(unreduced, samples, index)
        n_gradients = unreduced.raw_features.gradients.n_outputs
        projection = _whitened_components(
            raw[:, :n_gradients], N_GRADIENT_COMPONENTS, rng
        )
        if n_gradients < raw.shape[1]:
            pixels = _whitened_components(raw[:, n_gradients:], N_PIXEL_COMPONENTS, rng)
            projection = block_diag(projection, PIXEL_WEIGHT * pixels)
        feature_map = FeatureMap(n_features, projection.shape[1], "image", image_shape)
        return feature_map.set_buffers(mean=raw.mean(axis=0), projection=projection)


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
