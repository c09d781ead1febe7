"""Layout of an image in a row of X."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

MIN_SIDE = 8
"""Minimum height and width. A shorter first axis is read as the channel axis."""


@dataclass(frozen=True)
class ImageLayout:
    """Height, width, channels and axis order of the images in the rows of X.

    Parameters
    ----------
    height, width : int
        Size in pixels.
    channels : int, default=1
        Number of channels.
    channels_first : bool, default=False
        Whether the channel axis is the first one instead of the last one.

    Examples
    --------
    >>> layout = ImageLayout.from_shape((3, 32, 24))
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
    def from_shape(cls, image_shape: tuple[int, ...]) -> ImageLayout:
        """Parse an `image_shape`: height and width, with channels first or last."""
        sizes = tuple(map(int, image_shape))  # torch refuses numpy integers
        if len(sizes) == 3 and sizes[0] < MIN_SIDE:
            channels, height, width = sizes
            return cls(height, width, channels, channels_first=True)
        return cls(*sizes)

    @property
    def n_features(self) -> int:
        """Number of values in a row."""
        return self.height * self.width * self.channels

    def images(self, rows: Tensor) -> Tensor:
        """Reshape rows (batch, n_features) to (batch, channels, height, width)."""
        if self.channels_first:
            return rows.unflatten(1, (self.channels, self.height, self.width))
        return rows.unflatten(1, (self.height, self.width, self.channels)).permute(
            0, 3, 1, 2
        )

    def rows(self, images: Tensor) -> Tensor:
        """Reshape (batch, channels, height, width) to rows; inverse of `images`."""
        if not self.channels_first:
            images = images.permute(0, 2, 3, 1)
        return images.flatten(1)
