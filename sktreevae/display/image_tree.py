"""Drawing of a tree of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._base import FittedTree, Tree, get_tree, import_pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_image_tree"]

IMAGE_SIZE = 48.0
"""Length of the longer side of a drawn image, in points."""

TITLE_OFFSET = 28
"""Distance of a title from the center of its image, in points."""


def plot_image_tree(
    dendrogram: Tree | FittedTree,
    images: ArrayLike,
    *,
    ax: Axes | None = None,
    cmap: str = "gray",
    titles: Sequence[str] | None = None,
) -> Axes:
    """Draw a tree with the mean image of the samples of each node.

    The vertical position of a node is its depth: images would overlap if it were the
    height.

    Parameters
    ----------
    dendrogram : Dendrogram or fitted estimator
        Tree to draw, or an estimator with a ``dendrogram_`` attribute.
    images : array-like of shape (n_samples, height, width[, channels])
        Images of the samples whose labels the dendrogram holds, in the same order.
        There are 1, 3 or 4 channels; colors lie in [0, 1].
    ax : matplotlib Axes, default=None
        Axes to draw on, by default those of a new figure of suitable size.
    cmap : str, default="gray"
        Colormap for images with one channel.
    titles : sequence of str of length n_nodes, default=None
        Text above each image, by default the number of samples.

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
        If `images` has the wrong shape, or there is not exactly one image for each
        sample and one title for each node.
    """
    tree = get_tree(dendrogram)
    images = _check_images(images, len(tree.labels))
    if titles is None:
        titles = [str(n) for n in tree.n_node_samples]
    if len(titles) != tree.n_nodes:
        raise ValueError(
            f"titles must have one text for each of the {tree.n_nodes} nodes, "
            f"got {len(titles)}."
        )
    depth = tree.depth.max()
    plt = import_pyplot()
    if ax is None:
        size = (max(1.2 * tree.n_leaves, 6.0), 1.35 * (depth + 1))
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    x, y = tree.get_plot_data().x, -tree.depth
    for node in range(1, tree.n_nodes):
        ends = [tree.parent[node], node]
        ax.plot(x[ends], y[ends], color="0.7", zorder=0)
    for node, image in enumerate(_mean_images(tree, images)):
        _draw_image(ax, (x[node], y[node]), image, titles[node], cmap)
    ax.set_xlim(-0.6, tree.n_leaves - 0.4)
    ax.set_ylim(-depth - 0.5, 0.6)
    ax.set_axis_off()
    return ax


def _check_images(images: ArrayLike, n_samples: int) -> NDArray[np.float64]:
    """Return the images as an array with one image for each sample."""
    images = np.asarray(images, dtype=np.float64)
    is_color = images.ndim == 4 and images.shape[3] in (1, 3, 4)
    if images.ndim != 3 and not is_color:
        raise ValueError(
            "images must have shape (n_samples, height, width) or (n_samples, height, "
            f"width, channels) with 1, 3 or 4 channels, got {images.shape}. Reshape "
            "flat images first: images.reshape(n_samples, height, width)."
        )
    if len(images) != n_samples:
        raise ValueError(
            f"images must have one image for each of the {n_samples} samples, "
            f"got {len(images)}."
        )
    return images


def _mean_images(tree: Tree, images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean image of the samples below each node, (n_nodes, height, ...)."""
    means = np.zeros((tree.n_nodes, *images.shape[1:]))
    np.add.at(means, tree.leaves[tree.labels], images)
    for node in range(tree.n_nodes - 1, 0, -1):
        means[tree.parent[node]] += means[node]
    for node, n_samples in enumerate(tree.n_node_samples):
        means[node] /= max(n_samples, 1)
    return means


def _draw_image(
    ax: Axes,
    position: tuple[float, float],
    image: NDArray[np.float64],
    title: str,
    cmap: str,
) -> None:
    """Draw one image with a title above it, centered at a position."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    zoom = IMAGE_SIZE / max(image.shape[:2])
    picture = OffsetImage(image, zoom=zoom, cmap=cmap)
    ax.add_artist(AnnotationBbox(picture, position, frameon=True, pad=0.1))
    ax.annotate(
        title,
        position,
        xytext=(0, TITLE_OFFSET),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )
