"""Fixed maps from data to the features that the encoder reads."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from ..utils.limits import ROUNDING
from .images import ImageLayout

ImageShape = tuple[int, ...] | None
"""Height and width of an image, with channels first or last if there are any."""


class PlainFeatures(nn.Module):
    """Raw features that are the data.

    It is also the base class of the other kinds of raw features.

    Parameters
    ----------
    n_features : int
        Number of features of the data.
    image_shape : tuple of int, default=None
        Shape of an image. Only kind "image" uses it.

    Attributes
    ----------
    is_normalized : bool
        Whether the result of the linear map is scaled to unit length.
    """

    is_normalized: ClassVar[bool] = False

    def __init__(self, n_features: int, image_shape: ImageShape = None) -> None:
        super().__init__()
        self.n_outputs = n_features

    def forward(self, x: Tensor) -> Tensor:
        """Map data in the user's units to raw features, (batch, n_outputs)."""
        return x


class TextFeatures(PlainFeatures):
    """Weighted square roots, scaled to unit length before and after the weights.

    The result of the map has unit length too. The buffer `weight` has the weight of
    each term.
    """

    is_normalized = True

    def __init__(self, n_features: int, image_shape: ImageShape = None) -> None:
        super().__init__(n_features)
        self.register_buffer("weight", torch.ones(n_features, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Map data to raw features."""
        # Roots of rounding errors would be larger than rounding errors.
        is_amount = x > ROUNDING * x.amax(1, keepdim=True)
        roots = torch.where(is_amount, x, 0.0).clamp(min=0).sqrt()
        return F.normalize(F.normalize(roots) * self.weight)


class UnitFeatures(PlainFeatures):
    """Rows scaled to unit length, so that their distances are those of cosines."""

    def forward(self, x: Tensor) -> Tensor:
        """Map data to raw features."""
        return F.normalize(x)


class DirectionFeatures(UnitFeatures):
    """Rows scaled to unit length. The result of the map has unit length too.

    The squared distance of two results is twice one minus their cosine.
    """

    is_normalized = True


class RootFeatures(PlainFeatures):
    """Square roots. The root of a Poisson count has a variance of about 1/4."""

    def forward(self, x: Tensor) -> Tensor:
        """Map data to raw features."""
        return x.clamp(min=0).sqrt()


class LogShareFeatures(PlainFeatures):
    """Values ``log(1 + depth * share of the total)``, and ``log(1 + total)``."""

    def __init__(self, n_features: int, image_shape: ImageShape = None) -> None:
        super().__init__(n_features)
        self.n_outputs = n_features + 1
        self.register_buffer("depth", torch.ones((), dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Map data to raw features."""
        x = x.clamp(min=0)
        total = x.sum(1, keepdim=True)
        share = x / total.clamp(min=1)
        return torch.hstack([self.depth * share, total]).log1p()


class ImageFeatures(PlainFeatures):
    """Histograms of oriented gradients. The result of the map has unit length.

    Orientations of gray images have a sign: strokes are brighter than the ground, or
    darker. In color images, contrasts of either sign mean the same (Dalal and Triggs
    2005), so orientations have none. Gradients don't tell colors, so their pixels are
    features, too.
    """

    is_normalized = True

    def __init__(self, n_features: int, image_shape: ImageShape = None) -> None:
        super().__init__(n_features)
        is_gray = ImageLayout.from_shape(image_shape).channels == 1
        self.gradients = OrientedGradients(image_shape, is_signed=is_gray)
        self.has_pixels = not is_gray
        self.n_outputs = self.gradients.n_outputs + self.has_pixels * n_features

    def forward(self, x: Tensor) -> Tensor:
        """Map data to raw features."""
        gradients = self.gradients(x)
        return torch.hstack([gradients, x]) if self.has_pixels else gradients


KINDS: dict[str, type[PlainFeatures]] = {
    "plain": PlainFeatures,
    "standardized": PlainFeatures,
    "unit": UnitFeatures,
    "directions": DirectionFeatures,
    "text": TextFeatures,
    "roots": RootFeatures,
    "log_shares": LogShareFeatures,
    "image": ImageFeatures,
}
"""Raw features by the `kind` of a `FeatureMap`."""


class FeatureMap(nn.Module):
    """A fixed map from data to features, for the encoder and the neighbor graph.

    Data are converted to the user's units up to a factor, ``x * unit + origin``. Raw
    features are computed from them, depending on `kind`. The features are a linear map
    of the raw features: ``(raw - mean) @ projection``, or ``raw - mean``. For some
    kinds, they are scaled to unit length.

    The buffers are set by `set_buffers`. Before that, the linear map is the identity.

    Parameters
    ----------
    n_features : int
        Number of features of the data.
    n_outputs : int, default=None
        Number of features of the result. By default, there is no projection.
    kind : {"plain", "standardized", "unit", "directions", "text", "roots", \
            "log_shares", "image"}, default="plain"
        Kind of raw features:

        - "plain": the data;
        - "standardized": the data, which `unit` divides by standard deviations;
        - "unit": rows scaled to unit length;
        - "directions": rows scaled to unit length, as is the result;
        - "text": weighted square roots, scaled to unit length, as is the result;
        - "roots": square roots;
        - "log_shares": ``log(1 + depth * share of the total)``, ``log(1 + total)``;
        - "image": histograms of oriented gradients, and the pixels of color images;
          the result is scaled to unit length.
    image_shape : tuple of int, default=None
        Height and width of an image, with channels first or last if there are any.

    Examples
    --------
    >>> feature_map = FeatureMap(3, n_outputs=1)
    >>> feature_map.set_buffers(mean=[1, 0, 0], projection=[[2], [0], [1]])
    FeatureMap(n_features=3, n_outputs=1, kind='plain')
    >>> feature_map(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[3.]])
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int | None = None,
        kind: str = "plain",
        image_shape: ImageShape = None,
    ) -> None:
        super().__init__()
        self.raw_features = KINDS[kind](n_features, image_shape)
        n_raw = self.raw_features.n_outputs
        self.n_features = n_features
        self.n_outputs = n_raw if n_outputs is None else n_outputs
        self.kind = kind
        self.image_shape = None if image_shape is None else tuple(map(int, image_shape))
        options = {"dtype": torch.float32}
        self.register_buffer("origin", torch.zeros(n_features, **options))
        self.register_buffer("unit", torch.ones(n_features, **options))
        self.register_buffer("mean", torch.zeros(n_raw, **options))
        projection = (
            None if n_outputs is None else torch.eye(n_raw, n_outputs, **options)
        )
        self.register_buffer("projection", projection)

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{name}={value!r}"
            for name, value in self.config.items()
            if value is not None
        )
        return f"{type(self).__name__}({arguments})"

    @property
    def config(self) -> dict[str, object]:
        """Arguments that build a map of the same shape."""
        return {
            "n_features": self.n_features,
            "n_outputs": None if self.projection is None else self.n_outputs,
            "kind": self.kind,
            "image_shape": self.image_shape,
        }

    @torch.no_grad()
    def set_buffers(self, **arrays: ArrayLike) -> FeatureMap:
        """Set buffers from arrays, and return the map.

        Parameters
        ----------
        **arrays : array-like
            Any of `origin`, `unit`, `mean` and `projection`; also `depth` for the kind
            "log_shares", and `weight` for the kind "text".
        """
        buffers = {
            name.rpartition(".")[2]: buffer for name, buffer in self.named_buffers()
        }
        for name, values in arrays.items():
            buffer = buffers[name]
            buffer.copy_(torch.tensor(np.asarray(values), dtype=buffer.dtype))
        return self

    def raw(self, x: Tensor) -> Tensor:
        """Return the raw features of (batch, n_features), (batch, n_raw)."""
        return self.raw_features(x * self.unit + self.origin)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_features) to (batch, n_outputs)."""
        features = self.raw(x) - self.mean
        if self.projection is not None:
            features = features @ self.projection
        return F.normalize(features) if self.raw_features.is_normalized else features


class OrientedGradients(nn.Module):
    """Histograms of oriented gradients (HOG) over overlapping cells of an image.

    Gradients are computed by Sobel filters; of several channels, the one with the
    largest gradient is used. Orientations, from 0 to 180 or 360 degrees, are linearly
    interpolated between 8 or 16 bins, weighted by magnitude, averaged over square cells
    and square-rooted. A cell is about a fifth of the shorter side. Cells overlap, so
    that a small shift of the image changes the features little. Unlike Dalal and Triggs
    (2005), blocks of cells are not normalized.

    Parameters
    ----------
    image_shape : tuple of int
        Height and width of an image, with channels first or last if there are any.
    is_signed : bool, default=False
        Whether opposite directions are told apart.
    n_bins : int, default=8
        Number of bins of half a circle.
    n_cells : int, default=5
        Number of cells side by side along the shorter side of an image.
    n_steps : int, default=3
        Number of cells that begin within a cell, along each side.

    Examples
    --------
    >>> gradients = OrientedGradients((12, 12))
    >>> gradients
    OrientedGradients(height=12, width=12, channels=1, n_bins=8, n_outputs=968)
    >>> gradients(torch.zeros(5, 144)).shape  # 8 bins in 11 times 11 cells
    torch.Size([5, 968])
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        *,
        is_signed: bool = False,
        n_bins: int = 8,
        n_cells: int = 5,
        n_steps: int = 3,
    ) -> None:
        super().__init__()
        self.layout = ImageLayout.from_shape(image_shape)
        sides = self.layout.height, self.layout.width
        self.cell = max(1, round(min(sides) / n_cells))
        self.step = max(1, round(self.cell / n_steps))
        self.bins_per_half_turn = n_bins
        self.n_bins = 2 * n_bins if is_signed else n_bins
        self.n_outputs = self.n_bins * math.prod(
            -(-(side - self.cell) // self.step) + 1 for side in sides
        )

    def extra_repr(self) -> str:
        """Describe the images and the features in one line."""
        layout = self.layout
        return (
            f"height={layout.height}, width={layout.width}, "
            f"channels={layout.channels}, n_bins={self.n_bins}, "
            f"n_outputs={self.n_outputs}"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height * width * channels) to (batch, n_outputs)."""
        x = F.pad(self.layout.images(x), (1, 1, 1, 1), mode="replicate")
        # A Sobel filter is separable: a difference along one axis, smoothed along the
        # other axis.
        across = x[..., 2:] - x[..., :-2]
        across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
        down = x[..., 2:, :] - x[..., :-2, :]
        down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
        magnitude, channel = torch.hypot(across, down).max(1, keepdim=True)
        across, down = across.gather(1, channel), down.gather(1, channel)
        angle = torch.atan2(down, across) * (self.bins_per_half_turn / torch.pi)
        # Linear interpolation between the two nearest bins, on a circle.
        low = angle.floor()
        upper = magnitude * (angle - low)
        low = low.long().remainder(self.n_bins)
        bins = x.new_zeros(len(x), self.n_bins, *magnitude.shape[2:])
        bins.scatter_(1, low, magnitude - upper)
        bins.scatter_(1, (low + 1).remainder(self.n_bins), upper)
        histogram = F.avg_pool2d(
            bins,
            self.cell,
            self.step,
            ceil_mode=True,
            count_include_pad=False,
        )
        return histogram.sqrt().flatten(1)
