"""Positions of the nodes of a drawn tree, and its nodes and edges in axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._base import Floats, Ints, Tree
from ._text import apply_layout, artist_sizes, select_disjoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection, PathCollection
    from matplotlib.offsetbox import AnnotationBbox, OffsetBox

SCALES = (1.0, 0.85, 0.7, 0.6, 0.5, 0.42, 0.35)
"""Sizes of the contents that are tried, from large to small."""

FULL_SIZE_LEAVES = 12
"""Up to so many leaves, contents in a new figure have their full size."""

SPACE = (4.0, 14.0)
"""Space between nodes of the same depth, and between depths, in points. It may be half
as large in axes that are given."""

MIN_INCHES = (4.0, 3.0)
MAX_INCHES = (300.0, 300.0)
"""Width and height of a new figure, at least and at most."""


def tidy_positions(children_left: Ints, children_right: Ints) -> Floats:
    """Return the horizontal positions of the nodes of a compact binary tree.

    Nodes of the same depth are at least one unit apart, and a parent is above the
    middle of its children. Subtrees are as close to each other as this allows (Reingold
    and Tilford, 1981).

    Parameters
    ----------
    children_left, children_right : ndarray of int of shape (n_nodes,)
        Children of each node, which have larger numbers; -1 for leaves.

    Returns
    -------
    x : ndarray of shape (n_nodes,)
        Positions; the smallest one is 0.

    Examples
    --------
    >>> import numpy as np
    >>> tidy_positions(np.array([1, -1, 3, -1, -1]), np.array([2, -1, 4, -1, -1]))
    array([0.5, 0. , 1. , 0.5, 1.5])
    """
    n_nodes = len(children_left)
    # Distance of each node to the right of its parent.
    offset = np.zeros(n_nodes)
    # Leftmost and rightmost position at each depth below a node, relative to it.
    outlines: dict[int, tuple[Floats, Floats]] = {}
    for node in range(n_nodes - 1, -1, -1):
        left, right = children_left[node], children_right[node]
        if left < 0:
            outlines[node] = (np.zeros(1), np.zeros(1))
            continue
        left_start, left_end = outlines.pop(left)
        right_start, right_end = outlines.pop(right)
        n = min(len(left_start), len(right_start))
        half = (left_end[:n] - right_start[:n]).max() / 2 + 0.5
        offset[left], offset[right] = -half, half
        start = [[0.0], left_start - half, right_start[n:] + half]
        end = [[0.0], right_end + half, left_end[n:] - half]
        outlines[node] = (np.concatenate(start), np.concatenate(end))
    x = np.zeros(n_nodes)
    for node in range(n_nodes):
        for child in (children_left[node], children_right[node]):
            if child >= 0:
                x[child] = x[node] + offset[child]
    return x - x.min()


def draw_branches(
    ax: Axes, lines: Any, colors: Any, is_supported: Any, **style: Any
) -> LineCollection:
    """Draw lines below the nodes, dashed where the split isn't supported."""
    from matplotlib.collections import LineCollection

    styles = np.where(is_supported, "solid", "dashed").tolist()
    branches = LineCollection(
        lines, colors=colors, linestyles=styles, zorder=1, **style
    )
    ax.add_collection(branches, autolim=False)
    return branches


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
    free : tuple of two floats
        Width at the right and height at the bottom to leave free, in pixels.
    """

    def __init__(
        self,
        ax: Axes,
        tree: Tree,
        colors: Floats,
        *,
        is_top: bool,
        free: tuple[float, float],
    ) -> None:
        self._ax = ax
        self._tree = tree
        self._colors = colors
        self._free = free
        self._columns = [0, 1] if is_top else [1, 0]
        across = tidy_positions(tree.children_left, tree.children_right)
        # Across the tree, and along its depth.
        self._position = np.column_stack([across, tree.depth])
        self._point = self._position[:, self._columns]

    def draw_edges(self) -> LineCollection:
        """Draw edges with right angles, halfway between the depths."""
        tree = self._tree
        child = np.arange(1, tree.n_nodes)
        parent = tree.parent[child]
        start, end = self._position[parent], self._position[child]
        halfway = (start[:, 1] + end[:, 1]) / 2
        corner = np.column_stack([end[:, 0], halfway])
        bend = np.column_stack([start[:, 0], halfway])
        lines = np.stack([bend, corner, end], axis=1)
        # Below each parent: one line for its two children.
        stems = np.stack([start, bend], axis=1)[::2]
        is_supported = tree.is_supported[parent]
        return draw_branches(
            self._ax,
            [*lines[..., self._columns], *stems[..., self._columns]],
            [*self._colors[child], *self._colors[parent[::2]]],
            [*is_supported, *is_supported[::2]],
            linewidths=1.0,
        )

    def draw_nodes(
        self, make_box: Callable[[int, float], OffsetBox], *, is_new: bool
    ) -> list[AnnotationBbox | None]:
        """Draw the nodes as large as they fit, and leave out small ones at last.

        Parameters
        ----------
        make_box : callable
            Returns the box of a node at a scale up to 1.
        is_new : bool
            Whether to set the size of the figure.

        Returns
        -------
        boxes : list of n_nodes AnnotationBbox or None
            Boxes; None for nodes that are left out.
        """
        scales = list(SCALES)
        if is_new:
            ideal = np.sqrt(FULL_SIZE_LEAVES / self._tree.n_clusters)
            scales = [scale for scale in SCALES if scale <= ideal] or [SCALES[-1]]
        apply_layout(self._ax)
        scale = scales[0]
        boxes, sizes = self._add_boxes(make_box, scale)
        if is_new:
            self._resize_figure(sizes)
        fits = self._fit(sizes)
        while not fits.all() and scale > scales[-1]:
            smaller = [s for s in scales if s < scale]
            # Text shrinks less than the scale, so that these sizes are lower bounds.
            may_fit = [self._fit(sizes * s / scale).all() for s in smaller]
            scale = smaller[np.argmax([*may_fit[:-1], True])]
            for box in boxes:
                box.remove()
            boxes, sizes = self._add_boxes(make_box, scale)
            fits = self._fit(sizes)
        for node in np.flatnonzero(~fits):
            boxes[node].remove()
            boxes[node] = None
        return boxes

    def draw_points(self, nodes: Ints) -> PathCollection:
        """Draw nodes as points."""
        return self._ax.scatter(
            *self._point[nodes].T, s=8, color=self._colors[nodes], zorder=2
        )

    def _add_boxes(
        self, make_box: Callable[[int, float], OffsetBox], scale: float
    ) -> tuple[list[AnnotationBbox], Floats]:
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
        return boxes, artist_sizes(boxes)

    def _resize_figure(self, sizes: Floats) -> None:
        """Give a new figure the size at which all nodes fit."""
        figure = self._ax.figure
        units = self._needed_units(sizes[:, self._columns])[self._columns]
        pixels = units * self._point.max(axis=0) + self._margins(sizes).sum(0)
        pads = figure.get_layout_engine().get()
        pad = 2 * np.array([pads["w_pad"], pads["h_pad"]])
        inches = (pixels + 2) / figure.dpi + pad
        figure.set_size_inches(np.clip(inches, MIN_INCHES, MAX_INCHES))
        apply_layout(self._ax)

    def _needed_units(self, sizes: Floats) -> Floats:
        """Return the pixels of a unit across, and of a depth, so that no nodes overlap.

        `sizes` are those of the nodes across the tree and along its depth.
        """
        across, depth = self._position.T
        space = np.array(SPACE) * self._ax.figure.dpi / 72
        order = np.lexsort((across, depth))
        is_neighbor = np.diff(depth[order]) == 0
        distance = np.diff(across[order])[is_neighbor]
        width = sizes[order, 0]
        between = ((width[1:] + width[:-1]) / 2 + space[0])[is_neighbor]
        height = np.zeros(self._tree.depth.max() + 1)
        np.maximum.at(height, self._tree.depth, sizes[:, 1])
        along = (height[1:] + height[:-1]) / 2 + space[1]
        return np.array([(between / distance).max(initial=0.0), along.max(initial=0.0)])

    def _margins(self, sizes: Floats) -> Floats:
        """Return the margins left, top and right, bottom in pixels, (2, 2)."""
        half = sizes.max(axis=0) / 2 + SPACE[0] / 2 * self._ax.figure.dpi / 72
        return np.array([half, half + self._free])

    def _set_limits(self, sizes: Floats) -> None:
        """Set limits such that the nodes at the border lie in the axes."""
        length = np.array(self._ax.get_window_extent().size)
        before, after = self._margins(sizes)
        span = self._point.max(axis=0)
        # In small axes, at least a tenth is left for the tree.
        inner = np.maximum(length - before - after, 0.1 * length)
        unit = np.where(span > 0, inner / np.maximum(span, 1e-9), 1.0)
        # A single row or column is centered.
        rest = np.where(span > 0, 0.0, inner / 2)
        low, high = -(before + rest) / unit, span + (after + rest) / unit
        self._ax.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]))

    def _fit(self, sizes: Floats) -> NDArray[np.bool_]:
        """Set the limits for nodes of some sizes, and return which of the nodes fit.

        Nodes with many samples are considered first.
        """
        self._set_limits(sizes)
        center = self._ax.transData.transform(self._point)
        corners = np.hstack([center - sizes / 2, center + sizes / 2])
        space = np.array(SPACE)[self._columns] * self._ax.figure.dpi / 72 / 4
        outer = self._ax.get_window_extent().extents + [-1.0, -1.0, 1.0, 1.0]
        fits = (corners[:, :2] >= outer[:2]) & (corners[:, 2:] <= outer[2:])
        fits = fits.all(axis=1)
        padded = corners[fits] + [*-space, *space]
        fits[fits] = select_disjoint(padded, self._tree.n_node_samples[fits])
        return fits
