"""From data to features in which distances tell neighbours, without training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .images import ImageLayout

__all__ = ["FeatureMap", "OrientedGradients"]

N_BINS = 8
CELLS_PER_SIDE = 5
STEPS_PER_CELL = 3


class FeatureMap(nn.Module):
    """A fixed map from data to what the encoder sees and neighbours are found by.

    Data become raw features, of which a linear map is taken:

    - "plain": the data.
    - "text": square roots, scaled to unit length, as is the result of the map.
    - "roots": square roots, which give counts a variance of about a quarter.
    - "shares": ``log(1 + depth * share of the total)``, and ``log(1 + total)``.
    - "image": oriented gradients, and the pixels.

    The buffers are fitted elsewhere; before that, the linear map is the identity.

    Parameters
    ----------
    n_features : int
        Features of the data.
    n_outputs : int, default=None
        Features of the result; as many as raw features by default.
    kind : {"plain", "text", "roots", "shares", "image"}, default="plain"
        How raw features are made.
    image_shape : tuple of int, default=None
        Height and width of an image, maybe with channels first or last.
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int | None = None,
        kind: str = "plain",
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        n_raw = n_features
        if kind == "image":
            self.gradients = OrientedGradients(image_shape)
            n_raw += self.gradients.n_features
        elif kind == "shares":
            self.register_buffer("depth", torch.ones(()))
            n_raw += 1
        self.n_outputs = n_raw if n_outputs is None else n_outputs
        self.config = {
            "n_features": n_features,
            "n_outputs": self.n_outputs,
            "kind": kind,
            "image_shape": image_shape,
        }
        # What x is in the units of the user, but for a factor: x * unit + origin.
        self.register_buffer("origin", torch.zeros(n_features))
        self.register_buffer("unit", torch.ones(n_features))
        self.register_buffer("mean", torch.zeros(n_raw))
        self.register_buffer("projection", torch.eye(n_raw, self.n_outputs))

    def raw(self, x: Tensor) -> Tensor:
        """Return the raw features of (batch, n_features), (batch, n_raw)."""
        x = x * self.unit + self.origin
        if self.kind == "text":
            return F.normalize(x.clamp(min=0).sqrt())
        if self.kind == "roots":
            return x.clamp(min=0).sqrt()
        if self.kind == "shares":
            x = x.clamp(min=0)
            total = x.sum(1, keepdim=True)
            share = x / total.clamp(min=1)
            return torch.hstack([self.depth * share, total]).log1p()
        if self.kind == "image":
            return torch.hstack([self.gradients(x), x])
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_features) to (batch, n_outputs)."""
        features = (self.raw(x) - self.mean) @ self.projection
        return F.normalize(features) if self.kind == "text" else features


class OrientedGradients(nn.Module):
    """Histograms of the orientation of gradients over square cells of an image.

    Gradients are Sobel's. Orientations, 0 to 180 degrees, are softly put in 8 bins,
    weighted by magnitude, averaged over cells of about a fifth of the shorter side,
    and square-rooted. Cells begin every third of a cell: they overlap, so that a small
    shift of the image makes a small difference. Of several channels, the one with the
    largest gradient counts. After Dalal and Triggs (2005), without their normalisation
    of blocks.

    Parameters
    ----------
    image_shape : tuple of int
        Height and width, with channels first or last, of the images in a row.

    Examples
    --------
    >>> gradients = OrientedGradients((12, 12))
    >>> gradients(torch.zeros(5, 144)).shape  # 8 bins in 11 times 11 cells
    torch.Size([5, 968])
    """

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layout = ImageLayout.of(image_shape)
        sides = self.layout.height, self.layout.width
        self.cell = max(1, round(min(sides) / CELLS_PER_SIDE))
        self.step = max(1, round(self.cell / STEPS_PER_CELL))
        self.n_features = N_BINS * math.prod(
            -(-(side - self.cell) // self.step) + 1 for side in sides
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, height * width * channels) to (batch, n_features)."""
        x = F.pad(self.layout.images(x), (1, 1, 1, 1), mode="replicate")
        # Sobel's filters are separable: a difference one way, smoothed the other way.
        across = x[..., 2:] - x[..., :-2]
        across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
        down = x[..., 2:, :] - x[..., :-2, :]
        down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
        magnitude, channel = torch.hypot(across, down).max(1, keepdim=True)
        across, down = across.gather(1, channel), down.gather(1, channel)
        angle = torch.atan2(down, across) * (N_BINS / torch.pi)
        bins = torch.arange(N_BINS, device=x.device).to(x)[:, None, None]
        # Linear interpolation between the two nearest bins, on a circle.
        distance = (angle - bins + N_BINS / 2).remainder(N_BINS) - N_BINS / 2
        near = F.relu(1 - distance.abs())
        histogram = F.avg_pool2d(
            magnitude * near,
            self.cell,
            self.step,
            ceil_mode=True,
            count_include_pad=False,
        )
        return histogram.sqrt().flatten(1)
