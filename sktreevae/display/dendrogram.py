"""Display of a dendrogram with heights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..tree.names import check_cluster_names
from . import _base
from ._base import Floats, Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.collections import LineCollection

MAX_WIDTH, MAX_HEIGHT = 18.0, 40.0
"""Maximum size of a new figure in inches."""


@dataclass(eq=False, repr=False)
class DendrogramDisplay:
    """Dendrogram with heights in nats.

    Splits that held-out samples don't support are dashed, see
    :attr:`Dendrogram.is_supported <sktreevae.Dendrogram>`.

    Create it with `from_estimator` or `from_dendrogram`. All parameters are stored as
    attributes. Read more in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    dendrogram : Dendrogram
        Tree to draw.

    Attributes
    ----------
    branches_ : matplotlib LineCollection
        One line from each node, except the root, to its parent.
    ax_ : matplotlib Axes
        Axes with the drawing.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    TreeDisplay : Images, features or classes at every node; without heights.
    scipy.cluster.hierarchy.dendrogram : Draws ``linkage_matrix_``.

    Examples
    --------
    >>> from sktreevae import Dendrogram
    >>> from sktreevae.display import DendrogramDisplay
    >>> tree = Dendrogram([-1, 0, 0], [2, 0, 0], labels=[0, 1])
    >>> display = DendrogramDisplay.from_dendrogram(tree, cluster_names=["cat", "dog"])
    >>> display.ax_.get_ylabel()
    'height (nats)'
    """

    dendrogram: Tree

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Axes | None = None, **kwargs: Any
    ) -> Self:
        """Draw the dendrogram of a fitted estimator.

        Parameters
        ----------
        estimator : TreeVAEClustering
            Fitted estimator.
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created.
        **kwargs : dict
            Further arguments of `plot`.

        Returns
        -------
        display : DendrogramDisplay
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
            If an argument isn't valid, see `plot`.

        Examples
        --------
        >>> from sklearn.datasets import make_blobs
        >>> from sktreevae import TreeVAEClustering
        >>> from sktreevae.display import DendrogramDisplay
        >>> X, y = make_blobs([40, 40, 40], cluster_std=0.5, random_state=0)
        >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
        >>> display = DendrogramDisplay.from_estimator(model, n_clusters=2)
        """
        return cls(_base.get_tree(estimator)).plot(ax, **kwargs)

    @classmethod
    def from_dendrogram(
        cls, dendrogram: Tree, *, ax: Axes | None = None, **kwargs: Any
    ) -> Self:
        """Draw a dendrogram.

        Parameters
        ----------
        dendrogram : Dendrogram
            Tree to draw.
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created.
        **kwargs : dict
            Further arguments of `plot`.

        Returns
        -------
        display : DendrogramDisplay
            The display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `dendrogram` is no dendrogram.
        ValueError
            If an argument isn't valid, see `plot`.
        """
        return cls(_base.check_tree(dendrogram)).plot(ax, **kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        n_clusters: int | None = None,
        cluster_names: Sequence[str] | None = None,
        orientation: str = "top",
    ) -> Self:
        """Draw the dendrogram.

        Labels of leaves are rotated and shrunk until they don't overlap in axes of the
        current size. If this isn't enough, every second, third, ... one is drawn.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created, whose size grows with
            the number of leaves.
        n_clusters : int, default=None
            Cut the tree into this many clusters, and draw each in a color of its own.
        cluster_names : sequence of str of length n_clusters, default=None
            Labels of the leaves, by default the cluster and its number of samples.
        orientation : {"top", "left"}, default="top"
            Position of the root. With "left" labels are horizontal; this suits many
            leaves and long names.

        Returns
        -------
        display : DendrogramDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `orientation` or `n_clusters` isn't valid, or there is not exactly one
            name for each leaf.
        """
        _base.import_plotting("matplotlib.pyplot")  # raises if it is not installed
        tree = self.dendrogram
        is_top = _base.check_orientation(orientation) == "top"
        names = _leaf_names(tree, cluster_names, "\n" if is_top else " ")
        colors = _base.node_colors(tree, n_clusters, "C0")
        length = _base.INCHES_PER_LABEL * tree.n_clusters + 1.0
        width = np.clip(length, 6.4, MAX_WIDTH) if is_top else 6.4
        height = 4.8 if is_top else np.clip(length, 4.8, MAX_HEIGHT)
        self.ax_ = ax = _base.make_axes(ax, width, height)
        self.figure_ = ax.figure
        self.branches_ = draw_dendrogram(ax, tree, colors, is_top=is_top)
        leaf_axis = ax.xaxis if is_top else ax.yaxis
        self._label_axes(is_top)
        label = "cluster (samples)" if cluster_names is None else "cluster"
        label_leaves(leaf_axis, tree, label)
        _base.fit_tick_labels(leaf_axis, names)
        _base.keep_inside(ax)
        return self

    def _label_axes(self, is_top: bool) -> None:
        """Set the spines of the axes, and the label of the heights."""
        ax = self.ax_
        if is_top:
            ax.set_ylabel("height (nats)")
        else:
            ax.set_xlabel("height (nats)")
            ax.yaxis.tick_right()
            ax.yaxis.set_label_position("right")
        ax.spines[["top", "right", "bottom" if is_top else "left"]].set_visible(False)
        ax.tick_params(axis="x" if is_top else "y", length=0)


def draw_dendrogram(
    ax: Axes, tree: Tree, colors: Floats, *, is_top: bool = True
) -> LineCollection:
    """Draw a line from each node up, or left, to its parent, and set the limits.

    Leaves are at 0, 1, ... The axis of the heights ends below the lowest split, by half
    of the range of the splits, or at 0.
    """
    child = np.arange(1, tree.n_nodes)
    parent = tree.parent[child]
    splits = tree.height[tree.internal_nodes]
    highest, lowest = max(splits, default=0.0), min(splits, default=0.0)
    start = max(lowest - (highest - lowest) / 2, 0.0) if highest > lowest else 0.0
    x, y = tree.get_plot_data().x, np.maximum(tree.height, start)
    points = np.array(
        [[x[child], x[child], x[parent]], [y[child], y[parent], y[parent]]]
    )
    across = (-0.5, tree.n_clusters - 0.5)
    along = (start, start + 1.05 * (highest - start) or 1.0)
    if is_top:
        ax.set(xlim=across, ylim=along)
    else:
        points = points[::-1]
        ax.set(xlim=along[::-1], ylim=across[::-1])
    lines = list(points.transpose(2, 1, 0))
    return _base.draw_branches(ax, lines, colors[child], tree.is_supported[parent])


def label_leaves(axis: Axis, tree: Tree, label: str) -> None:
    """Label the axis of the leaves, and explain dashed lines if there are any."""
    if not tree.is_supported.all():
        label = f"{label}\n{_base.UNSUPPORTED}"
    axis.set_label_text(label, wrap=True)


def _leaf_names(
    tree: Tree, cluster_names: Sequence[str] | None, separator: str
) -> list[str]:
    """Return the labels of the leaves, by default the cluster and its size."""
    if cluster_names is not None:
        return check_cluster_names(cluster_names, tree.n_clusters)
    n_samples = tree.n_node_samples[tree.leaves]
    return [f"{label}{separator}({n})" for label, n in enumerate(n_samples)]
