"""What a drawn node contains: an image, its features, or its classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ._base import category_colors
from ._text import MIN_FONT_SIZE, plain

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.offsetbox import OffsetBox

__all__ = [
    "ClassMix",
    "Content",
    "FeatureNames",
    "Images",
    "Nothing",
    "signed_names",
    "stack",
]

SIDE = 48.0
"""Length of the longer side of an image, and width of a bar, in points."""

FONT_SIZE = 8.0

MINUS = "\N{MINUS SIGN}"

MAX_CLASSES = 20
"""Classes with a color of their own."""


class Content(Protocol):
    """Draws what the nodes contain."""

    def box(self, node: int, scale: float) -> OffsetBox | None:
        """Return the content of a node, at a scale up to 1, or None."""

    def legend_handles(self) -> list[Artist]:
        """Return the entries of the legend."""


class Nothing:
    """Nodes without content."""

    def box(self, node: int, scale: float) -> OffsetBox | None:
        """Return None."""
        return None

    def legend_handles(self) -> list[Artist]:
        """Return no entries."""
        return []


class Images(Nothing):
    """Images.

    Parameters
    ----------
    images : ndarray of shape (n_nodes, height, width[, channels])
        Images; nodes with nan have none. Colors in [0, 1] are drawn as they are, other
        values are scaled.
    cmap : str or matplotlib Colormap
        Colormap for images with one channel. All images have the same scale.
    """

    def __init__(self, images: NDArray[np.floating], cmap: Any) -> None:
        self._low, self._high = np.nanmin(images), np.nanmax(images)
        is_color = images.ndim == 4
        if is_color and (self._low < 0 or self._high > 1):
            images = (images - self._low) / max(self._high - self._low, 1e-9)
        self._images = images
        self._cmap = cmap

    def box(self, node: int, scale: float) -> OffsetBox | None:
        """Return the image of a node."""
        from matplotlib.colors import Normalize
        from matplotlib.offsetbox import OffsetImage

        image = self._images[node]
        if np.isnan(image).any():
            return None
        return OffsetImage(
            image,
            zoom=scale * SIDE / max(image.shape[:2]),
            cmap=self._cmap,
            norm=Normalize(self._low, self._high),
        )


class FeatureNames(Nothing):
    """Names of features, one a line.

    Parameters
    ----------
    features : sequence of sequences of str
        Names for each node.
    """

    def __init__(self, features: Sequence[Sequence[str]]) -> None:
        self._features = features

    def box(self, node: int, scale: float) -> OffsetBox | None:
        """Return the names at a node, or None if there are none."""
        names = self._features[node]
        return _text_box("\n".join(names), scale) if len(names) else None


class ClassMix:
    """Stacked bars with the shares of classes.

    Parameters
    ----------
    counts : ndarray of shape (n_nodes, n_classes)
        Numbers of samples.
    class_names : sequence of str of length n_classes
        Names for the legend. If there are more than 20 classes, the rarest ones are
        drawn as one.
    """

    def __init__(self, counts: NDArray[np.integer], class_names: Sequence[str]) -> None:
        names = list(class_names)
        if len(names) > MAX_CLASSES:
            by_size = np.argsort(-counts[0], kind="stable")
            kept = np.sort(by_size[: MAX_CLASSES - 1])
            others = counts.sum(axis=1) - counts[:, kept].sum(axis=1)
            counts = np.column_stack([counts[:, kept], others])
            names = [*(names[i] for i in kept), "other classes"]
        self._counts = counts
        self._names = names
        self._colors = category_colors(len(names))

    def box(self, node: int, scale: float) -> OffsetBox | None:
        """Return the bar of a node, or None if there are no samples."""
        from matplotlib.offsetbox import DrawingArea
        from matplotlib.patches import Rectangle

        counts = self._counts[node]
        if not counts.any():
            return None
        width, height = SIDE * scale, max(0.25 * SIDE * scale, MIN_FONT_SIZE)
        area = DrawingArea(width, height)
        ends = width * np.cumsum(counts) / counts.sum()
        starts = np.append(0.0, ends[:-1])
        for i in np.flatnonzero(counts):
            bar = Rectangle((starts[i], 0.0), ends[i] - starts[i], height)
            bar.set(facecolor=self._colors[i], linewidth=0)
            area.add_artist(bar)
        return area

    def legend_handles(self) -> list[Artist]:
        """Return one patch for each class."""
        from matplotlib.patches import Patch

        return [
            Patch(facecolor=color, label=plain(name))
            for color, name in zip(self._colors, self._names, strict=True)
        ]


def signed_names(names: Iterable[str], effect: Iterable[float]) -> list[str]:
    """Return names of features with the signs of their effects."""
    return [
        f"{name} {'+' if d > 0 else MINUS}"
        for name, d in zip(names, effect, strict=True)
    ]


def stack(above: str, content: OffsetBox | None, below: str, scale: float) -> OffsetBox:
    """Return a content with texts above and below."""
    from matplotlib.offsetbox import VPacker

    boxes = [
        _text_box(above, scale) if above else None,
        content,
        _text_box(below, scale, weight="bold") if below else None,
    ]
    boxes = [box for box in boxes if box is not None]
    return VPacker(children=boxes, align="center", pad=0, sep=1)


def _text_box(text: str, scale: float, **style: Any) -> OffsetBox:
    """Return a text, no smaller than `MIN_FONT_SIZE`."""
    from matplotlib.offsetbox import TextArea

    size = max(FONT_SIZE * scale, MIN_FONT_SIZE)
    return TextArea(plain(text), textprops={"fontsize": size, **style})
