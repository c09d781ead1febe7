"""Agglomerative linkages of clusters, by their positions or by edges between them.

Merges are numbered as in `scipy.cluster.hierarchy.linkage`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import minimum_spanning_tree
from sklearn.metrics.pairwise import euclidean_distances

from ..tree.arrays import Ints

Array = NDArray[np.float64]

Gain = Callable[[Array, Array, Array], Array]
"""Gain of merging pairs of clusters: a function of the weight of the edges between
them, the volume of the one, and the volume of the other."""


def relative_modularity_gain(
    edge_weight: Array, volume: Array, other_volume: Array
) -> Array:
    """Return the gain in modularity relative to the smaller volume."""
    gain = edge_weight - volume * other_volume
    return gain / np.minimum(volume, other_volume)


def edge_density(edge_weight: Array, volume: Array, other_volume: Array) -> Array:
    """Return the density of the edges relative to that of a graph without clusters."""
    return edge_weight / (volume * other_volume)


GRAPH_GAINS: dict[str, Gain] = {
    "relative modularity": relative_modularity_gain,
    "edge density": edge_density,
}
"""Gains of the linkages that propose partitions, by name."""


def graph_linkage(edge_weight: Array, gain: Gain, max_depth: int | None = None) -> Ints:
    """Merge the nodes of a graph, the largest gain first.

    Parameters
    ----------
    edge_weight : ndarray of shape (n_nodes, n_nodes)
        Weights between nodes, symmetric.
    gain : callable
        `relative_modularity_gain` or `edge_density`.
    max_depth : int, default=None
        Maximum depth of a node in the tree, at least log2(n_nodes); no limit by
        default.

    Returns
    -------
    merges : ndarray of int of shape (n_nodes - 1, 2)
        The pairs that are merged.
    """
    n = len(edge_weight)
    volume = edge_weight.sum(axis=1)
    # Pairs with a weight of minus infinity can't be merged.
    weight = edge_weight.copy()
    np.fill_diagonal(weight, -np.inf)
    number = np.arange(n)
    height = np.zeros(n)
    is_limited = max_depth is not None and max_depth < n - 1
    # An upper bound of the gains of each node: merges of others, and the limit of
    # the depth, only exclude pairs or add new gains.
    bound = gain(weight, volume[:, None], volume).max(axis=1)
    merges = np.empty((n - 1, 2), dtype=np.int64)
    step = 0
    while step < n - 1:
        i = bound.argmax()
        gains = gain(weight[i], volume[i], volume)
        if is_limited:
            gains[~_fits(height, i, max_depth)] = -np.inf
        j = gains.argmax()
        if gains[j] < bound[i]:
            bound[i] = gains[j]
            continue
        i, j = min(i, j), max(i, j)
        merges[step] = number[i], number[j]
        number[i] = n + step
        height[i], height[j] = max(height[i], height[j]) + 1, -np.inf
        volume[i] += volume[j]
        weight[i] += weight[j]
        weight[:, i] = weight[i]
        weight[:, j] = -np.inf
        gains = gain(weight[i], volume[i], volume)
        np.maximum(bound, gains, out=bound)
        bound[i], bound[j] = gains.max(), -np.inf
        step += 1
    return merges


def _fits(height: Array, i: int, max_depth: int) -> NDArray[np.bool_]:
    """Return what can be merged with i so that a tree of limited depth still exists.

    A subtree of height h takes 2^h of the 2^D leaves of a complete tree of depth D. By
    Kraft's inequality, subtrees fit into a tree if and only if their sum does. Nodes
    that were merged into others have a height of minus infinity.
    """
    share = 2.0 ** (height - max_depth)
    merged = 2 * np.maximum(share[i], share)
    return share.sum() - share[i] - share + merged <= 1.0


def genie_linkage(distance: Array, size: Array, max_gini: float) -> Ints:
    """Merge the nearest clusters while their sizes are equal enough.

    This is Genie (Gagolewski et al. 2016): single linkage, but while the Gini index of
    the sizes is above `max_gini`, only merges of a smallest cluster are allowed.

    Parameters
    ----------
    distance : ndarray of shape (n_clusters, n_clusters)
        Distances, symmetric.
    size : ndarray of shape (n_clusters,)
        Number of samples of each cluster.
    max_gini : float
        Gini index of the sizes, from 0 to 1, above which merges are restricted.

    Returns
    -------
    merges : ndarray of int of shape (n_clusters - 1, 2)
        The pairs that are merged, in the order in which they are.
    """
    n = len(size)
    # A constant doesn't change the tree. For scipy, small numbers are missing edges.
    tree = minimum_spanning_tree(1 + distance / (distance.max() or 1)).tocoo()
    order = np.argsort(tree.data, kind="stable")
    ends = np.stack([tree.row, tree.col])[:, order].astype(np.int64)
    number = np.arange(n)
    size = size.astype(np.float64)
    is_cluster = np.ones(n, dtype=bool)
    merges = np.empty((n - 1, 2), dtype=np.int64)
    for step in range(n - 1):
        sizes = size[is_cluster]
        position = 0
        if _differences(sizes) > max_gini * (len(sizes) - 1) * sizes.sum():
            is_allowed = (size[ends] == sizes.min()).any(axis=0)
            position = int(is_allowed.argmax())
        i, j = ends[:, position]
        ends = np.delete(ends, position, axis=1)
        ends[ends == j] = i
        merges[step] = number[i], number[j]
        number[i] = n + step
        is_cluster[j] = False
        size[i] += size[j]
    return merges


def _differences(size: Array) -> float:
    """Return the sum of the differences between all pairs."""
    n = len(size)
    return (2 * np.arange(n) - n + 1) @ np.sort(size)


def ward_linkage(centroid: Array, size: Array) -> Ints:
    """Merge clusters of different sizes by Ward's method.

    All pairs of clusters that are nearest to each other are merged at once, since
    Ward's method merges each of them before it merges either with a third. Merges are
    then numbered in the order of their costs.

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
    n = len(size)
    size = size.copy()
    square = square_distances(centroid)
    number = np.arange(n)
    height = np.zeros(2 * n - 1)
    merges = np.empty((0, 2), dtype=np.int64)
    while len(merges) < n - 1:
        cost = square / (1 / size[:, None] + 1 / size)
        np.fill_diagonal(cost, np.inf)
        i, j = _reciprocal_pairs(cost)
        pairs = number[np.array([i, j]).T]
        number[i] = n + len(merges) + np.arange(len(i))
        # Rounding must not put a merge below its parts.
        height[number[i]] = np.maximum(cost[i, j], height[pairs].max(axis=1))
        merges = np.concatenate([merges, pairs])
        _merge_means(square, size, i, j)
        keep = np.ones(len(number), dtype=bool)
        keep[j] = False
        square, size, number = square[keep][:, keep], size[keep], number[keep]
    return _in_order(merges, height[n:])


