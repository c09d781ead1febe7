"""How an image lies in a row of numbers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["MIN_SIDE", "ImageLayout"]

MIN_SIDE = 8
"""Least height and width. A first axis shorter than this is that of the channels."""


@dataclass(frozen=True)
class ImageLayout:
    """Height, width and channels of images, and where in a row their pixels are.

    Examples
    --------
    >>> layout = ImageLayout.of((3, 32, 24))
    >>> layout == ImageLayout(32, 24, channels=3, channels_first=True)
    True
    >>> import torch
    >>> layout.images(torch.zeros(5, 3 * 32 * 24)).shape
    torch.Size([5, 3, 32, 24])
    """

    height: int
    width: int
    channels: int = 1
    channels_first: bool = False

    @classmethod
    def of(cls, image_shape: tuple[int, ...]) -> ImageLayout:
        """Read a user's shape: height and width, with channels first or last."""
        sizes = tuple(map(int, image_shape))  # torch takes none of numpy's
        if len(sizes) == 3 and sizes[0] < MIN_SIDE:
            channels, height, width = sizes
            return cls(height, width, channels, channels_first=True)
        return cls(*sizes)

    @property
    def n_features(self) -> int:
        """Numbers in a row."""
        return self.height * self.width * self.channels

    def images(self, rows: Tensor) -> Tensor:
        """Turn rows (batch, n_features) into (batch, channels, height, width)."""
        if self.channels_first:
            return rows.unflatten(1, (self.channels, self.height, self.width))
        return rows.unflatten(1, (self.height, self.width, self.channels)).permute(
            0, 3, 1, 2
        )

    def rows(self, images: Tensor) -> Tensor:
        """Turn (batch, channels, height, width) into rows; the inverse of `images`."""
        if not self.channels_first:
            images = images.permute(0, 2, 3, 1)
        return images.flatten(1)
