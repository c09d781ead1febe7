"""Nodes and edges of a tree in axes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ._base import Tree
from ._layout import needed_units, tidy_positions
from ._text import apply_layout, extents, select_disjoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection, PathCollection
    from matplotlib.offsetbox import AnnotationBbox, OffsetBox

__all__ = ["MIN_INCHES", "TreeDrawing"]

SCALES = (1.0, 0.85, 0.7, 0.6, 0.5, 0.42, 0.35)
"""Sizes of the contents that are tried, from large to small."""

FULL_SIZE_LEAVES = 12
"""Up to so many leaves, contents in a new figure have their full size."""

SPACE = (4.0, 14.0)
"""Space between nodes of the same depth, and between depths, in points."""

MIN_SPACE = (2.0, 5.0)
"""The same, at least, in axes that are given."""

MARGIN = 2.0
"""Space between nodes and the border of the axes, in points."""

MIN_INCHES = (4.0, 3.0)
MAX_INCHES = (300.0, 300.0)
"""Width and height of a new figure, at least and at most."""


class TreeDrawing:
    """Nodes and edges of a tree in axes.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes to draw on.
    tree : Dendrogram
        Tree to draw.
    colors : ndarray of shape (n_nodes, 4)
        Color of each node and of the edge to its parent.
    is_top : bool
        Whether the root is at the top, instead of the left.
    """

    def __init__(
        self, ax: Axes, tree: Tree, colors: NDArray[np.float64], is_top: bool
    ) -> None:
        self._ax = ax
        self._tree = tree
        self._colors = colors
        self._columns = [0, 1] if is_top else [1, 0]
        across = tidy_positions(tree.children_left, tree.children_right)
        # Across the tree, and along its depth.
        self._position = np.column_stack([across, tree.depth])
        self._point = self._position[:, self._columns]

    def draw_edges(self) -> LineCollection:
        """Draw edges with right angles, halfway between the depths."""
        from matplotlib.collections import LineCollection

        tree, position = self._tree, self._position
        child = np.arange(1, tree.n_nodes)
        parent = tree.parent[child]
        start, end = position[parent], position[child]
        halfway = (start[:, 1] + end[:, 1]) / 2
        corner = np.column_stack([end[:, 0], halfway])
        bend = np.column_stack([start[:, 0], halfway])
        lines = np.stack([bend, corner, end], axis=1)
        # Below each parent: one line for its two children.
        stems = np.stack([start, bend], axis=1)[::2]
        styles = np.where(tree.is_supported[parent], "solid", "dashed")
        edges = LineCollection(
            [*lines[..., self._columns], *stems[..., self._columns]],
            colors=[*self._colors[child], *self._colors[parent[::2]]],
            linestyles=[*styles, *styles[::2]],
            linewidths=1.0,
            zorder=1,
        )
        self._ax.add_collection(edges, autolim=False)
        return edges

    def draw_nodes(
        self,
        make_box: Callable[[int, float], OffsetBox],
        *,
        free: tuple[float, float],
        is_new: bool,
    ) -> list[AnnotationBbox | None]:
        """Draw the nodes as large as they fit, and leave out small ones at last.

        Parameters
        ----------
        make_box : callable
            Returns the box of a node at a scale up to 1.
        free : tuple of two floats
            Width at the right and height at the bottom to leave free, in pixels.
        is_new : bool
            Whether to set the size of the figure.

        Returns
        -------
        boxes : list of n_nodes AnnotationBbox or None
            Boxes; None for nodes that are left out.
        """
        scales = SCALES
        if is_new:
            ideal = np.sqrt(FULL_SIZE_LEAVES / self._tree.n_clusters)
            scales = [scale for scale in SCALES if scale <= ideal] or SCALES[-1:]
        apply_layout(self._ax)
        boxes, sizes = self._add_boxes(make_box, scales[0])
        if is_new:
            self._resize_figure(sizes, free)
            apply_layout(self._ax)
        fits = self._fit(sizes, free)
        for scale, smaller in pairwise(scales):
            if fits.all():
                break
            sizes = sizes * smaller / scale
            # Text shrinks less than the scale, so that the sizes are lower bounds.
            if not self._fit(sizes, free).all() and smaller != scales[-1]:
                continue
            for box in boxes:
                box.remove()
            boxes, sizes = self._add_boxes(make_box, smaller)
            fits = self._fit(sizes, free)
        for node in np.flatnonzero(~fits):
            boxes[node].remove()
            boxes[node] = None
        return boxes

    def draw_points(self, nodes: NDArray[np.integer]) -> PathCollection:
        """Draw nodes as points."""
        return self._ax.scatter(
            *self._point[nodes].T, s=8, color=self._colors[nodes], zorder=2
        )

    def _add_boxes(
        self, make_box: Callable[[int, float], OffsetBox], scale: float
    ) -> tuple[list[AnnotationBbox], NDArray[np.float64]]:
        """Draw all nodes at a scale, and return them and their sizes in pixels."""
        from matplotlib.offsetbox import AnnotationBbox

        background = self._ax.figure.canvas.figure.get_facecolor()
        boxes = []
        for node, point in enumerate(self._point):
            style = {"edgecolor": self._colors[node], "facecolor": background}
            box = AnnotationBbox(
                make_box(node, scale), tuple(point), pad=0.2, bboxprops=style
            )
            # Nodes lie inside of the axes, which need no room beside them.
            box.set_in_layout(False)
            boxes.append(self._ax.add_artist(box))
        corners = extents(boxes)
        return boxes, corners[:, 2:] - corners[:, :2]

    def _resize_figure(
        self, sizes: NDArray[np.float64], free: tuple[float, float]
    ) -> None:
        """Give a new figure the size at which all nodes fit."""
        figure = self._ax.figure
        units = needed_units(
            self._position[:, 0],
            self._tree.depth,
            sizes[:, self._columns],
            np.array(SPACE) * figure.dpi / 72,
        )[self._columns]
        pixels = units * self._point.max(axis=0) + self._margins(sizes, free).sum(0)
        pads = figure.get_layout_engine().get()
        pad = 2 * np.array([pads["w_pad"], pads["h_pad"]])
        inches = (pixels + 2) / figure.dpi + pad
        figure.set_size_inches(np.clip(inches, MIN_INCHES, MAX_INCHES))

    def _margins(
        self, sizes: NDArray[np.float64], free: tuple[float, float]
    ) -> NDArray[np.float64]:
        """Return the margins left, top and right, bottom in pixels, (2, 2)."""
        half = sizes.max(axis=0) / 2 + MARGIN * self._ax.figure.dpi / 72
        return np.array([half, half + free])

    def _set_limits(
        self, sizes: NDArray[np.float64], free: tuple[float, float]
    ) -> None:
        """Set limits such that the nodes at the border lie in the axes."""
        length = np.array(self._ax.get_window_extent().size)
        before, after = self._margins(sizes, free)
        span = self._point.max(axis=0)
        # In small axes, at least a tenth is left for the tree.
        inner = np.maximum(length - before - after, 0.1 * length)
        unit = np.where(span > 0, inner / np.maximum(span, 1e-9), 1.0)
        # A single row or column is centered.
        rest = np.where(span > 0, 0.0, inner / 2)
        low, high = -(before + rest) / unit, span + (after + rest) / unit
        self._ax.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]))

    def _fit(
        self, sizes: NDArray[np.float64], free: tuple[float, float]
    ) -> NDArray[np.bool_]:
        """Set limits for nodes of some sizes, and return which of the nodes fit.

        Nodes with many samples are considered first.
        """
        self._set_limits(sizes, free)
        center = self._ax.transData.transform(self._point)
        corners = np.hstack([center - sizes / 2, center + sizes / 2])
        space = np.array(MIN_SPACE)[self._columns] * self._ax.figure.dpi / 72 / 2
        padded = corners + [*-space, *space]
        outer = self._ax.get_window_extent().extents + [-1.0, -1.0, 1.0, 1.0]
        is_inside = (corners[:, :2] >= outer[:2]) & (corners[:, 2:] <= outer[2:])
        is_inside = is_inside.all(axis=1)
        fits = np.zeros(len(sizes), dtype=bool)
        fits[is_inside] = select_disjoint(
            padded[is_inside], self._tree.n_node_samples[is_inside]
        )
        return fits
