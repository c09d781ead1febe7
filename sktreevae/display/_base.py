"""Input, axes, colors and text that all displays share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..inspection.columns import last_step
from ..utils.extras import import_extra

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.collections import LineCollection
    from matplotlib.colorbar import Colorbar
    from matplotlib.image import AxesImage
    from matplotlib.legend import Legend

Floats = NDArray[np.float64]

Ints = NDArray[np.integer]

Tree = Any
"""A `sktreevae.Dendrogram`. Its module imports this package."""


FONT_SIZE = 8.0
"""Size of text inside of drawings, in points."""

MIN_FONT_SIZE = 6.0
"""Text is not drawn smaller than this, in points."""

UNSUPPORTED = "dashed: split not supported by held-out samples"
"""Explains the lines of splits that aren't supported."""

INCHES_PER_LABEL = 0.3
"""Length of an axis of a new figure for each of its labels."""

MAX_COLORS = 20
"""Number of categories with a color of their own, that of the colormap "tab20"."""


def check_tree(dendrogram: Tree) -> Tree:
    """Return a dendrogram.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not hasattr(dendrogram, "get_plot_data"):
        raise TypeError(
            f"dendrogram must be a Dendrogram, got {type(dendrogram).__name__}. For a "
            "fitted estimator use from_estimator."
        )
    return dendrogram


def check_fitted(estimator: Any, attribute: str) -> Any:
    """Return an attribute of a fitted estimator, the last step of a pipeline.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator has no such attribute.
    """
    estimator = last_step(estimator)
    if isinstance(estimator, BaseEstimator) and not hasattr(estimator, attribute):
        check_is_fitted(estimator)
    if not hasattr(estimator, attribute):
        raise TypeError(
            f"estimator must be a fitted estimator with the attribute {attribute}, "
            f"such as TreeVAEClustering, got {type(estimator).__name__}."
        )
    return getattr(estimator, attribute)


def get_tree(estimator: Any) -> Tree:
    """Return the dendrogram of a fitted estimator.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator has no dendrogram.
    """
    return check_tree(check_fitted(estimator, "dendrogram_"))


def check_orientation(orientation: str) -> str:
    """Return the orientation of a drawing.

    Raises
    ------
    ValueError
        If it is neither "top" nor "left".
    """
    if orientation not in ("top", "left"):
        raise ValueError(f"orientation must be 'top' or 'left', got {orientation!r}.")
    return orientation


def import_plotting(name: str) -> Any:
    """Import a module of a package that displays or pages need.

    Raises
    ------
    ImportError
        If the package is not installed.
    """
    package = name.split(".")[0].replace("PIL", "Pillow")
    return import_extra(name, f"Displays and pages need {package}", "'sktreevae[plot]'")


def make_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the given axes, or those of a new figure of a size in inches."""
    plt = import_plotting("matplotlib.pyplot")
    if ax is None:
        ax = plt.subplots(figsize=(width, height), layout="constrained")[1]
    return ax


def category_colors(n_categories: int) -> Floats:
    """Return one color for each category, (n_categories, 4).

    The colors are those of the property cycle if it has enough, those of the colormap
    "tab20" for up to 20 categories, and equidistant colors of "turbo" for more.
    """
    from matplotlib import colormaps, rcParams
    from matplotlib.colors import to_rgba_array

    cycle = rcParams["axes.prop_cycle"].by_key().get("color", [])
    if n_categories <= len(cycle):
        return to_rgba_array(cycle[:n_categories]).reshape(-1, 4)
    if n_categories <= MAX_COLORS:
        return to_rgba_array(colormaps["tab20"].colors[:n_categories])
    return colormaps["turbo"](np.linspace(0.05, 0.95, n_categories))


