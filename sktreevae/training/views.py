"""Views: random variants of samples that should go the same way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model import FeatureMap, ImageLayout
from .batches import Features, Samples

__all__ = [
    "ImageViews",
    "NeighborViews",
    "SampleViews",
    "View",
    "Views",
    "check_view",
]

View = Callable[[Tensor, torch.Generator], Tensor]
"""Maps rows (batch, n_features) to random variants of them, of the same shape."""

Views = Callable[[Tensor, torch.Generator], Tensor]
"""Maps the positions of samples to features of a variant of each."""

ROTATION = math.radians(10)
"""Largest angle by which grey images turn, as in the paper."""

SHIFT = 1 / 28
"""Largest shift of grey images, relative to the side, as in the paper.

Twice as much cost 6 points of nearest-neighbour accuracy on features of MNIST.
"""

ZOOM = 0.1
"""Grey images shrink or grow by up to this fraction, as in the paper."""

CROP_AREA = 0.2
"""Least area of a crop of a colour image, as in the paper."""

LEAST_AREA = 0.05
MAX_STRENGTH = 2.0

CROP_ASPECT = 4 / 3
"""Largest stretch of a crop of a colour image, in either direction."""

JITTER = 0.4
"""Largest relative change of brightness, contrast and saturation, as in the paper."""

HUE = 0.1
"""Largest turn of the hue, of a whole one, as in the paper."""

GREY_PROBABILITY = 0.2
"""How often a colour image loses its colours, as in the paper."""

BLUR_PROBABILITY = 0.5
"""How often a large colour image is blurred."""

BLUR_SIDE = 48
"""Least pixels a side of images that are blurred, and pixels per pixel of blur."""

RGB_TO_YIQ = (
    (0.299, 0.587, 0.114),
    (0.596, -0.274, -0.322),
    (0.211, -0.523, 0.312),
)
"""Luminance and the plane of colours."""


@dataclass(frozen=True)
class ImageViews:
    """Random variants of images that show the same thing.

    Grey images turn (by up to 10 degrees), move (by up to a 28th of a side) and shrink
    or grow (by up to a tenth); their border pixels continue outwards. They are never
    flipped: what is written, as digits and letters, isn't the same when mirrored (b and
    d, 2 and 5), and other grey images are often of things always seen from one side.

    Colour images are cropped to between a fifth and all of their area and stretched to
    the full size, mirrored half of the time, changed in brightness, contrast,
    saturation (up to 0.4) and hue (up to 0.1), and made grey with probability 0.2.
    Half of those with at least 48 pixels a side are blurred as well, by up to a 48th of
    the shorter side; small ones have no fine detail to lose.

    Parameters
    ----------
    image_shape : tuple of int
        Height and width, maybe with channels, of which there are 1 or 3, first or last.
    low, high : float
        Black and white in the units of the rows; no pixel of a view is outside.
    strength : float, default=1.0
        Factor on all of these ranges, greater than 0 and at most 2. A crop keeps at
        least a twentieth of the area, and no channel turns negative.

    Raises
    ------
    ValueError
        For another number of channels, or another strength.

    Examples
    --------
    >>> views = ImageViews((28, 28), low=0.0, high=1.0)
    >>> views(torch.rand(5, 784), torch.Generator()).shape
    torch.Size([5, 784])
    """

    # Not by kornia: its augmentations draw from torch's global random state.

    image_shape: tuple[int, ...]
    low: float
    high: float
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.strength <= MAX_STRENGTH:
            raise ValueError(
                f"strength must be greater than 0 and at most {MAX_STRENGTH}, got "
                f"{self.strength!r}."
            )
        if self._layout.channels not in (1, 3):
            raise ValueError(
                "image_shape must have 1 or 3 channels, first or last, for views of "
                f"images; got {self.image_shape!r}."
            )

    @property
    def _layout(self) -> ImageLayout:
        return ImageLayout.of(self.image_shape)

    @torch.no_grad()
    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a view of each row of x, (batch, n_features)."""
        vary = _vary_colour if self._layout.channels == 3 else _vary_grey
        images = self._layout.images(x) - self.low
        images = vary(images, self.strength, generator) + self.low
        return self._layout.rows(images.clamp(self.low, self.high))