def _reciprocal_pairs(cost: Array) -> tuple[Ints, Ints]:
    """Return the pairs i < j in which each is the nearest of the other."""
    # If costs are exactly symmetric, and the first of equal ones counts as the nearest,
    # then there is a pair.
    nearest = np.minimum(cost, cost.T).argmin(axis=1)
    index = np.arange(len(nearest))
    i = np.flatnonzero((nearest[nearest] == index) & (index < nearest))
    return i, nearest[i]


def _merge_means(square: Array, size: Array, i: Ints, j: Ints) -> None:
    """Merge each cluster of j into one of i, in place.

    The squared distance to the mean of two points is the mean of the squared distances
    to both, less their variance.

    Parameters
    ----------
    square : ndarray of shape (n_clusters, n_clusters)
        Squared distances between the means of clusters.
    size : ndarray of shape (n_clusters,)
        Number of samples of each cluster.
    i, j : ndarrays of int of shape (n_pairs,)
        Disjoint pairs.
    """
    total = size[i] + size[j]
    first, second = size[i] / total, size[j] / total
    variance = first * second * square[i, j]
    rows = first[:, None] * square[i] + second[:, None] * square[j]
    rows -= variance[:, None]
    square[i], square[:, i] = rows, rows.T
    square[np.ix_(i, i)] = first * rows[:, i] + second * rows[:, j] - variance
    size[i] = total


def _in_order(merges: Ints, height: Array) -> Ints:
    """Return merges in the order of their heights. No merge is below its parts."""
    n_merges = len(merges)
    order = np.argsort(height, kind="stable")
    # The old place of each new number, and its inverse.
    leaves = np.arange(n_merges + 1)
    number = np.argsort(np.concatenate([leaves, n_merges + 1 + order]))
    return number[merges[order]]


def square_distances(x: Array) -> Array:
    """Return the squared Euclidean distances between rows."""
    # Centered, since rounding errors are relative to the norms.
    return euclidean_distances(x - x.mean(axis=0), squared=True)


def sum_members(rows: Array, cluster: Ints, n_clusters: int | None = None) -> Array:
    """Sum rows over the members of each cluster, (n_clusters, n_columns).

    By default, the last cluster has members.
    """
    n = len(cluster)
    shape = None if n_clusters is None else (n_clusters, n)
    return sparse.csc_array((np.ones(n), cluster, np.arange(n + 1)), shape) @ rows


def sum_pairs(weight: Array, cluster: Ints) -> Array:
    """Sum weights between nodes over the members of each pair of clusters."""
    return sum_members(sum_members(weight, cluster).T, cluster)


def cut_merges(merges: Ints, n_leaves: int, n_clusters: int) -> Ints:
    """Merge until `n_clusters` remain: return the cluster of each leaf, (n_leaves,)."""
    root = list(range(2 * n_leaves - 1))
    kept = merges[: n_leaves - n_clusters].tolist()
    for step, (i, j) in reversed(list(enumerate(kept))):
        root[i] = root[j] = root[n_leaves + step]
    return np.unique(root[:n_leaves], return_inverse=True)[1]
