"""Drawing of a dendrogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._dendrogram_export import check_cluster_names
from ._base import FittedTree, Tree, get_tree, import_pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_dendrogram"]


def plot_dendrogram(
    dendrogram: Tree | FittedTree,
    *,
    ax: Axes | None = None,
    cluster_names: Sequence[str] | None = None,
    color: Any = "C0",
) -> Axes:
    """Draw a dendrogram with the root at the top.

    Splits that held-out samples don't support are dashed; see `Dendrogram.support`.

    Parameters
    ----------
    dendrogram : Dendrogram or fitted estimator
        Tree to draw, or an estimator with a ``dendrogram_`` attribute.
    ax : matplotlib Axes, default=None
        Axes to draw on, by default the current axes.
    cluster_names : sequence of str of length n_leaves, default=None
        Tick labels of the leaves, by default the label and the number of samples.
    color : matplotlib color, default="C0"
        Color of the lines.

    Returns
    -------
    ax : matplotlib Axes
        Axes with the drawing.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If `dendrogram` is neither a dendrogram nor an estimator that has one.
    ValueError
        If there is not exactly one name for each leaf.

    Examples
    --------
    >>> from sktreevae import Dendrogram
    >>> from sktreevae.display import plot_dendrogram
    >>> tree = Dendrogram([-1, 0, 0], [2, 0, 0], labels=[0, 1])
    >>> ax = plot_dendrogram(tree, cluster_names=["cats", "dogs"])
    """
    tree = get_tree(dendrogram)
    if cluster_names is None:
        n_samples = tree.n_node_samples[tree.leaves]
        cluster_names = [f"{label}\n({n})" for label, n in enumerate(n_samples)]
    names = check_cluster_names(cluster_names, tree.n_leaves)
    ax = import_pyplot().gca() if ax is None else ax
    is_supported = tree.is_supported[tree.internal_nodes]
    for link, is_solid in zip(tree.get_plot_data().links, is_supported, strict=True):
        style = "-" if is_solid else "--"
        ax.plot(*link.T, color=color, linestyle=style, solid_joinstyle="miter")
    ax.set_xticks(range(tree.n_leaves), names)
    ax.set_xlim(-0.5, tree.n_leaves - 0.5)
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel("cluster (samples)")
    ax.set_ylabel("height (nats)")
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.tick_params(axis="x", length=0)
    return ax
