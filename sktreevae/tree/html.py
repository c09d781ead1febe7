"""Representations of a dendrogram in notebooks and as a page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import highest_first, leaves_below
from .export import count

__all__ = ["format_html", "write_page"]

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


class Tree(Protocol):
    """Attributes of a `Dendrogram` that are drawn."""

    parent: NDArray[np.int64]
    children_left: NDArray[np.int64]
    children_right: NDArray[np.int64]
    height: NDArray[np.float64]
    weight: NDArray[np.float64]
    n_node_samples: NDArray[np.int64]
    support: NDArray[np.float64]
    support_error: NDArray[np.float64]
    leaf_label: NDArray[np.int64]
    labels: NDArray[np.int64]
    leaves: NDArray[np.int64]
    n_nodes: int
    n_clusters: int
    internal_nodes: NDArray[np.int64]
    is_supported: NDArray[np.bool_]


def format_html(tree: Tree) -> str:
    """Return the representation of a dendrogram in notebooks."""
    leaves = count(tree.n_clusters, "leaf", "leaves")
    title = f"Dendrogram: {leaves}, {count(len(tree.labels), 'sample', 'samples')}"
    notes = []
    if tree.n_clusters > MAX_LEAVES:
        notes.append(f"Cut into {MAX_LEAVES} clusters.")
    if not tree.is_supported.all():
        notes.append("Dashed: not supported by held-out samples.")
    return f"<div><b>{title}</b> {' '.join(notes)}{_format_svg(tree)}</div>"


def write_page(
    tree: Tree,
    path: str | os.PathLike,
    X: ArrayLike | None,
    y: ArrayLike | None,
    feature_names: Sequence[str] | None,
    image_shape: tuple[int, ...] | None,
    cluster_names: Sequence[str] | None,
) -> None:
    """Write a dendrogram as one HTML page; see `Dendrogram.export_html`."""
    # Imported here so that this module does not depend on the displays.
    from ..display.html import (
        TreePage,
        choose_image_shape,
        describe_rows,
        image_shape_of,
    )

    if X is None and not (feature_names is None and image_shape is None):
        raise ValueError("feature_names and image_shape describe X, but X is None.")
    page = TreePage(tree, tree.labels, cluster_names)
    if X is not None:
        moments = describe_rows(tree, X, tree.labels)
        image_shape = choose_image_shape(image_shape, image_shape_of(X))
        if feature_names is None:
            feature_names = getattr(X, "columns", None)
        page.add_means(moments, image_shape, feature_names)
    if y is not None:
        page.add_labels(y)
    page.write(path)


def _format_svg(tree: Tree) -> str:
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


def _fold(tree: Tree) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which nodes are drawn, and which of them are drawn as leaves."""
    highest = highest_first(tree.height, tree.leaf_label)
    is_split = np.zeros(tree.n_nodes, dtype=bool)
    is_split[highest[: MAX_LEAVES - 1]] = True
    is_drawn = is_split[tree.parent]
    is_drawn[0] = True
    return is_drawn, is_drawn & ~is_split


def _rows(tree: Tree, is_tip: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the vertical position of each drawn node in pixels, (n_nodes,)."""
    # Label of the leftmost leaf below each node.
    first = leaves_below(tree.parent, tree.leaves).argmax(axis=1)
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


def _name(tree: Tree, node: int) -> str:
    """Return the name of a drawn leaf, and its size."""
    samples = count(int(tree.n_node_samples[node]), "sample", "samples")
    if tree.leaf_label[node] >= 0:
        return f"cluster {tree.leaf_label[node]}: {samples}"
    n_clusters = leaves_below(tree.parent, tree.leaves)[node].sum()
    return f"node {node}: {n_clusters} clusters, {samples}"


def _describe(tree: Tree, node: int) -> str:
    """Return the tooltip of a node."""
    text = count(int(tree.n_node_samples[node]), "sample", "samples")
    text += f", probability {tree.weight[node]:.3g}"
    if tree.leaf_label[node] >= 0:
        return f"cluster {tree.leaf_label[node]}: {text}"
    text = f"node {node}: height {tree.height[node]:.3g} nats, {text}"
    if np.isfinite(tree.support[node]):
        text += f", support {tree.support[node]:.3g} ± {tree.support_error[node]:.1g}"
    return text
