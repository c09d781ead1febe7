"""Random augmentations of images, and the check of a user's augmentation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model import ImageLayout

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""Maps rows (batch, n_features) to a random augmentation of each, of the same shape."""

RGB_TO_YIQ = (
    (0.299, 0.587, 0.114),
    (0.596, -0.274, -0.322),
    (0.211, -0.523, 0.312),
)
"""Luminance, and the two axes of the color plane."""


@dataclass(frozen=True)
class ImageAugmentation:
    """Random augmentations of images, for `views` of `TreeVAEClustering`.

    Gray images are rotated (by up to 10 degrees), translated (by up to a 28th of the
    side) and scaled (by up to a tenth); border pixels are continued outwards. Gray
    images are never flipped, since letters and digits change their meaning (b and d, 2
    and 5).

    Color images are cropped to between a fifth and all of their area and resized,
    flipped horizontally with probability 0.5, changed in brightness, contrast,
    saturation (by up to 0.4) and hue (by up to 0.1), and converted to gray with
    probability 0.2. Images with at least 48 pixels a side are blurred with probability
    0.5, by up to a 48th of the shorter side.

    Parameters
    ----------
    image_shape : tuple of int
        Height and width, optionally with 1 or 3 channels, first or last.
    low, high : float
        Values of black and white in X. Augmentations are clipped to this range.
    strength : float, default=1.0
        Factor on all ranges, greater than 0 and at most 2. A crop keeps at least a
        twentieth of the area, and no channel becomes negative.

    Raises
    ------
    ValueError
        If the number of channels or the strength isn't valid.

    Examples
    --------
    >>> import torch
    >>> from sktreevae import ImageAugmentation
    >>> augment = ImageAugmentation((28, 28), low=0.0, high=1.0)
    >>> augment(torch.rand(5, 784), torch.Generator()).shape
    torch.Size([5, 784])
    """

    # kornia's augmentations draw from torch's global random state.

    MAX_STRENGTH: ClassVar[float] = 2.0

    image_shape: tuple[int, ...]
    low: float
    high: float
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.strength <= self.MAX_STRENGTH:
            raise ValueError(
                f"strength must be greater than 0 and at most {self.MAX_STRENGTH}, got "
                f"{self.strength!r}."
            )
        if self._layout.channels not in (1, 3):
            raise ValueError(
                "image_shape must have 1 or 3 channels, first or last, to augment "
                f"images; got {self.image_shape!r}."
            )

    @property
    def _layout(self) -> ImageLayout:
        return ImageLayout.from_shape(self.image_shape)

    @torch.no_grad()
    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return an augmentation of each row of x, (batch, n_features)."""
        is_color = self._layout.channels == 3
        steps = (_crop, _recolor, _blur) if is_color else (_move,)
        images = self._layout.images(x) - self.low
        for step in steps:
            images = step(images, self.strength, generator)
        images = images + self.low
        return self._layout.rows(images.clamp(self.low, self.high))


def _move(
    images: Tensor,
    strength: float,
    generator: torch.Generator,
    *,
    rotation: float = math.radians(10),
    zoom: float = 0.1,
    shift: float = 1 / 28,
) -> Tensor:
    """Rotate, scale and translate images, by as much as in the paper at strength 1.

    Twice this shift costs 6 points of nearest-neighbor accuracy on features of MNIST.
    """
    angle, scale, right, down = strength * (2 * _uniform(4, images, generator) - 1)
    height, width = images.shape[2:]
    theta = rotation_map(
        rotation * angle,
        1 + zoom * scale,
        (shift * width * right, shift * height * down),
        (height, width),
    )
    return warp(images, theta)


def _crop(
    images: Tensor,
    strength: float,
    generator: torch.Generator,
    *,
    min_area: float = 0.2,
    max_aspect: float = 4 / 3,
) -> Tensor:
    """Crop images to random parts, resize and flip them.

    At strength 1, the minimum area of a part is that of the paper. At any strength, it
    is a quarter of that.
    """
    area, aspect, right, down, flip = _uniform(5, images, generator)
    area = (1 - strength * (1 - min_area) * area).clamp(min=min_area / 4)
    # The square root of the change of the aspect ratio.
    stretch = (strength * math.log(max_aspect) * (aspect - 0.5)).exp()
    width = (area.sqrt() * stretch).clamp(max=1)
    height = (area.sqrt() / stretch).clamp(max=1)
    return warp(images, crop_map((width, height), (right, down), flip < 0.5))


def _recolor(
    images: Tensor,
    strength: float,
    generator: torch.Generator,
    *,
    max_jitter: float = 0.4,
    max_hue: float = 0.1,
    gray: float = 0.2,
) -> Tensor:
    """Change the colors of images, by as much as in the paper at strength 1.

    The hue is a fraction of the color circle, and `gray` the probability that an image
    is converted to gray.
    """
    brightness, contrast, saturation, hue, rank = _uniform(5, images, generator)
    jitter, turn = min(strength * max_jitter, 1.0), 2 * math.pi * strength * max_hue
    return change_colors(
        images,
        brightness=1 + jitter * (2 * brightness - 1),
        contrast=1 + jitter * (2 * contrast - 1),
        saturation=(1 + jitter * (2 * saturation - 1)) * (rank >= gray),
        hue=turn * (2 * hue - 1),
    )


def _blur(
    images: Tensor,
    strength: float,
    generator: torch.Generator,
    *,
    probability: float = 0.5,
    min_side: int = 48,
) -> Tensor:
    """Blur some images, if they are large, by up to a pixel for each `min_side`."""
    rank, width = _uniform(2, images, generator)
    side = min(images.shape[2:])
    if side < min_side:
        return images
    return gaussian_blur(
        images, strength * side / min_side * width * (rank < probability)
    )


def _uniform(n: int, images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw n numbers between 0 and 1 for each image, (n, batch)."""
    options = {"device": images.device, "dtype": images.dtype}
    return torch.rand(n, len(images), generator=generator, **options)


