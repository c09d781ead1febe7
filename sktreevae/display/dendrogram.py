"""Display of a dendrogram with heights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..tree.export import check_cluster_names
from ._base import (
    Floats,
    Tree,
    check_orientation,
    check_tree,
    draw_branches,
    get_tree,
    import_extra,
    make_axes,
    node_colors,
)
from ._text import (
    INCHES_PER_LABEL,
    UNSUPPORTED,
    add_note,
    apply_layout,
    artist_sizes,
    fit_tick_labels,
    keep_inside,
)

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
    note_ : matplotlib Text or None
        Note that explains dashed lines, if there are any.
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
        return cls(get_tree(estimator)).plot(ax, **kwargs)

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
        return cls(check_tree(dendrogram)).plot(ax, **kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        n_clusters: int | None = None,
        cluster_names: Sequence[str] | None = None,
        orientation: str = "top",
        color: Any = "C0",
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
        color : matplotlib color, default="C0"
            Color of the branches if `n_clusters` is None.

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
        import_extra("matplotlib.pyplot")  # raises if it is not installed
        tree = self.dendrogram
        is_new = ax is None
        is_top = check_orientation(orientation) == "top"
        names = _leaf_names(tree, cluster_names, "\n" if is_top else " ")
        colors = node_colors(tree, n_clusters, color)
        length = INCHES_PER_LABEL * tree.n_clusters + 1.0
        width = np.clip(length, 6.4, MAX_WIDTH) if is_top else 6.4
        height = 4.8 if is_top else np.clip(length, 4.8, MAX_HEIGHT)
        self.ax_ = ax = make_axes(ax, width, height)
        self.figure_ = ax.figure
        self.branches_ = self._draw_branches(is_top, colors)
        leaf_axis = ax.xaxis if is_top else ax.yaxis
        self._set_axes(is_top)
        leaf_axis.set_label_text(
            "cluster (samples)" if cluster_names is None else "cluster"
        )
        if not is_top:
            # The note takes space from the labels.
            self._draw_note()
        fit_tick_labels(leaf_axis, names)
        if is_new:
            self._make_room(leaf_axis)
        keep_inside(ax)
        if is_top:
            # Labels take space from the axes, in which the note has a fixed size.
            self._draw_note()
        return self

    def _draw_note(self) -> None:
        """Explain dashed lines, if there are any."""
        is_supported = self.dendrogram.is_supported.all()
        self.note_ = None if is_supported else add_note(self.ax_, UNSUPPORTED)

    def _draw_branches(self, is_top: bool, colors: Floats) -> LineCollection:
        """Draw a line from each node up, or left, to its parent."""
        tree = self.dendrogram
        child = np.arange(1, tree.n_nodes)
        parent = tree.parent[child]
        x, y = tree.get_plot_data().x, tree.height
        points = np.array(
            [[x[child], x[child], x[parent]], [y[child], y[parent], y[parent]]]
        )
        if not is_top:
            points = points[::-1]
        lines = list(points.transpose(2, 1, 0))
        return draw_branches(self.ax_, lines, colors[child], tree.is_supported[parent])

    def _set_axes(self, is_top: bool) -> None:
        """Set the limits and the spines of the axes, and the label of the heights."""
        ax, n_leaves = self.ax_, self.dendrogram.n_clusters
        highest = 1.05 * self.dendrogram.height[0] or 1.0
        if is_top:
            ax.set(xlim=(-0.5, n_leaves - 0.5), ylim=(0.0, highest))
            ax.set_ylabel("height (nats)")
        else:
            ax.set(xlim=(highest, 0.0), ylim=(n_leaves - 0.5, -0.5))
            ax.set_xlabel("height (nats)")
            ax.yaxis.tick_right()
            ax.yaxis.set_label_position("right")
        ax.spines[["top", "right", "bottom" if is_top else "left"]].set_visible(False)
        ax.tick_params(axis="x" if is_top else "y", length=0)

    def _make_room(self, leaf_axis: Axis) -> None:
        """Enlarge a new figure by the size of the labels of the leaves."""
        size = artist_sizes(leaf_axis.get_ticklabels()).max(axis=0)
        is_horizontal = leaf_axis.axis_name == "x"
        added = size / self.figure_.dpi * [not is_horizontal, is_horizontal]
        self.figure_.set_size_inches(self.figure_.get_size_inches() + added)
        apply_layout(self.ax_)


def _leaf_names(
    tree: Tree, cluster_names: Sequence[str] | None, separator: str
) -> list[str]:
    """Return the labels of the leaves, by default the cluster and its size."""
    if cluster_names is not None:
        return check_cluster_names(cluster_names, tree.n_clusters)
    n_samples = tree.n_node_samples[tree.leaves]
    return [f"{label}{separator}({n})" for label, n in enumerate(n_samples)]