def node_clusters(tree: Tree, n_clusters: int) -> Ints:
    """Return the cluster of a cut that each node lies in, (n_nodes,).

    Nodes above the cut, which several clusters lie below, have cluster -1.

    Raises
    ------
    ValueError
        If the tree has no such cut.
    """
    cluster = np.full(tree.n_nodes, -1)
    cluster[tree.leaves] = tree.cut(n_clusters)
    for node in range(tree.n_nodes - 1, -1, -1):
        left, right = tree.children_left[node], tree.children_right[node]
        if left >= 0 and cluster[left] == cluster[right]:
            cluster[node] = cluster[left]
    return cluster


def node_colors(tree: Tree, n_clusters: int | None, default: Any) -> Floats:
    """Return one color for each node, (n_nodes, 4), by the clusters of a cut.

    Without a cut all nodes have the default color. Nodes above the cut have the color
    of the edges of axes.

    Raises
    ------
    ValueError
        If the tree has no such cut.
    """
    from matplotlib import rcParams
    from matplotlib.colors import to_rgba_array

    if n_clusters is None:
        return np.repeat(to_rgba_array(default), tree.n_nodes, axis=0)
    clusters = node_clusters(tree, n_clusters)
    above = to_rgba_array(rcParams["axes.edgecolor"])
    return np.vstack([category_colors(n_clusters), above])[clusters]


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


def short(names: Sequence[str], n_characters: int = 36) -> list[str]:
    """Return names to draw, long ones without the middle if it doesn't tell them apart.

    Dollars are no formulas; see `plain`.
    """
    half = n_characters // 2 - 1
    shortened = [
        f"{name[:half]} ... {name[-half:]}" if len(name) > n_characters else name
        for name in names
    ]
    is_clear = len(set(shortened)) == len(set(names))
    return list(map(plain, shortened if is_clear else names))


def plain(text: str) -> str:
    """Return a text that matplotlib draws as it is: its dollars are no formulas."""
    return text.replace("$", r"\$")


def apply_layout(ax: Axes) -> None:
    """Run the layout engine of the figure, so that extents are those of the drawing."""
    figure = ax.figure.canvas.figure  # of a subfigure, the figure that it is in
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def keep_inside(ax: Axes, pad: float = 3.0) -> None:
    """Shrink axes whose labels are cut by the figure, if it has no layout engine.

    `pad` is the space between labels and the border in pixels.
    """
    from matplotlib.transforms import Bbox

    figure = ax.figure.canvas.figure
    if figure.get_layout_engine() is not None:
        return
    inner, outer = ax.get_tightbbox().extents, ax.figure.bbox.extents
    cut = np.maximum((outer - inner) * [1, 1, -1, -1], 0.0)
    if not cut.any():
        return
    corners = ax.get_window_extent().extents + (cut + pad) * (cut > 0) * [1, 1, -1, -1]
    corners[2:] = np.maximum(corners[2:], corners[:2] + 0.1 * ax.figure.bbox.size)
    box = Bbox(corners.reshape(2, 2))
    ax.set_position(box.transformed(ax.figure.transSubfigure.inverted()))


def extents(artists: Iterable[Artist]) -> NDArray[np.float64]:
    """Return left, bottom, right and top of each artist in pixels, (n_artists, 4)."""
    boxes = [artist.get_window_extent().extents for artist in artists]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def artist_sizes(artists: Iterable[Artist]) -> NDArray[np.float64]:
    """Return width and height of each artist in pixels, (n_artists, 2)."""
    boxes = extents(artists)
    return boxes[:, 2:] - boxes[:, :2]


