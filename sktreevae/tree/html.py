"""Representations of a dendrogram in notebooks and as a page."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .export import count

__all__ = ["DendrogramHtml", "format_svg"]

MAX_LEAVES = 30
"""Maximum number of clusters in a notebook; the lowest nodes are folded."""

ROW_HEIGHT = 18
"""Distance of two leaves in pixels."""

WIDTH = 360
"""Width of the tree in pixels, without the names of the leaves."""

TEXT_WIDTH = 220
"""Space for the names of the leaves in pixels."""

MARGIN = 12
"""Space around the tree in pixels."""


class DendrogramHtml:
    """Base class of `Dendrogram`: its representations."""

    parent: NDArray[np.int64]
    children_left: NDArray[np.int64]
    children_right: NDArray[np.int64]
    depth: NDArray[np.int64]
    height: NDArray[np.float64]
    weight: NDArray[np.float64]
    n_node_samples: NDArray[np.int64]
    support: NDArray[np.float64]
    support_error: NDArray[np.float64]
    leaf_label: NDArray[np.int64]
    labels: NDArray[np.int64]
    n_nodes: int
    n_leaves: int
    internal_nodes: NDArray[np.int64]
    is_supported: NDArray[np.bool_]

    def __repr__(self) -> str:
        # Tables of fitted attributes have space for 30 characters.
        return f"<Dendrogram: {count(self.n_leaves, 'leaf', 'leaves')}>"

    def _repr_html_(self) -> str:
        """Return the representation in notebooks."""
        leaves = count(self.n_leaves, "leaf", "leaves")
        title = f"Dendrogram: {leaves}, {count(len(self.labels), 'sample', 'samples')}"
        notes = []
        if self.n_leaves > MAX_LEAVES:
            notes.append(f"Cut into {MAX_LEAVES} clusters.")
        if not self.is_supported.all():
            notes.append("Dashed: not supported by held-out samples.")
        return f"<div><b>{title}</b> {' '.join(notes)}{format_svg(self)}</div>"

    def export_html(
        self,
        path: str | os.PathLike,
        X: ArrayLike | None = None,
        *,
        y: ArrayLike | None = None,
        feature_names: Sequence[str] | None = None,
        image_shape: tuple[int, ...] | None = None,
        cluster_names: Sequence[str] | None = None,
    ) -> None:
        """Write the tree as one HTML page that unfolds.

        See :meth:`TreeVAEClustering.export_html`, which also describes what a model
        generates, or other samples.

        Parameters
        ----------
        path : str or path-like
            File to write. Its name without the ending is the title of the page.
        X : array-like or sparse matrix of shape (n_samples, n_features), or images \
                of shape (n_samples, height, width[, channels]), default=None
            Samples whose labels the dendrogram holds, in the same order. Nodes show
            their mean image, or the features that tell nodes from their siblings.
        y : array-like of shape (n_samples,), default=None
            Known labels of the samples.
        feature_names : sequence of str of length n_features, default=None
            Names of the features, by default the column names of X, or x0, x1, ...
        image_shape : tuple of int, default=None
            Shape of the images in the rows of X: (height, width), or with 1, 3 or 4
            channels first or last.
        cluster_names : sequence of str of length n_leaves, default=None
            Names of the leaves, by default "cluster 0", "cluster 1", ...

        Raises
        ------
        ValueError
            If X, `y`, `feature_names`, `image_shape` or `cluster_names` doesn't fit the
            dendrogram or each other.

        Examples
        --------
        >>> import tempfile
        >>> from sktreevae import Dendrogram
        >>> tree = Dendrogram([-1, 0, 0], [2, 0, 0], labels=[0, 0, 1])
        >>> X = [[4.0, 40.0], [4.0, 60.0], [2.0, 80.0]]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/animals.html"
        ...     tree.export_html(path, X, feature_names=["legs", "weight"])
        """
        # Imported here so that this module does not depend on the displays.
        from ..display.html import (
            TreePage,
            choose_image_shape,
            describe_rows,
            image_shape_of,
        )

        if X is None and not (feature_names is None and image_shape is None):
            raise ValueError("feature_names and image_shape describe X, but X is None.")
        page = TreePage(self, self.labels, cluster_names)
        if X is not None:
            moments = describe_rows(self, X, self.labels)
            image_shape = choose_image_shape(image_shape, image_shape_of(X))
            if feature_names is None:
                feature_names = getattr(X, "columns", None)
            page.add_means(moments, image_shape, feature_names)
        if y is not None:
            page.add_labels(y)
        page.write(path)


def format_svg(tree: DendrogramHtml) -> str:
    """Return a drawing of a dendrogram with the root at the left.

    Trees of more than `MAX_LEAVES` leaves are folded: a folded node is drawn as a leaf.
    Splits that held-out samples don't support are dashed. Each node has a tooltip.
    """
    is_drawn, is_tip = _fold(tree)
    y = _rows(tree, is_tip)
    height = np.where(is_tip, 0.0, tree.height) / (tree.height[0] or 1.0)
    x = MARGIN + WIDTH * (1.0 - height)
    parts = []
    for node in np.flatnonzero(is_drawn & ~is_tip):
        left, right = tree.children_left[node], tree.children_right[node]
        dash = "" if tree.is_supported[node] else ' stroke-dasharray="3 3"'
        parts.append(
            f'<path d="M{x[left]:.1f} {y[left]:.1f}H{x[node]:.1f}V{y[right]:.1f}'
            f'H{x[right]:.1f}"{dash}><title>{_describe(tree, node)}</title></path>'
        )
    texts = [
        f'<text x="{x[node] + 6:.1f}" y="{y[node] + 4:.1f}">{_name(tree, node)}'
        f"<title>{_describe(tree, node)}</title></text>"
        for node in np.flatnonzero(is_tip)
    ]
    height = ROW_HEIGHT * (len(texts) + 1) + 2 * MARGIN
    width = WIDTH + TEXT_WIDTH + 2 * MARGIN
    axis = (
        f'<text x="{MARGIN}" y="{height - MARGIN}">{tree.height[0]:.3g} nats</text>'
        f'<text x="{MARGIN + WIDTH}" y="{height - MARGIN}" text-anchor="end">0</text>'
    )
    return (
        f'<svg role="img" aria-label="Dendrogram" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" style="display:block;max-width:100%">'
        '<g fill="none" stroke="currentColor" stroke-width="1.5">'
        f'{"".join(parts)}</g><g fill="currentColor" font-family="sans-serif" '
        f'font-size="12">{"".join(texts)}{axis}</g></svg>'
    )


def _fold(tree: DendrogramHtml) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which nodes are drawn, and which of them are drawn as leaves."""
    internal = tree.internal_nodes
    highest = internal[np.argsort(-tree.height[internal], kind="stable")]
    is_split = np.zeros(tree.n_nodes, dtype=bool)
    is_split[highest[: MAX_LEAVES - 1]] = True
    is_drawn = is_split[tree.parent]
    is_drawn[0] = True
    return is_drawn, is_drawn & ~is_split


