"""What depends on the kind of the data: features, and options of the graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor

from ...model import FeatureMap
from ...utils.limits import MAX_STATISTICS_ROWS, MAX_STATISTICS_VALUES
from ...utils.random import draw_rows
from ..samples import Samples
from ..scaling import MAX_PLAIN_FEATURES, DataSummary, Standardizer

N_COMPONENTS = 50
"""Number of principal components."""


@dataclass(frozen=True, eq=False)
class Observations:
    """The data that a kind is chosen for.

    Parameters
    ----------
    samples : Samples
        The data in the units of the model.
    summary : DataSummary
        Statistics of the data in the user's units.
    image_shape : tuple of int or None, default=None
        Height, width and optionally channels of images.
    """

    samples: Samples
    summary: DataSummary
    image_shape: tuple[int, ...] | None = None


class Kind(ABC):
    """A kind of data.

    Attributes
    ----------
    name : str
        Value of the parameter `kind` of the estimator.
    features : tuple of str
        Kinds of `FeatureMap` of this data.
    common_units : tuple of str
        Those of `features` that columns of one unit have, such as pixels.
    round_clusters, spread_values : bool
        Options of the neighbor graph; see `GraphOptions`.
    """

    name: ClassVar[str]
    features: ClassVar[tuple[str, ...]]
    common_units: ClassVar[tuple[str, ...]] = ()
    round_clusters: ClassVar[bool] = False
    spread_values: ClassVar[bool] = False

    def share(self, data: Observations, rng: np.random.Generator) -> float:
        """Return the share of the data that is of this kind; all of it by default."""
        return 1.0

    def check(self, data: Observations) -> None:  # noqa: B027
        """Raise an InvalidParameterError if the data can't be of this kind."""

    @abstractmethod
    def fit_features(self, data: Observations, rng: np.random.Generator) -> FeatureMap:
        """Fit features whose Euclidean distances tell neighbors.

        Parameters
        ----------
        data : Observations
            The data.
        rng : numpy.random.Generator
            Draws rows and starting points of the decompositions.

        Returns
        -------
        feature_map : FeatureMap
            On the CPU. Features have a mean squared length of 1.
        """


def unit_buffers(standardizer: Standardizer) -> dict[str, NDArray[np.float64]]:
    """Return the buffers that restore the user's units up to a factor.

    The data may be huge or tiny.
    """
    max_scale = standardizer.scale.max()
    return {
        "unit": standardizer.scale / max_scale,
        "origin": standardizer.center / max_scale,
    }


def draw_component_rows(samples: Samples, rng: np.random.Generator) -> Tensor:
    """Return the indices of random rows to compute principal components from."""
    n_rows = max(MAX_STATISTICS_VALUES // samples.n_features, N_COMPONENTS)
    index = draw_rows(len(samples), min(MAX_STATISTICS_ROWS, n_rows), rng)
    return torch.from_numpy(index).to(samples.device)


def raw_features(
    feature_map: FeatureMap, samples: Samples, index: Tensor
) -> NDArray[np.float32]:
    """Return the raw features of rows, computed block by block."""
    feature_map.to(samples.device)
    raw = samples.map(feature_map.raw, index).numpy(force=True)
    feature_map.cpu()
    return raw


def project(
    feature_map: FeatureMap, raw: NDArray[np.float32], projection: NDArray
) -> FeatureMap:
    """Return a map whose features are a projection of raw features without their mean.

    Parameters
    ----------
    feature_map : FeatureMap
        Maps data to the raw features.
    raw : ndarray of shape (n_rows, n_raw)
        Raw features of some rows.
    projection : ndarray of shape (n_raw, n_outputs)
        The projection.
    """
    config = feature_map.config | {"n_outputs": projection.shape[1]}
    projected = FeatureMap(**config)
    projected.load_state_dict(feature_map.state_dict(), strict=False)
    return projected.set_buffers(mean=raw.mean(axis=0), projection=projection)


def components(x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
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