def select_disjoint(
    boxes: NDArray[np.float64],
    priority: NDArray[np.integer],
    outer: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Select boxes inside of another one that don't overlap.

    Parameters
    ----------
    boxes : ndarray of shape (n_boxes, 4)
        Left, bottom, right and top of each box.
    priority : ndarray of int of shape (n_boxes,)
        Boxes of higher priority are considered first.
    outer : ndarray of shape (4,)
        The outer box.

    Returns
    -------
    is_selected : ndarray of bool of shape (n_boxes,)
        Whether each box is selected.
    """
    is_inside = (boxes[:, :2] >= outer[:2]) & (boxes[:, 2:] <= outer[2:])
    is_selected = np.zeros(len(boxes), dtype=bool)
    for i in np.argsort(-priority, kind="stable"):
        others = boxes[is_selected]
        is_apart = (boxes[i, :2] >= others[:, 2:]) | (boxes[i, 2:] <= others[:, :2])
        is_selected[i] = is_inside[i].all() and is_apart.any(axis=1).all()
    return is_selected


def draw_legend(
    ax: Axes, colors: Floats, names: Sequence[str], n_columns: int = 1
) -> Legend:
    """Draw a legend of colors at the right of axes."""
    from matplotlib.patches import Patch

    entries = zip(colors, short(names), strict=True)
    return ax.legend(
        handles=[Patch(facecolor=color, label=name) for color, name in entries],
        ncols=n_columns,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        columnspacing=1.0,
        fontsize=FONT_SIZE,
        frameon=False,
    )


def fit_tick_labels(axis: Axis, names: Sequence[str]) -> None:
    """Label the ticks 0, 1, ... of an axis without overlap.

    Labels of a horizontal axis that are too long are rotated. Labels that still don't
    fit are shrunk to `MIN_FONT_SIZE`. If this isn't enough, only every second, third,
    ... one is kept.

    Parameters
    ----------
    axis : matplotlib Axis
        Horizontal or vertical axis, with its final limits.
    names : sequence of str
        One label for each tick. Rotated labels are written on one line.
    """
    names = short(names)
    axis.set_ticks(range(len(names)), names)
    apply_layout(axis.axes)
    is_horizontal = axis.axis_name == "x"
    length = axis.axes.get_window_extent().size[0 if is_horizontal else 1]
    spacing = length / abs(np.diff(axis.get_view_interval())[0])
    if is_horizontal and _needed_spacing(axis) > spacing:
        names = [" ".join(name.split()) for name in names]
        axis.set_ticks(range(len(names)), names)
        axis.set_tick_params(labelrotation=90)
    needed = _needed_spacing(axis)
    size = axis.get_ticklabels()[0].get_fontsize()
    while needed > spacing and size > MIN_FONT_SIZE:
        # Sizes of glyphs are rounded, so that labels shrink by a little less.
        size = max(min(size * spacing / needed, size - 0.2), MIN_FONT_SIZE)
        axis.set_tick_params(labelsize=size)
        needed = _needed_spacing(axis)
    if needed > spacing:
        step = int(np.ceil(needed / spacing))
        axis.set_ticks(range(0, len(names), step), names[::step])


def _needed_spacing(axis: Axis, gap: float = 0.3) -> float:
    """Return the least distance of ticks, in pixels, at which labels don't overlap.

    `gap` is the space between two labels, relative to the font size.
    """
    labels = axis.get_ticklabels()
    length = artist_sizes(labels)[:, 0 if axis.axis_name == "x" else 1]
    longest = (length[1:] + length[:-1]).max(initial=0.0) / 2
    return longest + gap * labels[0].get_fontsize() * axis.axes.figure.dpi / 72


def draw_heat_map(
    ax: Axes,
    values: Floats,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    label: str,
    extend: str = "neither",
    **style: Any,
) -> tuple[AxesImage, Colorbar]:
    """Draw values with names of rows and columns, and a colorbar beside them."""
    image = ax.imshow(values, aspect="auto", **style)
    # In an inset, the colorbar takes no space from other axes.
    place = ax.inset_axes([1.02, 0.0, 0.02, 1.0])
    colorbar = ax.figure.colorbar(image, cax=place, label=label, extend=extend)
    for axis, names in ((ax.yaxis, rows), (ax.xaxis, columns)):
        fit_tick_labels(axis, names)
        keep_inside(ax)
    return image, colorbar
