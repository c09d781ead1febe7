"""Agglomerative linkages of clusters, by their positions or by edges between them.

Merges are numbered as in `scipy.cluster.hierarchy.linkage`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

__all__ = [
    "GRAPH_LINKAGES",
    "average_linkage",
    "cut_merges",
    "edge_density",
    "graph_linkage",
    "leaves_below",
    "modularity_gain",
    "relative_modularity_gain",
    "ward_linkage",
]

Array = NDArray[np.float64]

Gain = Callable[[Array, Array, Array], Array]
"""Gain of merging pairs of clusters: a function of the weight of the edges between
them, the volume of the one, and the volume of the other."""


def modularity_gain(edge_weight: Array, volume: Array, other_volume: Array) -> Array:
    """Return the gain in modularity."""
    return edge_weight - volume * other_volume


def relative_modularity_gain(
    edge_weight: Array, volume: Array, other_volume: Array
) -> Array:
    """Return the gain in modularity relative to the smaller volume."""
    gain = modularity_gain(edge_weight, volume, other_volume)
    return gain / np.minimum(volume, other_volume)


def edge_density(edge_weight: Array, volume: Array, other_volume: Array) -> Array:
    """Return the density of the edges, by which average linkage merges."""
    return edge_weight / (volume * other_volume)


def average_linkage(
    edge_weight: Array, cluster: NDArray[np.int64], max_depth: int | None = None
) -> NDArray[np.int64]:
    """Merge the clusters of a partition, the highest density of edges first.

    Parameters
    ----------
    edge_weight : ndarray of shape (n_nodes, n_nodes)
        Weights between the nodes of a graph, symmetric.
    cluster : ndarray of int of shape (n_nodes,)
        Cluster of each node.
    max_depth : int, default=None
        Maximum depth of a cluster in the tree, at least log2(n_clusters); no limit by
        default.

    Returns
    -------
    merges : ndarray of int of shape (n_clusters - 1, 2)
        The pairs that are merged.
    """
    member = np.eye(cluster.max() + 1)[cluster]
    return graph_linkage(member.T @ edge_weight @ member, edge_density, max_depth)


def graph_linkage(
    edge_weight: Array, gain: Gain, max_depth: int | None = None
) -> NDArray[np.int64]:
    """Merge the nodes of a graph, the largest gain first.

    Parameters
    ----------
    edge_weight : ndarray of shape (n_nodes, n_nodes)
        Weights between nodes, symmetric.
    gain : callable
        `modularity_gain`, `relative_modularity_gain` or `edge_density`.
    max_depth : int, default=None
        Maximum depth of a node in the tree; see `average_linkage`.

    Returns
    -------
    merges : ndarray of int of shape (n_nodes - 1, 2)
        The pairs that are merged.
    """
    edge_weight = edge_weight.copy()
    volume = edge_weight.sum(axis=1)

    def merge(i: int, j: int) -> Array:
        edge_weight[i] += edge_weight[j]
        edge_weight[:, i] += edge_weight[:, j]
        volume[i] += volume[j]
        return gain(edge_weight[i], volume[i], volume)

    return _merge_all(gain(edge_weight, volume[:, None], volume), merge, max_depth)


GRAPH_LINKAGES: tuple[Callable[[Array], NDArray[np.int64]], ...] = (
    partial(graph_linkage, gain=relative_modularity_gain),
    partial(graph_linkage, gain=modularity_gain),
    partial(graph_linkage, gain=edge_density),
)
"""Linkages that propose partitions: functions of the weights between nodes."""


def ward_linkage(centroid: Array, size: Array) -> NDArray[np.int64]:
    """Merge clusters of different sizes by Ward's method.

    Parameters
    ----------
    centroid : ndarray of shape (n_clusters, n_dimensions)
        Mean position of each cluster.
    size : ndarray of shape (n_clusters,)
        Number of samples of each cluster.

    Returns
    -------
    merges : ndarray of int of shape (n_clusters - 1, 2)
        The pairs that are merged.
    """
    centroid, size = centroid.copy(), size.copy()

    def merge(i: int, j: int) -> Array:
        total = size[i] + size[j]
        centroid[i] = (size[i] * centroid[i] + size[j] * centroid[j]) / total
        size[i] = total
        square = np.square(centroid - centroid[i]).sum(axis=1)
        return -square * size * total / (size + total)

    harmonic = np.outer(size, size) / (size[:, None] + size)
    return _merge_all(-cdist(centroid, centroid, "sqeuclidean") * harmonic, merge)


def cut_merges(merges: NDArray[np.int64], n_clusters: int) -> NDArray[np.int64]:
    """Undo the last merges: return the cluster of each leaf, (n_leaves,)."""
    n = len(merges) + 1
    root = np.arange(2 * n - 1)
    for step, pair in reversed(list(enumerate(merges[: n - n_clusters]))):
        root[pair] = root[n + step]
    return np.unique(root[:n], return_inverse=True)[1]


def leaves_below(merges: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which leaves are below each node of a tree.

    Parameters
    ----------
    merges : ndarray of int of shape (n_leaves - 1, 2)
        The tree.

    Returns
    -------
    is_below : ndarray of bool of shape (2 * n_leaves - 1, n_leaves)
        A leaf is below itself.

    Examples
    --------
    >>> leaves_below(np.array([[0, 2], [1, 3]])).astype(int)
    array([[1, 0, 0],
           [0, 1, 0],
           [0, 0, 1],
           [1, 0, 1],
           [1, 1, 1]])
    """
    n_leaves = len(merges) + 1
    is_below = np.eye(2 * n_leaves - 1, n_leaves, dtype=bool)
    for node, (left, right) in enumerate(merges, start=n_leaves):
        is_below[node] = is_below[left] | is_below[right]
    return is_below