def warp(images: Tensor, theta: Tensor) -> Tensor:
    """Resample images at the positions to which theta, (batch, 2, 3), maps pixels."""
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def rotation_map(
    angle: Tensor,
    scale: Tensor,
    shift: tuple[Tensor, Tensor],
    size: tuple[int, int],
) -> Tensor:
    """Return the map from positions in the output to positions in the image.

    The image is rotated clockwise about its center, scaled, and moved by pixels, to the
    right and down. `size` is its height and width.
    """
    right, down = shift
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = (
        (cos, sin, -cos * right - sin * down),
        (-sin, cos, sin * right - cos * down),
    )
    theta = _stack_maps(rows)
    # `affine_grid` counts positions in halves of a side from the center.
    half = theta.new_tensor([size[1] / 2, size[0] / 2, 1])
    return theta * half / half[:2, None]


def crop_map(
    size: tuple[Tensor, Tensor], position: tuple[Tensor, Tensor], flip: Tensor
) -> Tensor:
    """Return the map from positions in the output to positions in a crop.

    Width and height are relative to the image. The position is 0 for a crop at the left
    or at the top, and 1 at the right or at the bottom.
    """
    (width, height), (right, down) = size, position
    zero = torch.zeros_like(width)
    across = torch.where(flip, -width, width), zero, (1 - width) * (2 * right - 1)
    along = zero, height, (1 - height) * (2 * down - 1)
    return _stack_maps([across, along])


def _stack_maps(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return one matrix of two rows, (batch, 2, 3), for each image."""
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def change_colors(
    images: Tensor,
    *,
    brightness: Tensor,
    contrast: Tensor,
    saturation: Tensor,
    hue: Tensor,
) -> Tensor:
    """Change the colors of images, (batch, 3, height, width), whose black is 0.

    All changes are linear, and their order doesn't matter. Brightness scales an image,
    contrast the difference to the mean luminance, and saturation the colors; hue
    rotates the colors in their plane. Saturation 0 gives a gray image.
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
    offset = luminance * brightness * (1 - contrast)
    pixels = torch.baddbmm(offset[:, None, None], change, images.flatten(2))
    return pixels.view_as(images)


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each image by a Gaussian of the given width in pixels; 0 has no effect."""
    # Two matrix products: a convolution has one kernel for all images.
    precision = 0.5 / sigma.clamp(min=0.1).square()[:, None, None]

    def kernel(n: int) -> Tensor:
        position = torch.arange(n, device=images.device, dtype=images.dtype)
        distance = position - position[:, None]
        return (-precision * distance.square()).softmax(2)[:, None]

    height, width = images.shape[2:]
    return kernel(height) @ images @ kernel(width).mT


def check_augmentation(augment: Augmentation, rows: Tensor) -> None:
    """Check the result of a user's augmentation on some rows.

    Parameters
    ----------
    augment : Augmentation
        Augments rows in the units of X.
    rows : Tensor of shape (batch, n_features)
        Rows in the units of X.

    Raises
    ------
    ValueError
        If the augmentations aren't finite rows of the same shape.
    """
    augmented = augment(rows, torch.Generator(rows.device))
    if not isinstance(augmented, Tensor) or augmented.shape != rows.shape:
        is_tensor = isinstance(augmented, Tensor)
        got = tuple(augmented.shape) if is_tensor else repr(augmented)
        raise ValueError(
            "views must return a tensor of the shape of its rows, "
            f"{tuple(rows.shape)}, got {got}."
        )
    if not augmented.isfinite().all():
        raise ValueError("views must return finite values, got some that are not.")
