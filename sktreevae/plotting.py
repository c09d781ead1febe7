"""Drawings of a dendrogram; needs matplotlib, which is imported when drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .dendrogram import Dendrogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_dendrogram", "plot_image_tree"]


def plot_dendrogram(
    dendrogram: Dendrogram,
    *,
    ax: Axes | None = None,
    cluster_names: Sequence[str] | None = None,
    color: Any = "C0",
) -> Axes:
    """Draw a tree with the clusters from left to right and heights upwards.

    Parameters
    ----------
    dendrogram : Dendrogram
        The tree.
    ax : matplotlib Axes, default=None
        Where to draw; the current ones by default.
    cluster_names : sequence of str of length n_leaves, default=None
        Names below the leaves; label and number of samples by default.
    color : matplotlib color, default="C0"
        Of the lines.

    Returns
    -------
    ax : matplotlib Axes
        Where it was drawn.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    plt = _import_pyplot()
    ax = plt.gca() if ax is None else ax
    data = dendrogram.get_plot_data()
    for link in data.links:
        ax.plot(link[:, 0], link[:, 1], color=color, solid_joinstyle="miter")
    if cluster_names is None:
        samples = dendrogram.n_node_samples[dendrogram.leaves]
        cluster_names = [f"{label}\n({n})" for label, n in enumerate(samples)]
    ax.set_xticks(range(dendrogram.n_leaves), cluster_names)
    ax.set_xlim(-0.5, dendrogram.n_leaves - 0.5)
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel("cluster (samples)")
    ax.set_ylabel("Jeffreys divergence (nats)")
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.tick_params(axis="x", length=0)
    return ax


def plot_image_tree(
    dendrogram: Dendrogram,
    images: ArrayLike,
    *,
    ax: Axes | None = None,
    cmap: str = "gray",
    titles: Sequence[str] | None = None,
) -> Axes:
    """Draw a tree with the mean image of each node's samples.

    Nodes are drawn by depth, since heights would put some images onto others.

    Parameters
    ----------
    dendrogram : Dendrogram
        The tree.
    images : array-like of shape (n_samples, height, width[, channels])
        Images of the samples that the dendrogram has the labels of.
    ax : matplotlib Axes, default=None
        Where to draw; new ones of a fitting size by default.
    cmap : str, default="gray"
        Colours of grey images.
    titles : sequence of str of length n_nodes, default=None
        Text above each image; the number of samples by default.

    Returns
    -------
    ax : matplotlib Axes
        Where it was drawn.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there isn't an image for each sample, or a title for each node.
    """
    plt = _import_pyplot()
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    images = np.asarray(images, dtype=np.float64)
    if len(images) != len(dendrogram.labels):
        raise ValueError(
            f"images must have one image for each of the {len(dendrogram.labels)} "
            f"samples, got {len(images)}."
        )
    if titles is None:
        titles = [str(n) for n in dendrogram.n_node_samples]
    if len(titles) != dendrogram.n_nodes:
        raise ValueError(
            f"titles must have one text for each of the {dendrogram.n_nodes} nodes, "
            f"got {len(titles)}."
        )
    depth = dendrogram.depth.max()
    if ax is None:
        size = (max(1.2 * dendrogram.n_leaves, 6.0), 1.35 * (depth + 1))
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    x = dendrogram.get_plot_data().x
    sums = np.zeros((dendrogram.n_nodes, *images.shape[1:]))
    np.add.at(sums, dendrogram.leaves[dendrogram.labels], images)
    for node in range(dendrogram.n_nodes - 1, 0, -1):
        parent = dendrogram.parent[node]
        sums[parent] += sums[node]
        ends = [parent, node]
        ax.plot(x[ends], -dendrogram.depth[ends], color="0.7", zorder=0)
    scale = 48.0 / max(images.shape[1:3])
    counts = dendrogram.n_node_samples
    for node in range(dendrogram.n_nodes):
        mean = sums[node] / max(counts[node], 1)
        picture = OffsetImage(mean, zoom=scale, cmap=cmap)
        position = (x[node], -dendrogram.depth[node])
        ax.add_artist(AnnotationBbox(picture, position, frameon=True, pad=0.1))
        ax.annotate(
            titles[node],
            position,
            xytext=(0, 28),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    ax.set_xlim(-0.6, dendrogram.n_leaves - 0.4)
    ax.set_ylim(-depth - 0.5, 0.6)
    ax.set_axis_off()
    return ax


def _import_pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Plotting needs matplotlib. Install it with: pip install 'sktreevae[plot]'"
        ) from error
    return plt
