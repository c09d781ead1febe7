"""From a neighbour graph to a binary tree of clusters.

Everything happens between micro-clusters, some hundreds of small groups of samples:
the graph is aggregated to a dense matrix of the weights between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import xlogy

__all__ = ["Groups", "average_linkage", "code_length", "cost", "partition"]

LN_2 = np.log(2.0)
N_SWEEPS = 10
SEPARATION_WEIGHT = 0.1
BACKGROUND = 0.001
"""Total weight of all pairs without an edge, relative to the edges'."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Groups:
    """Small groups of samples, and how they hang together.

    Parameters
    ----------
    flow : ndarray of shape (n_groups, n_groups)
        Share of the weight of all edges between groups; symmetric, sums to 1. It is
        how often a random walk takes these ways.
    size : ndarray of shape (n_groups,)
        Samples of each group.
    places : sequence of ndarrays of shape (n_groups, ...)
        Mean places of the groups, each in a space of its own.
    """

    flow: Array
    size: Array
    places: tuple[Array, ...]

    @classmethod
    def aggregate(
        cls, graph: object, group: NDArray[np.int64], spaces: tuple[Array, ...]
    ) -> Groups:
        """Aggregate a graph, (n_samples, n_samples), and spaces, (n_samples, ...).

        A faint background, a wide heat kernel in the last space, connects groups
        without a common edge, so that one is nearer than the other.
        """
        n_groups = group.max() + 1
        size = np.bincount(group).astype(np.float64)
        edges = graph.tocoo()
        pair = group[edges.row] * n_groups + group[edges.col]
        flow = np.bincount(pair, edges.data, n_groups**2).reshape(n_groups, n_groups)
        places = tuple(_means(space, group) for space in spaces)
        square = _squares(places[-1])
        width = max(np.average(square), np.finfo(np.float64).tiny)
        kernel = np.exp(-square / width) * np.outer(size, size)
        flow = flow / flow.sum() + BACKGROUND * kernel / kernel.sum()
        return cls(flow / flow.sum(), size, places)

    @classmethod
    def single(cls) -> Groups:
        """Return the one group of a single sample."""
        return cls(np.ones((1, 1)), np.ones(1), ())


def partition(groups: Groups, n_clusters: int) -> NDArray[np.int64]:
    """Put groups into clusters so that a random walk rarely changes its cluster.

    Ward's tree in each space and three linkages on the graph propose partitions. They
    compete with what becomes of each when groups are moved, one at a time, to where
    the code is shortest. The one with the least `cost` wins.

    Returns
    -------
    cluster : ndarray of int of shape (n_groups,)
        0 to n_clusters - 1, or fewer where there are fewer groups.
    """
    if n_clusters >= len(groups.size):
        return np.arange(len(groups.size))
    proposals = [_cut(_ward(groups, place), n_clusters) for place in groups.places]
    proposals += [
        _cut(_graph_linkage(groups.flow, gain), n_clusters)
        for gain in (_modularity_by_smaller, _modularity, _average)
    ]
    proposals += list(_refine(groups.flow, np.stack(proposals)))
    return min(proposals, key=lambda cluster: cost(groups.flow, cluster))


def cost(flow: Array, cluster: NDArray[np.int64]) -> float:
    """Tell how bad a partition is, in bits: less is better.

    The length of the code, and a part of the logarithm of how often walks leave their
    cluster, the mean over clusters. With the number of clusters given, the code alone
    would rather cut a large group in two than keep a small one apart, even where no
    edge leads to it.
    """
    volume, leaving = _volumes(flow, cluster)
    conductance = max(np.mean(leaving / volume), np.finfo(np.float64).tiny)
    return code_length(flow, cluster) + SEPARATION_WEIGHT * float(np.log(conductance))


def code_length(flow: Array, cluster: NDArray[np.int64]) -> float:
    """Bits per step that describe a random walk, up to a constant.

    The two-level map equation (Rosvall and Bergstrom 2008). Walks are described by
    names within clusters and by the changes between them, so a good partition is one
    that walks rarely leave. Unlike modularity it doesn't ask for clusters of equal
    size.
    """
    volume, leaving = _volumes(flow, cluster)
    return float(_plogp(leaving.sum()) + _cluster_code(volume, leaving).sum())


def average_linkage(
    flow: Array, cluster: NDArray[np.int64], max_depth: int | None = None
) -> NDArray[np.int64]:
    """Merge clusters, those with the highest density of edges between them first.

    Parameters
    ----------
    flow : ndarray of shape (n_groups, n_groups)
        Weights between groups.
    cluster : ndarray of int of shape (n_groups,)
        Cluster of each group.
    max_depth : int, default=None
        Largest depth of a cluster in the tree, which has place for all; no limit by
        default.

    Returns
    -------
    merges : ndarray of int of shape (n_clusters - 1, 2)
        What is merged, numbered as in `scipy.cluster.hierarchy.linkage`.
    """
    member = np.eye(cluster.max() + 1)[cluster]
    return _graph_linkage(member.T @ flow @ member, _average, max_depth)


# Linkage: each function returns merges, numbered as scipy's.

Gain = Callable[[Array, Array, Array], Array]


def _modularity(flow: Array, volume: Array, others: Array) -> Array:
    return flow - volume * others


def _modularity_by_smaller(flow: Array, volume: Array, others: Array) -> Array:
    return _modularity(flow, volume, others) / np.minimum(volume, others)


def _average(flow: Array, volume: Array, others: Array) -> Array:
    return flow / (volume * others)