def _merge_all(
    gain: Array, merge: Callable[[int, int], Array], max_depth: int | None = None
) -> NDArray[np.int64]:
    """Merge the pair with the largest gain until one cluster is left.

    Parameters
    ----------
    gain : ndarray of shape (n_clusters, n_clusters)
        Gain of each merge.
    merge : callable
        ``merge(i, j)`` merges cluster j into cluster i, and returns the gains of merges
        of i with all others.
    max_depth : int, default=None
        Maximum depth of a leaf; no limit by default.
    """
    if max_depth is None:
        max_depth = len(gain)
    gain = gain.copy()
    np.fill_diagonal(gain, -np.inf)
    n = len(gain)
    number = np.arange(n)
    alive = np.ones(n, dtype=bool)
    merges = np.empty((n - 1, 2), dtype=np.int64)
    height = np.zeros(n, dtype=np.int64)
    for step in range(n - 1):
        allowed = gain
        if max_depth < n - 1:
            allowed = np.where(_fits(height, alive, max_depth), gain, -np.inf)
        i, j = sorted(divmod(int(allowed.argmax()), n))
        merges[step] = number[i], number[j]
        height[i] = max(height[i], height[j]) + 1
        number[i] = n + step
        alive[j] = False
        gain[j] = gain[:, j] = -np.inf
        row = np.where(alive, merge(i, j), -np.inf)
        row[i] = -np.inf
        gain[i] = gain[:, i] = row
    return merges


def _fits(
    height: NDArray[np.int64], alive: NDArray[np.bool_], max_depth: int
) -> NDArray[np.bool_]:
    """Return which pairs can be merged so that a tree of limited depth still exists.

    A subtree of height h takes 2^h of the 2^D leaves of a complete tree of depth D. By
    Kraft's inequality, subtrees fit into a tree if and only if their sum does.
    """
    share = 2.0 ** (height - max_depth)
    merged = 2.0 ** (np.maximum(height[:, None], height) + 1 - max_depth)
    return share[alive].sum() - share[:, None] - share + merged <= 1.0
