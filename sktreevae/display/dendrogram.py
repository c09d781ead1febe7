"""Display of a dendrogram with heights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..tree.export import check_cluster_names
from ._base import (
    FittedTree,
    Tree,
    check_orientation,
    check_tree,
    get_tree,
    make_axes,
    node_colors,
)
from ._text import (
    UNSUPPORTED,
    add_note,
    apply_layout,
    extents,
    fit_tick_labels,
    keep_inside,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = ["DendrogramDisplay"]

INCHES_PER_LEAF = 0.24
MAX_WIDTH, MAX_HEIGHT = 18.0, 40.0
"""Maximum size of a new figure in inches."""


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

    branches_: LineCollection
    note_: Text | None
    ax_: Axes
    figure_: Figure

    def __init__(self, dendrogram: Tree) -> None:
        self.dendrogram = dendrogram

    @classmethod
    def from_estimator(
        cls, estimator: FittedTree, *, ax: Axes | None = None, **kwargs: Any
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
        tree = self.dendrogram
        is_new = ax is None
        is_top = check_orientation(orientation) == "top"
        names = _leaf_names(tree, cluster_names, "\n" if is_top else " ")
        if n_clusters is not None:
            tree.cut(n_clusters)  # raises if there is no such cut
        length = INCHES_PER_LEAF * tree.n_clusters + 1.0
        width = min(max(length, 6.4), MAX_WIDTH) if is_top else 6.4
        height = 4.8 if is_top else min(max(length, 4.8), MAX_HEIGHT)
        self.ax_ = ax = make_axes(ax, width, height)
        self.figure_ = ax.figure
        self.branches_ = self._draw_branches(
            is_top, node_colors(tree, n_clusters, color)
        )
        self._set_axes(is_top, has_sizes=cluster_names is None)
        has_note = not tree.is_supported.all()
        self.note_ = None
        if has_note and not is_top:
            # The note takes space from the labels.
            self.note_ = add_note(ax, UNSUPPORTED)
        leaf_axis = ax.xaxis if is_top else ax.yaxis
        fit_tick_labels(leaf_axis, names)
        if is_new:
            self._make_room_for_labels(is_top)
        keep_inside(ax)
        if has_note and is_top:
            # Labels take space from the axes, in which the note has a fixed size.
            self.note_ = add_note(ax, UNSUPPORTED)
        return self

    def _draw_branches(
        self, is_top: bool, colors: NDArray[np.float64]
    ) -> LineCollection:
        """Draw a line from each node up, or left, to its parent."""
        from matplotlib.collections import LineCollection

        tree = self.dendrogram
        child = np.arange(1, tree.n_nodes)
        parent = tree.parent[child]
        x, y = tree.get_plot_data().x, tree.height
        points = np.array(
            [[x[child], x[child], x[parent]], [y[child], y[parent], y[parent]]]
        )
        if not is_top:
            points = points[::-1]
        styles = np.where(tree.is_supported[parent], "solid", "dashed")
        branches = LineCollection(
            list(points.transpose(2, 1, 0)),
            colors=colors[child],
            linestyles=styles.tolist(),
        )
        self.ax_.add_collection(branches, autolim=False)
        return branches

    def _set_axes(self, is_top: bool, *, has_sizes: bool) -> None:
        """Set limits, axis labels and spines."""
        ax, tree = self.ax_, self.dendrogram
        highest = 1.05 * tree.height[0] or 1.0
        leaf_label = "cluster (samples)" if has_sizes else "cluster"
        if is_top:
            ax.set(xlim=(-0.5, tree.n_clusters - 0.5), ylim=(0.0, highest))
            ax.set(xlabel=leaf_label, ylabel="height (nats)")
            ax.spines[["top", "right", "bottom"]].set_visible(False)
            ax.tick_params(axis="x", length=0)
        else:
            ax.set(xlim=(highest, 0.0), ylim=(tree.n_clusters - 0.5, -0.5))
            ax.set(xlabel="height (nats)", ylabel=leaf_label)
            ax.spines[["top", "right", "left"]].set_visible(False)
            ax.yaxis.tick_right()
            ax.yaxis.set_label_position("right")
            ax.tick_params(axis="y", length=0)

    def _make_room_for_labels(self, is_top: bool) -> None:
        """Enlarge a new figure by the size of the labels of the leaves."""
        axis = self.ax_.xaxis if is_top else self.ax_.yaxis
        boxes = extents(axis.get_ticklabels())
        sizes = (boxes[:, 2:] - boxes[:, :2]).max(axis=0) / self.figure_.dpi
        width, height = self.figure_.get_size_inches()
        if is_top:
            self.figure_.set_size_inches(width, height + sizes[1])
        else:
            self.figure_.set_size_inches(width + sizes[0], height)
        apply_layout(self.ax_)


def _leaf_names(
    tree: Tree, cluster_names: Sequence[str] | None, separator: str
) -> list[str]:
    """Return the labels of the leaves, by default the cluster and its size."""
    if cluster_names is not None:
        return check_cluster_names(cluster_names, tree.n_clusters)
    n_samples = tree.n_node_samples[tree.leaves]
    return [f"{label}{separator}({n})" for label, n in enumerate(n_samples)]
