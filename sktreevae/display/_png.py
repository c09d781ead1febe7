"""Images as PNG data, by the standard library."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["encode_png", "image_uris"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"

COLOR_TYPES = {1: 0, 3: 2, 4: 6}
"""PNG's codes of gray, RGB and RGBA, by the number of channels."""

MAX_SIDES = (64, 48, 32, 24, 16)
"""Maximum numbers of pixels of the longer side; the first that fits is used."""

MAX_BYTES = 1_500_000
"""Maximum size of all images of a page as text."""

SUB_FILTER = 1
"""PNG's code of a row that is stored as differences of neighboring pixels."""


def image_uris(
    images: NDArray[np.floating], value_range: tuple[float, float]
) -> list[str]:
    """Return images as data URIs that a page can hold.

    Large images are reduced until all of them together have `MAX_BYTES` at most, if 16
    pixels a side are enough for that.

    Parameters
    ----------
    images : ndarray of shape (n, height, width, channels)
        One, three or four channels. Images with NaN have empty URIs.
    value_range : tuple of two floats
        Values of black and white.
    """
    low, high = value_range
    levels = (images - low) * (255.0 / (high - low) if high > low else 0.0)
    is_known = ~np.isnan(levels).any(axis=(1, 2, 3))
    for max_side in MAX_SIDES:
        uris = [
            _data_uri(_reduce(image, max_side)) if known else ""
            for image, known in zip(levels, is_known, strict=True)
        ]
        if sum(map(len, uris)) <= MAX_BYTES:
            break
    return uris


def _reduce(image: NDArray[np.floating], max_side: int) -> NDArray[np.floating]:
    """Average blocks of pixels so that no side is longer than `max_side`."""
    factor = -(-max(image.shape[:2]) // max_side)
    if factor == 1:
        return image
    # Edges are repeated so that both sides are multiples of the block.
    padding = [(0, -image.shape[axis] % factor) for axis in (0, 1)]
    image = np.pad(image, [*padding, (0, 0)], mode="edge")
    height, width, n_channels = image.shape
    blocks = (height // factor, factor, width // factor, factor, n_channels)
    return image.reshape(blocks).mean(axis=(1, 3))


def _data_uri(levels: NDArray[np.floating]) -> str:
    pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return "data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode()


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image as a PNG file.

    Parameters
    ----------
    pixels : ndarray of uint8 of shape (height, width, channels)
        Gray (1 channel), RGB (3) or RGBA (4).
    """
    height, width, n_channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, COLOR_TYPES[n_channels], 0, 0, 0)
    # Differences of neighbors, modulo 256, compress better than the pixels.
    differences = np.diff(pixels, axis=1, prepend=np.uint8(0))
    rows = differences.reshape(height, -1)
    filters = np.full((height, 1), SUB_FILTER, dtype=np.uint8)
    data = zlib.compress(np.hstack([filters, rows]).tobytes(), level=9)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    )