def _vary_grey(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    angle, zoom, right, down = strength * (2 * _uniform(4, images, generator) - 1)
    height, width = images.shape[2:]
    theta = _affine(
        (height, width),
        angle=ROTATION * angle,
        scale=1 + ZOOM * zoom,
        right=SHIFT * width * right,
        down=SHIFT * height * down,
    )
    return _warp(images, theta)


def _vary_colour(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Crop, mirror, recolour and, if they are large, blur images; black is 0."""
    area, aspect, right, down, mirror, *u = _uniform(12, images, generator)
    area = (1 - strength * (1 - CROP_AREA) * area).clamp(min=LEAST_AREA)
    stretch = (
        strength * math.log(CROP_ASPECT) * (aspect - 0.5)
    ).exp()  # a square root of it
    crop = _crop(
        width=(area.sqrt() * stretch).clamp(max=1),
        height=(area.sqrt() / stretch).clamp(max=1),
        right=right,
        down=down,
        mirror=mirror < 0.5,
    )
    brightness, contrast, saturation, hue, grey, blur, sigma = u
    jitter, turn = min(strength * JITTER, 1.0), 2 * math.pi * strength * HUE
    images = _recolour(
        _warp(images, crop),
        brightness=1 + jitter * (2 * brightness - 1),
        contrast=1 + jitter * (2 * contrast - 1),
        saturation=(1 + jitter * (2 * saturation - 1)) * (grey >= GREY_PROBABILITY),
        hue=turn * (2 * hue - 1),
    )
    side = min(images.shape[2:])
    if side >= BLUR_SIDE:
        images = _blur(
            images, strength * side / BLUR_SIDE * sigma * (blur < BLUR_PROBABILITY)
        )
    return images


def _uniform(n: int, images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw n numbers between 0 and 1 for each image, (n, batch)."""
    shape = (n, len(images))
    return torch.rand(
        shape, generator=generator, device=images.device, dtype=images.dtype
    )


def _warp(images: Tensor, theta: Tensor) -> Tensor:
    """Sample images at the places to which theta, (batch, 2, 3), maps their pixels."""
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _affine(
    size: tuple[int, int],
    *,
    angle: Tensor,
    scale: Tensor,
    right: Tensor,
    down: Tensor,
) -> Tensor:
    """Return the map from places of a view back to those of the image, for `_warp`.

    The image is turned clockwise about its middle, scaled, and moved by pixels.
    """
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = (
        (cos, sin, -cos * right - sin * down),
        (-sin, cos, sin * right - cos * down),
    )
    theta = torch.stack([torch.stack(row, 1) for row in rows], 1)
    # Places are counted in halves of a side from the centre.
    half = theta.new_tensor([size[1] / 2, size[0] / 2, 1])
    return theta * half / half[:2, None]


def _crop(
    *, width: Tensor, height: Tensor, right: Tensor, down: Tensor, mirror: Tensor
) -> Tensor:
    """Return the map from places of a view to those of a part of an image, for `_warp`.

    Width and height are relative to the image's; the part is at its left for ``right``
    0 and at its right for 1.
    """
    zero = torch.zeros_like(width)
    across = torch.stack(
        [torch.where(mirror, -width, width), zero, (1 - width) * (2 * right - 1)], 1
    )
    along = torch.stack([zero, height, (1 - height) * (2 * down - 1)], 1)
    return torch.stack([across, along], 1)


def _recolour(
    images: Tensor,
    *,
    brightness: Tensor,
    contrast: Tensor,
    saturation: Tensor,
    hue: Tensor,
) -> Tensor:
    """Change the colours of images, (batch, 3, height, width), whose black is 0.

    All changes are linear, and their order doesn't matter: brightness scales an image,
    contrast its difference to its mean luminance, saturation its colours, and hue turns
    them in their plane. No saturation is grey.
    """
    to_yiq = images.new_tensor(RGB_TO_YIQ)
    change = images.new_zeros(len(images), 3, 3)
    change[:, 0, 0] = 1
    change[:, 1, 1] = change[:, 2, 2] = saturation * hue.cos()
    change[:, 2, 1] = saturation * hue.sin()
    change[:, 1, 2] = -change[:, 2, 1]
    change = torch.linalg.inv(to_yiq) @ change @ to_yiq
    change = change * (brightness * contrast)[:, None, None]
    luminance = images.mean((2, 3)) @ to_yiq[0]
    grey = luminance * brightness * (1 - contrast)
    return torch.baddbmm(grey[:, None, None], change, images.flatten(2)).view_as(images)


def _blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each image by a Gaussian of its own width in pixels; 0 leaves it alone."""
    # As two products by matrices, since a convolution has one kernel for all images.
    precision = 0.5 / sigma.clamp(min=0.1).square()[:, None, None]
    height, width = images.shape[2:]
    rows, columns = (
        torch.arange(n, device=images.device, dtype=images.dtype)
        for n in (height, width)
    )
    down = (-precision * (rows - rows[:, None]).square()).softmax(2)
    across = (-precision * (columns - columns[:, None]).square()).softmax(2)
    return down[:, None] @ images @ across[:, None].mT


def check_view(vary: View, samples: Samples) -> None:
    """Check, on two samples, that what a user makes of rows can be used.

    Parameters
    ----------
    vary : View
        Makes variants of rows, which it gets in the user's units.
    samples : Samples
        The data, standardised.

    Raises
    ------
    ValueError
        If the variants aren't finite rows of the same shape.
    """
    index = torch.arange(min(2, len(samples)), device=samples.device)
    rows = samples.restore(samples[index])
    views = vary(rows, torch.Generator(rows.device))
    if not isinstance(views, Tensor) or views.shape != rows.shape:
        got = tuple(views.shape) if isinstance(views, Tensor) else repr(views)
        raise ValueError(
            "views must return a tensor of the shape of its rows, "
            f"{tuple(rows.shape)}, got {got}."
        )
    if not views.isfinite().all():
        raise ValueError("views must return finite values, got some that are not.")


@dataclass(frozen=True, eq=False)
class SampleViews:
    """Features of random variants of samples.

    Parameters
    ----------
    samples : Samples
        The data, standardised.
    feature_map : FeatureMap
        Makes features of them.
    vary : View
        Makes variants of rows, which it gets in the user's units; see `check_view`.
    """

    samples: Samples
    feature_map: FeatureMap
    vary: View

    @torch.no_grad()
    def __call__(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Return features of a variant of some samples, (len(index), n_outputs)."""
        rows = self.samples.restore(self.samples[index])
        # A user's rows may be of another float type.
        views = self.vary(rows, generator).to(rows)
        return self.feature_map(self.samples.standardise(views))


@dataclass(frozen=True, eq=False)
class NeighborViews:
    """For data without augmentations: a sample's view is one of its nearest neighbours.

    Parameters
    ----------
    features : Tensor or Features of shape (n_samples, n_outputs)
        Features of the samples.
    index : Tensor of int of shape (n_samples, n_neighbors)
        The neighbours of each sample.

    Examples
    --------
    >>> views = NeighborViews(torch.eye(3), torch.tensor([[1], [2], [0]]))
    >>> views(torch.tensor([0, 2]), torch.Generator())
    tensor([[0., 1., 0.],
            [1., 0., 0.]])
    """

    features: Tensor | Features
    index: Tensor

    def __call__(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Return features of a neighbour of some samples, (len(index), n_outputs)."""
        n_neighbors = self.index.shape[1]
        column = torch.randint(
            n_neighbors, index.shape, generator=generator, device=index.device
        )
        return self.features[self.index[index, column]]
