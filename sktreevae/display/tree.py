"""Display of a tree with contents at its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..inspection.columns import last_step
from ..tree.export import check_class_names, check_cluster_names
from ._base import (
    MAX_COLORS,
    Floats,
    Ints,
    Tree,
    category_colors,
    check_orientation,
    check_tree,
    get_tree,
    import_extra,
    make_axes,
    node_colors,
)
from ._node_values import (
    as_images,
    choose_image_shape,
    count_classes,
    count_samples,
    describe_data,
    describe_rows,
    flatten,
    image_shape_of,
)
from ._text import (
    FONT_SIZE,
    MIN_FONT_SIZE,
    PAD,
    UNSUPPORTED,
    apply_layout,
    plain,
    write_note,
)
from ._tree_drawing import MIN_INCHES, TreeDrawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend
    from matplotlib.offsetbox import OffsetBox

SIDE = 48.0
"""Length of the longer side of an image, and width of a bar, in points."""

MINUS = "\N{MINUS SIGN}"

SIGNS = f"+ and {MINUS}: larger and smaller than in the rest of the tree"
"""Explains the signs of features."""


@dataclass(eq=False, repr=False)
class TreeDisplay:
    """Tree with an image, features or the mix of classes at every node.

    The vertical position of a node is its depth; `DendrogramDisplay` draws heights.
    Above each node stands its number of samples, below each leaf its cluster. Edges
    of splits that held-out samples don't support are dashed.

    Create it with `from_estimator` or `from_dendrogram`. All parameters are stored as
    attributes. Read more in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    dendrogram : Dendrogram
        Tree to draw.
    images : ndarray of shape (n_nodes, height, width[, channels]), default=None
        Images, with 1, 3 or 4 channels. Nodes with nan have no image.
    features : sequence of n_nodes sequences of str, default=None
        Names of features of each node.
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
        from the rest of the tree, ``explain(None, against="rest")``, with the sign of
        the difference. Below the root, ``explain(node)``, which compares the branches
        of a split, can have other features and signs.

        Parameters
        ----------
        estimator : TreeVAEClustering or Pipeline
            Fitted estimator, or a pipeline whose last step it is.
        X : array-like or Dataset of shape (n_samples, n_features), default=None
            Data, as for `predict`, or images (n_samples, height, width[, channels]).
            They go to the nodes that ``estimator.predict`` tells. A data frame that
            enters a pipeline is described by its own columns. By default the nodes have
            the training samples.
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
        # Imported here so that drawings and pages of a dendrogram don't need torch.
        from ..inspection.explain import explain

        tree, model = get_tree(estimator), last_step(estimator)
        labels = tree.labels
        if X is not None:
            labels = estimator.predict(X if model.image_shape else flatten(X))
        shape = choose_image_shape(image_shape, image_shape_of(X), model.image_shape)
        if y is not None:
            counts, names = count_classes(tree, labels, y)
            content = {"class_counts": counts, "class_names": names}
        elif shape is not None:
            if X is None:
                means = model.node_means()
            else:
                means = describe_data(tree, X, labels).mean
            content = {"images": as_images(means, shape)}
        else:
            found = explain(
                estimator,
                None,
                flatten(X),
                against="rest",
                n_features=n_features,
                feature_names=feature_names,
            )
            names = [_signed_names(one.feature_names, one.effect) for one in found]
            content = {
                "features": [(), *names],
                "note": SIGNS,
            }
        n_samples = count_samples(tree, labels)
        return cls(tree, n_node_samples=n_samples, **content).plot(**kwargs)

    @classmethod
    def from_dendrogram(
        cls,
        dendrogram: Tree,
        X: ArrayLike | None = None,
        *,
        y: ArrayLike | None = None,
        image_shape: tuple[int, ...] | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw a dendrogram, with contents from the samples whose labels it holds.

        Nodes show the mix of the classes `y`, if given, or else the mean images of X.
        Without both, they show their numbers of samples only.

        Parameters
        ----------
        dendrogram : Dendrogram
            Tree to draw.
        X : array-like of shape (n_samples, n_features), default=None
            Images as rows, or of shape (n_samples, height, width[, channels]), in the
            order of ``dendrogram.labels``.
        y : array-like of shape (n_samples,), default=None
            Class of each sample, an int or a name.
        image_shape : tuple of int, default=None
            Height and width, with channels first or last, by default those of X.
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
            int or name, the shape of the images is unknown or not valid, or an argument
            of `plot` isn't valid.
        """
        tree = check_tree(dendrogram)
        content = {}
        if y is not None:
            counts, names = count_classes(tree, tree.labels, y)
            content = {"class_counts": counts, "class_names": names}
        elif X is not None:
            shape = image_shape or image_shape_of(X)
            if shape is None:
                raise ValueError("image_shape is needed if the images in X are rows.")
            means = describe_rows(tree, X, tree.labels).mean
            content = {"images": as_images(means, shape)}
        return cls(tree, **content).plot(ax, **kwargs)

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
        import_extra("matplotlib.pyplot")  # raises if it is not installed
        tree = self.dendrogram
        is_new = ax is None
        is_top = check_orientation(orientation) == "top"
        above, below = self._check_texts(titles, cluster_names)
        colors = node_colors(tree, n_clusters, "0.6")
        content = self._content(cmap)
        self.ax_ = ax = make_axes(ax, 6.4, 4.8)
        self.figure_ = ax.figure
        ax.set_axis_off()
        self.legend_ = content.draw_legend(ax)
        free = self._draw_note(is_new)
        drawing = TreeDrawing(ax, tree, colors, is_top=is_top, free=free)
        self.edges_ = drawing.draw_edges()

        def make_box(node: int, scale: float) -> OffsetBox:
            return _stack(above[node], content.box(node, scale), below[node], scale)

        self.boxes_ = drawing.draw_nodes(make_box, is_new=is_new)
        is_point = [box is None for box in self.boxes_]
        self.points_ = drawing.draw_points(np.flatnonzero(is_point))
        return self

    def _content(self, cmap: Any) -> _Content:
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
        if self.features is not None:
            return _FeatureNames(self.features)
        if self.class_counts is not None:
            n_classes = np.shape(self.class_counts)[1]
            names = check_class_names(self.class_names, n_classes)
            return _ClassMix(self.class_counts, names)
        return _Content()

    def _check_texts(
        self, titles: Sequence[str] | None, cluster_names: Sequence[str] | None
    ) -> tuple[list[str], list[str]]:
        """Return the texts above and below each node."""
        tree = self.dendrogram
        if titles is None:
            titles = self.n_node_samples
        if titles is None:
            titles = tree.n_node_samples
        if len(titles) != tree.n_nodes:
            raise ValueError(
                f"titles must have one text for each of the {tree.n_nodes} nodes, "
                f"got {len(titles)}."
            )
        names = check_cluster_names(cluster_names, tree.n_clusters, "#{}")
        below = ["" if label < 0 else names[label] for label in tree.leaf_label]
        return [str(title) for title in titles], below

    def _draw_note(self, is_new: bool) -> tuple[float, float]:
        """Write the note, and return the width and height of the legend and of it."""
        legend, ax = self.legend_, self.ax_
        right = 0.0 if legend is None else legend.get_window_extent().width
        lines = [] if self.note is None else [self.note]
        if not self.dendrogram.is_supported.all():
            lines.append(UNSUPPORTED)
        self.note_ = None
        if not lines:
            return right, 0.0
        apply_layout(ax)
        width = ax.get_window_extent().width
        if is_new:
            # The size of the figure isn't set yet.
            width += (MIN_INCHES[0] - self.figure_.get_figwidth()) * self.figure_.dpi
        self.note_ = write_note(ax, "\n".join(lines), width - right, is_top=False)
        return right, self.note_.get_window_extent().height + 2 * PAD


class _Content:
    """What nodes contain; here nothing."""

    def box(self, node: int, scale: float) -> OffsetBox | None:
        """Return the content of a node, at a scale up to 1, or None."""
        return None

    def draw_legend(self, ax: Axes) -> Legend | None:
        """Draw a legend at the right, if there is one."""
        return None


class _Images(_Content):
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


class _FeatureNames(_Content):
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


class _ClassMix(_Content):
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
        if len(names) > MAX_COLORS:
            by_size = np.argsort(-counts[0], kind="stable")
            kept = np.sort(by_size[: MAX_COLORS - 1])
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

    def draw_legend(self, ax: Axes) -> Legend:
        """Draw a legend with one patch for each class."""
        from matplotlib.patches import Patch

        handles = [
            Patch(facecolor=color, label=plain(name))
            for color, name in zip(self._colors, self._names, strict=True)
        ]
        style = {"loc": "upper right", "borderaxespad": 0.0, "frameon": False}
        return ax.legend(handles=handles, fontsize=FONT_SIZE, **style)


def _signed_names(names: Iterable[str], effect: Iterable[float]) -> list[str]:
    """Return names of features with the signs of their effects."""
    return [
        f"{name} {'+' if d > 0 else MINUS}"
        for name, d in zip(names, effect, strict=True)
    ]


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

    size = max(FONT_SIZE * scale, MIN_FONT_SIZE)
    return TextArea(plain(text), textprops={"fontsize": size, **style})
