"""Display of a tree with contents at its nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..tree.names import check_class_names, check_cluster_names
from . import _base, _node_values
from ._base import Floats, Ints, Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.legend import Legend
    from matplotlib.offsetbox import AnnotationBbox, OffsetBox

SIDE = 48.0
"""Length of the longer side of an image, and width of a bar, in points."""

UP, DOWN = "\N{BLACK UP-POINTING TRIANGLE}", "\N{BLACK DOWN-POINTING TRIANGLE}"

ARROWS = f"{UP} {DOWN}: the mean is higher or lower than in the other branch"
"""Explains the features of nodes."""


SCALES = (1.0, 0.75, 0.5, 0.35)
"""Sizes of the contents that are tried, from large to small."""

FULL_SIZE_LEAVES = 12
"""Up to so many leaves, contents in a new figure have their full size."""

SPACE = (4.0, 14.0)
"""Space between nodes of the same depth, and between depths, in points. It may be half
as large in axes that are given."""

MIN_INCHES = (4.0, 3.0)
MAX_INCHES = (300.0, 300.0)
"""Width and height of a new figure, at least and at most."""


@dataclass(eq=False, repr=False)
class TreeDisplay:
    """Tree with an image, features or the mix of classes at every node.

    The vertical position of a node is its depth; `DendrogramDisplay` draws heights.
    Above each node stands its number of samples, below it its number, and below each
    leaf its cluster. Edges of splits that held-out samples don't support are dashed.

    Create it with `from_estimator` or `from_dendrogram`. All parameters are stored as
    attributes. Read more in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    dendrogram : Dendrogram
        Tree to draw.
    images : ndarray of shape (n_nodes, height, width[, channels]), default=None
        Images, with 1, 3 or 4 channels. Nodes with nan have no image.
    features : sequence of n_nodes sequences of str, default=None
        Texts about each node, each of which is a line.
    class_counts : ndarray of int of shape (n_nodes, n_classes), default=None
        Number of samples of each class at each node.
    class_names : sequence of str of length n_classes, default=None
        Names of the classes, by default 0, 1, ...
    n_node_samples : ndarray of int of shape (n_nodes,), default=None
        Number of samples of each node, by default those of the dendrogram.
    note : str, default=None
        Explanation of what the nodes show, below the tree.

    Attributes
    ----------
    boxes_ : list of n_nodes matplotlib AnnotationBbox or None
        Drawn nodes. None for small nodes for which there is no space: they are drawn as
        points.
    edges_ : matplotlib LineCollection
        Lines from parents to children.
    points_ : matplotlib PathCollection
        Nodes that are drawn as points.
    legend_ : matplotlib Legend or None
        Legend of the classes.
    note_ : matplotlib Text or None
        The note, with an explanation of dashed edges if there are any.
    ax_ : matplotlib Axes
        Axes with the drawing.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    DendrogramDisplay : Heights of the splits.

    Examples
    --------
    >>> from sktreevae import Dendrogram
    >>> from sktreevae.display import TreeDisplay
    >>> tree = Dendrogram([-1, 0, 0, 1, 1], [9, 4, 0, 0, 0], labels=[0, 0, 1, 2])
    >>> y = ["cat", "dog", "dog", "fish"]
    >>> display = TreeDisplay.from_dendrogram(tree, y=y)
    >>> display.class_counts[0]
    array([1, 2, 1])
    """

    dendrogram: Tree
    _: KW_ONLY
    images: Floats | None = None
    features: Sequence[Sequence[str]] | None = None
    class_counts: Ints | None = None
    class_names: Sequence[str] | None = None
    n_node_samples: Ints | None = None
    note: str | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike | None = None,
        *,
        y: ArrayLike | None = None,
        image_shape: tuple[int, ...] | None = None,
        n_features: int = 3,
        feature_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the tree of a fitted estimator.

        Nodes show the mix of the classes `y`, if given. Otherwise, if there is a shape
        of images, they show images: the mean of the rows of X, or what the model
        generates if there is no X. Otherwise they show the features that tell a node
        from its sibling, with an arrow up or down where its mean is higher or lower,
        and the mean: that of X, or of the generative model. The largest effects
        come first; those below 0.3 standard deviations are not shown. Of amounts that
        are mostly small, such as weights of words, those that a node has more of come
        before all that it has less of.

        Parameters
        ----------
        estimator : TreeVAEClustering or Pipeline
            Fitted estimator, or a pipeline whose last step it is.
        X : array-like or Dataset of shape (n_samples, n_features), default=None
            Data, as for `predict`, or images (n_samples, height, width[, channels]).
            They go to the nodes that ``estimator.predict`` tells. A data frame that
            enters a pipeline is described by its own columns. By default the nodes
            have the training samples.
        y : array-like of shape (n_samples,), default=None
            Class of each sample, an int or a name.
        image_shape : tuple of int, default=None
            Height and width, with 1, 3 or 4 channels first or last, by default those of
            X or ``estimator.image_shape``. Images with another number of channels
            aren't drawn by default: nodes show features.
        n_features : int, default=3
            Maximum number of features of each node.
        feature_names : sequence of str of length `n_features_in_`, default=None
            Names of the features, by default those of ``feature_names_in_`` or "x0",
            "x1", ...
        **kwargs : dict
            Further arguments of `plot`, such as `ax`.

        Returns
        -------
        display : TreeDisplay
            The display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has no dendrogram.
        ValueError
            If X isn't valid, `y` doesn't have one int or name for each sample,
            `image_shape` doesn't have 1, 3 or 4 channels or one pixel for each feature,
            or an argument of `plot` isn't valid.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sktreevae import TreeVAEClustering
        >>> from sktreevae.display import TreeDisplay
        >>> X, y = load_digits(return_X_y=True)
        >>> X, y = X[:200], y[:200]
        >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
        >>> display = TreeDisplay.from_estimator(model, X, image_shape=(8, 8))
        >>> display.images.shape
        (5, 8, 8)
        """
        data = _node_values.NodeData.from_estimator(
            estimator, X, feature_names, image_shape
        )
        contents = _contents(data, y, n_features)
        return cls(data.tree, n_node_samples=data.n_samples, **contents).plot(**kwargs)

    @classmethod
    def from_dendrogram(
        cls,
        dendrogram: Tree,
        X: ArrayLike | None = None,
        *,
        y: ArrayLike | None = None,
        image_shape: tuple[int, ...] | None = None,
        n_features: int = 3,
        feature_names: Sequence[str] | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw a dendrogram, with contents from the samples whose labels it holds.

        Nodes show the mix of the classes `y`, if given, or else the mean images of X if
        it has images, or else what tells a node from its sibling. Without both, they
        show their numbers of samples only.

        Parameters
        ----------
        dendrogram : Dendrogram
            Tree to draw.
        X : array-like of shape (n_samples, n_features), default=None
            Rows, or images of shape (n_samples, height, width[, channels]), in the
            order of ``dendrogram.labels``.
        y : array-like of shape (n_samples,), default=None
            Class of each sample, an int or a name.
        image_shape : tuple of int, default=None
            Height and width of images in rows, with channels first or last.
        n_features : int, default=3
            Maximum number of features at a node.
        feature_names : sequence of str of length n_features, default=None
            Names of all columns, by default those of X, or x0, x1, ...
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created.
        **kwargs : dict
            Further arguments of `plot`.

        Returns
        -------
        display : TreeDisplay
            The display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `dendrogram` is no dendrogram.
        ValueError
            If X or `y` doesn't have one entry for each sample, an entry of `y` is no
            int or name, `image_shape` or `feature_names` doesn't fit X, or an argument
            of `plot` isn't valid.
        """
        tree = _base.check_tree(dendrogram)
        data = _node_values.NodeData.from_dendrogram(
            tree, X, feature_names, image_shape
        )
        return cls(tree, **_contents(data, y, n_features)).plot(ax, **kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        n_clusters: int | None = None,
        cluster_names: Sequence[str] | None = None,
        titles: Sequence[str] | None = None,
        orientation: str = "top",
        cmap: Any = "gray",
    ) -> Self:
        """Draw the tree.

        Contents are shrunk until they don't overlap in axes of the current size, and
        text has at least six points. Small nodes for which this isn't enough are drawn
        as points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created, whose size grows with
            the tree.
        n_clusters : int, default=None
            Cut the tree into this many clusters, and draw edges and frames of each in a
            color of its own.
        cluster_names : sequence of str of length n_clusters, default=None
            Text below each leaf, by default "#" and the cluster.
        titles : sequence of str of length n_nodes, default=None
            Text above each node, by default the number of samples.
        orientation : {"top", "left"}, default="top"
            Position of the root. "left" suits many leaves and long names of features.
        cmap : str or matplotlib Colormap, default="gray"
            Colormap for images with one channel.

        Returns
        -------
        display : TreeDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `orientation` or `n_clusters` isn't valid, there is not exactly one name
            for each leaf and one title for each node, or more than one kind of content.
        """
        _base.import_plotting("matplotlib.pyplot")  # raises if it is not installed
        tree = self.dendrogram
        is_new = ax is None
        is_top = _base.check_orientation(orientation) == "top"
        above, below = self._check_texts(titles, cluster_names)
        colors = _base.node_colors(tree, n_clusters, "0.6")
        content = self._content(cmap)
        self.ax_ = ax = _base.make_axes(ax, 6.4, 4.8)
        self.figure_ = ax.figure
        ax.set_axis_off()
        is_mix = self.class_counts is not None
        self.legend_ = content.draw_legend(ax) if is_mix else None
        self._draw_note()
        drawing = _Drawing(ax, tree, colors, is_top=is_top)
        self.edges_ = drawing.draw_edges()

        def make_box(node: int, scale: float) -> OffsetBox:
            return _stack(above[node], content.box(node, scale), below[node], scale)

        self.boxes_ = drawing.draw_nodes(make_box, is_new=is_new)
        is_point = np.array([box is None for box in self.boxes_])
        points = drawing.point[is_point].T
        self.points_ = ax.scatter(*points, s=8, color=colors[is_point], zorder=2)
        return self

    def _content(self, cmap: Any) -> _Images | _Lines | _ClassMix:
        """Return the content of the nodes."""
        names = ("images", "features", "class_counts")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"Give only one of {', '.join(names)}, got {given}.")
        n_nodes = self.dendrogram.n_nodes
        for name in given:
            n_given = len(getattr(self, name))
            if n_given != n_nodes:
                raise ValueError(
                    f"{name} must have one entry for each of the {n_nodes} nodes, got "
                    f"{n_given}."
                )
        if self.images is not None:
            return _Images(self.images, cmap)
        if self.class_counts is not None:
            n_classes = np.shape(self.class_counts)[1]
            names = check_class_names(self.class_names, n_classes)
            return _ClassMix(self.class_counts, names)
        return _Lines([()] * n_nodes if self.features is None else self.features)

    def _check_texts(
        self, titles: Sequence[str] | None, cluster_names: Sequence[str] | None
    ) -> tuple[list[str], list[str]]:
        """Return the texts above and below each node."""
        tree = self.dendrogram
        options = titles, self.n_node_samples, tree.n_node_samples
        titles = next(texts for texts in options if texts is not None)
        if len(titles) != tree.n_nodes:
            raise ValueError(
                f"titles must have one text for each of the {tree.n_nodes} nodes, "
                f"got {len(titles)}."
            )
        names = check_cluster_names(cluster_names, tree.n_clusters, "#{}")
        below = [
            names[label] if label >= 0 else f"node {node}"
            for node, label in enumerate(tree.leaf_label)
        ]
        return [str(title) for title in titles], below

    def _draw_note(self) -> None:
        """Write the note below the axes."""
        lines = [] if self.note is None else [self.note]
        if not self.dendrogram.is_supported.all():
            lines.append(_base.UNSUPPORTED)
        self.note_ = None
        if lines:
            text = _base.plain("\n".join(lines))
            style = {"va": "top", "color": "0.4", "fontsize": _base.FONT_SIZE}
            place = self.ax_.transAxes
            self.note_ = self.ax_.text(0, 0, text, transform=place, wrap=True, **style)
            _base.keep_inside(self.ax_)


def _contents(
    data: _node_values.NodeData, y: ArrayLike | None, n_features: int
) -> dict[str, Any]:
    """Return classes, or images, or features, as arguments of `TreeDisplay`."""
    if y is not None:
        counts, names = data.count_classes(y)
        return {"class_counts": counts, "class_names": names}
    if data.describe is None:
        return {}
    features, moments = data.describe()
    if data.image_shape is not None:
        return {"images": _node_values.as_images(moments.mean, data.image_shape)}
    found = _node_values.sibling_differences(
        features, moments, n_features, _node_values.are_amounts(moments)
    )
    return {"features": [list(map(_line, node)) for node in found], "note": ARROWS}


def _line(found: _node_values.Difference) -> str:
    """Return a line about a feature of a node."""
    arrow = UP if found.effect > 0 else DOWN
    return f"{arrow} {found.feature} {found.mean}"


class _Images:
    """Images.

    Parameters
    ----------
    images : ndarray of shape (n_nodes, height, width[, channels])
        Images; nodes with nan have none. Colors in [0, 1] are drawn as they are, other
        values are scaled.
    cmap : str or matplotlib Colormap
        Colormap for images with one channel. All images have the same scale.
    """

    def __init__(self, images: Floats, cmap: Any) -> None:
        from matplotlib.colors import Normalize

        low, high = np.nanmin(images), np.nanmax(images)
        if images.ndim == 4 and (low < 0 or high > 1):
            images = (images - low) / max(high - low, 1e-9)
        self._images = images
        self._style = {"cmap": cmap, "norm": Normalize(low, high)}

    def box(self, node: int, scale: float) -> OffsetBox | None:
        """Return the image of a node."""
        from matplotlib.offsetbox import OffsetImage

        image = self._images[node]
        if np.isnan(image).any():
            return None
        zoom = scale * SIDE / max(image.shape[:2])
        return OffsetImage(image, zoom=zoom, **self._style)


class _Lines:
    """Lines of text.

    Parameters
    ----------
    lines : sequence of sequences of str
        Lines of each node.
    """

    def __init__(self, lines: Sequence[Sequence[str]]) -> None:
        self._lines = lines

    def box(self, node: int, scale: float) -> OffsetBox | None:
        """Return the lines of a node, or None if there are none."""
        lines = self._lines[node]
        return _text_box("\n".join(lines), scale) if len(lines) else None


class _ClassMix:
    """Stacked bars with the shares of classes.

    Parameters
    ----------
    counts : ndarray of shape (n_nodes, n_classes)
        Numbers of samples.
    class_names : sequence of str of length n_classes
        Names for the legend. If there are more than 20 classes, the rarest ones are
        drawn as one.
    """

    def __init__(self, counts: Ints, class_names: Sequence[str]) -> None:
        names = list(class_names)
        if len(names) > _base.MAX_COLORS:
            by_size = np.argsort(-counts[0], kind="stable")
            kept = np.sort(by_size[: _base.MAX_COLORS - 1])
            others = counts.sum(axis=1) - counts[:, kept].sum(axis=1)
            counts = np.column_stack([counts[:, kept], others])
            names = [*(names[i] for i in kept), "other classes"]
        self._counts = counts
        self._names = names
        self._colors = _base.category_colors(len(names))

    def box(self, node: int, scale: float) -> OffsetBox | None:
        """Return the bar of a node, or None if there are no samples."""
        from matplotlib.offsetbox import DrawingArea
        from matplotlib.patches import Rectangle

        counts = self._counts[node]
        if not counts.any():
            return None
        width, height = SIDE * scale, max(0.25 * SIDE * scale, _base.MIN_FONT_SIZE)
        area = DrawingArea(width, height)
        ends = width * np.cumsum(counts) / counts.sum()
        starts = np.append(0.0, ends[:-1])
        for i in np.flatnonzero(counts):
            bar = Rectangle((starts[i], 0.0), ends[i] - starts[i], height)
            bar.set(facecolor=self._colors[i], linewidth=0)
            area.add_artist(bar)
        return area

    def draw_legend(self, ax: Axes) -> Legend:
        """Draw a legend with one patch for each class."""
        return _base.draw_legend(ax, self._colors, self._names)


def _stack(
    above: str, content: OffsetBox | None, below: str, scale: float
) -> OffsetBox:
    """Return a content with texts above and below."""
    from matplotlib.offsetbox import VPacker

    above = _text_box(above, scale) if above else None
    below = _text_box(below, scale, weight="bold") if below else None
    boxes = [box for box in (above, content, below) if box is not None]
    return VPacker(children=boxes, align="center", pad=0, sep=1)


def _text_box(text: str, scale: float, **style: Any) -> OffsetBox:
    """Return a text, no smaller than `MIN_FONT_SIZE`."""
    from matplotlib.offsetbox import TextArea

    size = max(_base.FONT_SIZE * scale, _base.MIN_FONT_SIZE)
    return TextArea(_base.plain(text), textprops={"fontsize": size, **style})


def tidy_positions(tree: Tree) -> Floats:
    """Return the horizontal positions of the nodes of a compact binary tree.

    Nodes of the same depth are at least one unit apart, and a parent is above the mean
    of its children, weighted by their leaves: below each other in a tree that peels off
    one leaf after the other. Subtrees are as close to each other as this allows
    (Reingold and Tilford, 1981).

    Returns
    -------
    x : ndarray of shape (n_nodes,)
        Positions; the smallest one is 0.

    Examples
    --------
    >>> from sktreevae import Dendrogram
    >>> tree = Dendrogram([-1, 0, 0, 2, 2], [2, 0, 1, 0, 0], labels=[])
    >>> tidy_positions(tree).round(2)
    array([0.67, 0.  , 1.  , 0.5 , 1.5 ])
    """
    # Distance of each node to the right of its parent.
    offset, n_leaves = np.zeros(tree.n_nodes), np.ones(tree.n_nodes)
    # Leftmost and rightmost position at each depth below a node, relative to it.
    outlines = {leaf: (np.zeros(1), np.zeros(1)) for leaf in tree.leaves}
    for node in tree.internal_nodes[::-1]:
        left, right = tree.children_left[node], tree.children_right[node]
        left_start, left_end = outlines.pop(left)
        right_start, right_end = outlines.pop(right)
        n = min(len(left_start), len(right_start))
        n_leaves[node] = n_leaves[left] + n_leaves[right]
        distance = (left_end[:n] - right_start[:n]).max() + 1.0
        offset[left] = -distance * n_leaves[right] / n_leaves[node]
        offset[right] = offset[left] + distance
        start = [[0.0], left_start + offset[left], right_start[n:] + offset[right]]
        end = [[0.0], right_end + offset[right], left_end[n:] + offset[left]]
        outlines[node] = (np.concatenate(start), np.concatenate(end))
    x = np.zeros(tree.n_nodes)
    for node in range(1, tree.n_nodes):
        x[node] = x[tree.parent[node]] + offset[node]
    return x - x.min()


class _Drawing:
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

    def __init__(self, ax: Axes, tree: Tree, colors: Floats, *, is_top: bool) -> None:
        self._ax = ax
        self._tree = tree
        self._colors = colors
        self._columns = [0, 1] if is_top else [1, 0]
        across = tidy_positions(tree)
        # Across the tree, and along its depth.
        self._position = np.column_stack([across, tree.depth])
        self.point = self._position[:, self._columns]

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
        return _base.draw_branches(
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
        _base.apply_layout(self._ax)
        ideal = np.sqrt(FULL_SIZE_LEAVES / self._tree.n_clusters)
        boxes = []
        for scale in [np.clip(ideal, SCALES[-1], 1.0)] if is_new else SCALES:
            for box in boxes:
                box.remove()
            boxes, sizes = self._add_boxes(make_box, scale)
            if is_new:
                # At another resolution, hinted texts are up to a tenth larger.
                sizes *= 1.1
                self._resize_figure(sizes)
            fits = self._fit(sizes)
            if fits.all():
                break
        for node in np.flatnonzero(~fits):
            boxes[node].remove()
            boxes[node] = None
        return boxes

    def _add_boxes(
        self, make_box: Callable[[int, float], OffsetBox], scale: float
    ) -> tuple[list[AnnotationBbox], Floats]:
        """Draw all nodes at a scale, and return them and their sizes in pixels."""
        from matplotlib.offsetbox import AnnotationBbox

        background = self._ax.figure.canvas.figure.get_facecolor()
        boxes = []
        for node, point in enumerate(self.point):
            style = {"edgecolor": self._colors[node], "facecolor": background}
            box = AnnotationBbox(
                make_box(node, scale), tuple(point), pad=0.2, bboxprops=style
            )
            # Nodes lie inside of the axes, which need no room beside them.
            box.set_in_layout(False)
            boxes.append(self._ax.add_artist(box))
        return boxes, _base.artist_sizes(boxes)

    def _resize_figure(self, sizes: Floats) -> None:
        """Give a new figure the size at which all nodes fit."""
        figure = self._ax.figure
        units = self._needed_units(sizes[:, self._columns])[self._columns]
        pixels = units * self.point.max(axis=0) + 2 * self._margin(sizes) + 2
        # The legend and the note outside of the axes keep their size.
        added = (pixels - self._ax.get_window_extent().size) / figure.dpi
        inches = figure.get_size_inches() + added
        figure.set_size_inches(np.clip(inches, MIN_INCHES, MAX_INCHES))
        _base.apply_layout(self._ax)

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

    def _margin(self, sizes: Floats) -> Floats:
        """Return the horizontal and the vertical margin in pixels, (2,)."""
        return sizes.max(axis=0) / 2 + SPACE[0] / 2 * self._ax.figure.dpi / 72

    def _set_limits(self, sizes: Floats) -> None:
        """Set limits such that the nodes at the border lie in the axes."""
        length = np.array(self._ax.get_window_extent().size)
        margin = self._margin(sizes)
        span = self.point.max(axis=0)
        # In small axes, at least a tenth is left for the tree.
        inner = np.maximum(length - 2 * margin, 0.1 * length)
        unit = np.where(span > 0, inner / np.maximum(span, 1e-9), 1.0)
        # A single row or column is centered.
        pad = (margin + np.where(span > 0, 0.0, inner / 2)) / unit
        (left, top), (right, bottom) = -pad, span + pad
        self._ax.set(xlim=(left, right), ylim=(bottom, top))

    def _fit(self, sizes: Floats) -> NDArray[np.bool_]:
        """Set the limits for nodes of some sizes, and return which of the nodes fit.

        Nodes with many samples are considered first.
        """
        self._set_limits(sizes)
        center = self._ax.transData.transform(self.point)
        corners = np.hstack([center - sizes / 2, center + sizes / 2])
        space = np.array(SPACE)[self._columns] * self._ax.figure.dpi / 72 / 4
        outer = self._ax.get_window_extent().extents + [-1.0, -1.0, 1.0, 1.0]
        padded = corners + [*-space, *space]
        n_samples = self._tree.n_node_samples
        return _base.select_disjoint(padded, n_samples, outer + [*-space, *space])