def _graph_linkage(
    flow: Array, gain: Gain, max_depth: int | None = None
) -> NDArray[np.int64]:
    flow = flow.copy()
    volume = flow.sum(axis=1)

    def merge(i: int, j: int) -> Array:
        flow[i] += flow[j]
        flow[:, i] += flow[:, j]
        volume[i] += volume[j]
        return gain(flow[i], volume[i], volume)

    return _merge_all(gain(flow, volume[:, None], volume), merge, max_depth)


def _ward(groups: Groups, place: Array) -> NDArray[np.int64]:
    """Ward's linkage of groups of different sizes."""
    place, size = place.copy(), groups.size.copy()

    def merge(i: int, j: int) -> Array:
        total = size[i] + size[j]
        place[i] = (size[i] * place[i] + size[j] * place[j]) / total
        size[i] = total
        square = np.square(place - place[i]).sum(axis=1)
        return -square * size * total / (size + total)

    harmonic = np.outer(size, size) / (size[:, None] + size)
    return _merge_all(-_squares(place) * harmonic, merge)


def _merge_all(
    gain: Array, merge: Callable[[int, int], Array], max_depth: int | None = None
) -> NDArray[np.int64]:
    """Merge the pair with the largest gain until one is left.

    `merge(i, j)` puts j into i and returns the gains of i with all others.
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
            fits = _fits(height, alive, max_depth)
            allowed = np.where(fits, gain, -np.inf)
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
    """Tell which pairs can be merged so that all still finds a place in the tree.

    A tree of depth D has 2^D places, of which a subtree of height h takes 2^h: by
    Kraft's inequality, that is all there is to it.
    """
    places = 2.0 ** (height - max_depth)
    merged = 2.0 ** (np.maximum(height[:, None], height) + 1 - max_depth)
    return places[alive].sum() - places[:, None] - places + merged <= 1.0


def _cut(merges: NDArray[np.int64], n_clusters: int) -> NDArray[np.int64]:
    """Undo the last merges: the cluster of each group."""
    n = len(merges) + 1
    root = np.arange(2 * n - 1)
    for step, pair in reversed(list(enumerate(merges[: n - n_clusters]))):
        root[pair] = root[n + step]
    return np.unique(root[:n], return_inverse=True)[1]


# The map equation.


def _volumes(flow: Array, cluster: NDArray[np.int64]) -> tuple[Array, Array]:
    """Share of a walk's time in each cluster, and of its steps that leave it."""
    inside = np.where(cluster[:, None] == cluster, flow, 0.0)
    volume = np.bincount(cluster, flow.sum(axis=1))
    return volume, volume - np.bincount(cluster, inside.sum(axis=1))


def _cluster_code(volume: Array, leaving: Array) -> Array:
    """Bits of the code that depend on each cluster alone."""
    return _plogp(leaving + volume) - 2 * _plogp(leaving)


def _plogp(p: Array) -> Array:
    return xlogy(p, p) / LN_2


def _refine(flow: Array, clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Move groups, one at a time, to where the code is shortest.

    Parameters
    ----------
    flow : ndarray of shape (n_groups, n_groups)
        Weights between groups.
    clusters : ndarray of int of shape (n_partitions, n_groups)
        Partitions into as many clusters each. They are refined side by side.
    """
    clusters = clusters.copy()
    n_clusters = clusters.max() + 1
    partitions = np.arange(len(clusters))
    volume, leaving = np.stack([_volumes(flow, c) for c in clusters], axis=1)
    count = np.stack([np.bincount(c, minlength=n_clusters) for c in clusters])
    to_cluster = np.stack([flow @ np.eye(n_clusters)[c] for c in clusters])
    group_volume = flow.sum(axis=1)
    outward = group_volume - flow.diagonal()
    for _ in range(N_SWEEPS):
        n_moves = 0
        for i in _by_size(group_volume):
            at = partitions, clusters[:, i]
            links = to_cluster[:, i].copy()
            links[at] -= flow[i, i]
            volume[at] -= group_volume[i]
            leaving[at] += 2 * links[at] - outward[i]
            # What becomes of each cluster, if the group joins it.
            joined = volume + group_volume[i]
            left = np.maximum(leaving + outward[i] - 2 * links, 0)
            code = _plogp(leaving.sum(axis=1, keepdims=True) - leaving + left)
            code += _cluster_code(joined, left) - _cluster_code(volume, leaving)
            new = code.argmin(axis=1)
            # A cluster's last group stays.
            stays = (code[partitions, new] > code[at] - 1e-12) | (count[at] == 1)
            new = np.where(stays, clusters[:, i], new)
            volume[partitions, new] = joined[partitions, new]
            leaving[partitions, new] = left[partitions, new]
            for k in np.flatnonzero(~stays):
                old = clusters[k, i]
                clusters[k, i] = new[k]
                count[k, old] -= 1
                count[k, new[k]] += 1
                to_cluster[k, :, old] -= flow[:, i]
                to_cluster[k, :, new[k]] += flow[:, i]
                n_moves += 1
        if not n_moves:
            break
    return clusters


def _by_size(volume: Array) -> Iterator[int]:
    return iter(np.argsort(-volume, kind="stable").tolist())


def _means(space: Array, group: NDArray[np.int64]) -> Array:
    columns = [np.bincount(group, column) for column in space.T]
    return np.stack(columns, axis=1) / np.bincount(group)[:, None]


def _squares(place: Array) -> Array:
    """Squared distances between all pairs of rows."""
    return cdist(place, place, "sqeuclidean")