def _rows(tree: DendrogramHtml, is_tip: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the vertical position of each drawn node in pixels, (n_nodes,)."""
    # Number of the leftmost leaf below each node.
    first = tree.leaf_label.copy()
    for node in tree.internal_nodes[::-1]:
        first[node] = first[tree.children_left[node]]
    tips = np.flatnonzero(is_tip)
    y = np.zeros(tree.n_nodes)
    y[tips[np.argsort(first[tips])]] = MARGIN + ROW_HEIGHT * (
        0.5 + np.arange(len(tips))
    )
    for node in tree.internal_nodes[::-1]:
        if not is_tip[node]:
            children = [tree.children_left[node], tree.children_right[node]]
            y[node] = y[children].mean()
    return y


def _name(tree: DendrogramHtml, node: int) -> str:
    """Return the name of a drawn leaf, and its size."""
    samples = count(int(tree.n_node_samples[node]), "sample", "samples")
    if tree.leaf_label[node] >= 0:
        return f"cluster {tree.leaf_label[node]}: {samples}"
    is_below = np.arange(tree.n_nodes) == node
    for below in range(node + 1, tree.n_nodes):
        is_below[below] = is_below[tree.parent[below]]
    n_clusters = int((is_below & (tree.leaf_label >= 0)).sum())
    return f"node {node}: {n_clusters} clusters, {samples}"


def _describe(tree: DendrogramHtml, node: int) -> str:
    """Return the tooltip of a node."""
    text = count(int(tree.n_node_samples[node]), "sample", "samples")
    text += f", probability {tree.weight[node]:.3g}"
    if tree.leaf_label[node] >= 0:
        return f"cluster {tree.leaf_label[node]}: {text}"
    text = f"node {node}: height {tree.height[node]:.3g} nats, {text}"
    if np.isfinite(tree.support[node]):
        text += f", support {tree.support[node]:.3g} ± {tree.support_error[node]:.1g}"
    return text
