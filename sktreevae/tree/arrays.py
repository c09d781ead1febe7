"""Arithmetic of trees: structure and cuts as arrays over the nodes.

A tree is the parent of each node, numbered from the root, or a sequence of merges,
numbered from the leaves as in `scipy.cluster.hierarchy.linkage`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNIFICANCE = 0.05
"""Maximum p-value of a supported split."""

Ints = NDArray[np.int64]


def children_of(parent: Ints) -> tuple[Ints, Ints]:
    """Return the children of each node, (n_nodes,) each; -1 for leaves.

    Raises
    ------
    ValueError
        If the parents do not describe a binary tree, numbered breadth first.
    """
    if len(parent) == 0 or parent[0] != -1 or (np.diff(parent) < 0).any():
        raise ValueError(
            "parent must start with -1, the root's, and be non-decreasing, "
            f"got {parent.tolist()}."
        )
    if (parent[1:] >= np.arange(1, len(parent))).any() or (parent[1:] < 0).any():
        raise ValueError(
            f"each parent must come before its children, got {parent.tolist()}."
        )
    if not np.isin(np.bincount(parent[1:], minlength=1), (0, 2)).all():
        raise ValueError(
            f"every node must have two children or none, got {parent.tolist()}."
        )
    children_left = np.full(len(parent), -1)
    children_right = np.full(len(parent), -1)
    left, right = np.arange(1, len(parent), 2), np.arange(2, len(parent), 2)
    children_left[parent[left]] = left
    children_right[parent[right]] = right
    return children_left, children_right


def depths_of(parent: Ints) -> Ints:
    """Return the number of edges between each node and the root, (n_nodes,)."""
    depth = np.zeros(len(parent), dtype=np.int64)
    for node in range(1, len(parent)):
        depth[node] = depth[parent[node]] + 1
    return depth


def label_leaves(children_left: Ints, children_right: Ints) -> Ints:
    """Label the leaves from left to right, (n_nodes,); -1 for other nodes."""
    leaf_label = np.full(len(children_left), -1)
    stack, label = [0], 0
    while stack:
        node = stack.pop()
        if children_left[node] < 0:
            leaf_label[node] = label
            label += 1
        else:
            stack += [children_right[node], children_left[node]]
    return leaf_label


def leaves_below(parent: Ints, leaves: Ints) -> NDArray[np.bool_]:
    """Return which leaves are below each node, (n_nodes, n_leaves).

    Parameters
    ----------
    parent : ndarray of int of shape (n_nodes,)
        Parent of each node, with a smaller number.
    leaves : ndarray of int of shape (n_leaves,)
        Node of each leaf label.

    Examples
    --------
    >>> leaves_below(np.array([-1, 0, 0]), np.array([1, 2])).astype(int)
    array([[1, 1],
           [1, 0],
           [0, 1]])
    """
    return sum_below(parent, leaves, np.eye(len(leaves), dtype=bool))


def sum_below(parent: Ints, leaves: Ints, values: NDArray[Any]) -> NDArray[Any]:
    """Return the sum over the leaves below each node, (n_nodes, ...).

    Parameters
    ----------
    parent, leaves : ndarray of int
        The tree, as for `leaves_below`.
    values : ndarray of shape (n_leaves, ...)
        Value of each leaf.

    Examples
    --------
    >>> sum_below(np.array([-1, 0, 0]), np.array([1, 2]), np.array([5, 2]))
    array([7, 5, 2])
    """
    total = np.zeros((len(parent), *values.shape[1:]), dtype=values.dtype)
    total[leaves] = values
    for node in range(len(parent) - 1, 0, -1):
        total[parent[node]] += total[node]
    return total


def parents_of_merges(merges: Ints) -> Ints:
    """Return the parent of each node of a tree of merges, (2 * n_leaves - 1,).

    Nodes are numbered in reverse, so that the root is node 0.

    Examples
    --------
    >>> parents_of_merges(np.array([[0, 2], [1, 3]]))
    array([-1,  0,  1,  0,  1])
    """
    n_merges = len(merges)
    parent = np.full(2 * n_merges + 1, -1)
    parent[2 * n_merges - merges] = np.arange(n_merges)[::-1, None]
    return parent


def sum_below_merges(merges: Ints, values: NDArray[Any]) -> NDArray[Any]:
    """Return the sum over the leaves below each node, (2 * n_leaves - 1, ...).

    Parameters
    ----------
    merges : ndarray of int of shape (n_leaves - 1, 2)
        The tree.
    values : ndarray of shape (n_leaves, ...)
        Value of each leaf.
    """
    n_merges = len(merges)
    leaves = np.arange(2 * n_merges, n_merges - 1, -1)
    return sum_below(parents_of_merges(merges), leaves, values)[::-1]


def leaves_below_merges(merges: Ints) -> NDArray[np.bool_]:
    """Return which leaves are below each node, (2 * n_leaves - 1, n_leaves).

    Examples
    --------
    >>> leaves_below_merges(np.array([[0, 2], [1, 3]])).astype(int)
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 0, 1],
           [1, 0, 1],
           [1, 1, 1]])
    """
    return sum_below_merges(merges, np.eye(len(merges) + 1, dtype=bool))


def highest_first(height: NDArray[np.float64], leaf_label: Ints) -> Ints:
    """Return the internal nodes by decreasing height, lower numbers first among equals.

    The highest ones are the splits of a cut.
    """
    internal = np.flatnonzero(leaf_label < 0)
    return internal[np.argsort(-height[internal], kind="stable")]


def balanced_merges(
    labels: Ints, n_leaves: int
) -> tuple[NDArray[np.float64], list[int | None]]:
    """Merge the observations of each leaf into one cluster, in a balanced tree.

    Returns
    -------
    Z : ndarray of shape (n_merges, 4)
        Rows of a linkage matrix, of height 0.
    clusters : list of (int or None) of length n_leaves
        Cluster that each leaf has become; None for a leaf without observations.
    """
    rows = [np.zeros((0, 4))]
    clusters: list[int | None] = []
    n_clusters = len(labels)
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=n_leaves)
    for queue in np.split(order, np.cumsum(sizes)[:-1]):
        counts = np.ones(len(queue))
        while len(queue) > 1:
            n_paired = len(queue) // 2 * 2
            pairs = np.sort(queue[:n_paired].reshape(-1, 2), axis=1)
            merged = counts[:n_paired].reshape(-1, 2).sum(axis=1)
            rows.append(np.column_stack([pairs, np.zeros(len(pairs)), merged]))
            new = n_clusters + np.arange(len(pairs))
            queue = np.append(new, queue[n_paired:])
            counts = np.append(merged, counts[n_paired:])
            n_clusters += len(pairs)
        clusters.append(int(queue[0]) if len(queue) else None)
    return np.concatenate(rows), clusters


def salient_cuts(
    persistence: NDArray[np.float64],
    is_supported: NDArray[np.bool_],
    ratio: float = 1.6,
) -> Ints:
    """Return the numbers of clusters of the cuts that stand out, in increasing order.

    They are the cuts of large persistence, and the finest supported cut.

    Parameters
    ----------
    persistence : ndarray of shape (n_leaves - 1,)
        Persistence of the cuts into 2, 3, ... clusters.
    is_supported : ndarray of bool of shape (n_leaves - 1,)
        Whether each split may be the finest of a cut.
    ratio : float, default=1.6
        A cut is compared with cuts into up to so many times more, or fewer, clusters.
    """
    n_clusters = np.arange(2, len(persistence) + 2)
    is_salient = is_supported & (persistence > 0)
    for i, k in enumerate(n_clusters):
        is_near = (k < ratio * n_clusters) & (n_clusters < ratio * k)
        is_salient[i] &= persistence[i] >= persistence[is_near].max()
    is_salient[np.flatnonzero(is_supported)[-1:]] = True
    return n_clusters[is_salient]
