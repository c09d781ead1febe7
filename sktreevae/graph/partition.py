"""Partitions of a neighbor graph, by the map equation.

Partitions are of micro-clusters, a few hundred small groups of samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from .linkage import (
    GRAPH_GAINS,
    average_linkage,
    cut_merges,
    genie_linkage,
    graph_linkage,
    sum_members,
    ward_linkage,
)
from .micro_clusters import MicroClusters

__all__ = ["code_length", "partition", "partition_cost", "refine"]

TINY = np.finfo(np.float64).tiny

MAX_SWEEPS = 10
"""Maximum number of sweeps over all micro-clusters in the local search."""

MIN_GAIN = 1e-12
"""Minimum reduction of the code length, in bits, for which a micro-cluster is moved."""

CONDUCTANCE_WEIGHT = 0.2
"""Weight of the conductance of a cluster in the cost of a partition, relative to the
sum of the cluster's share of the samples and its share of the clusters."""

DENSITY_WEIGHT = 1.5
"""Weight of the held-out density, in bits per sample and principal component, in the
cost of a partition."""

MAX_GINI = 0.1, 0.3, 0.5, 0.7
"""Gini indices of the linkages that keep the sizes of clusters equal; see
`genie_linkage`."""

SPACES = ("embedding", "features")
"""Names of the spaces of the centroids of micro-clusters."""

Array = NDArray[np.float64]


def partition(
    groups: MicroClusters,
    n_clusters: int,
    min_size: float = 1,
    starts: Mapping[str, NDArray[np.int64]] = MappingProxyType({}),
) -> tuple[NDArray[np.int64], dict[str, float]]:
    """Partition micro-clusters so that a random walk rarely changes its cluster.

    Linkages of positions, distances and edges propose partitions, beside those that are
    given. A local search improves each of them. Of all these partitions, the one of
    minimum cost is returned.

    Parameters
    ----------
    groups : MicroClusters
        The micro-clusters.
    n_clusters : int
        Number of clusters.
    min_size : float, default=1
        Minimum number of samples of a cluster. Of partitions with fewer smaller
        clusters, the one of minimum cost is returned.
    starts : dict of str to ndarray of int of shape (n_groups,), default={}
        Other partitions into `n_clusters` clusters, by name.

    Returns
    -------
    cluster : ndarray of int of shape (n_groups,)
        Cluster of each group, 0 to n_clusters - 1; fewer clusters if there are fewer
        groups.
    costs : dict of str to float
        Cost in bits of the partition of each method.
    """
    n_groups = len(groups.size)
    if n_clusters >= n_groups:
        candidates = {"micro-clusters": np.arange(n_groups)}
    else:
        candidates = {**_linked(groups, n_clusters, min_size), **starts}
        candidates |= {
            f"{name}, refined": refine(groups, cluster)
            for name, cluster in candidates.items()
        }
    costs = {
        name: partition_cost(groups, cluster) for name, cluster in candidates.items()
    }

    def rank(name: str) -> tuple[int, float]:
        n_small = (np.bincount(candidates[name], groups.size) < min_size).sum()
        return n_small, costs[name]

    return candidates[min(candidates, key=rank)], costs


def _linked(
    groups: MicroClusters, n_clusters: int, min_size: float
) -> dict[str, NDArray[np.int64]]:
    """Return the partitions that linkages propose, by the name of the linkage."""
    n_groups = len(groups.size)
    component = groups.merge_small_components(min_size)[groups.component]
    n_components = component.max() + 1
    linkages = {}
    for space, centroid in zip(SPACES, groups.centroids, strict=False):
        linkages[f"Ward's method, {space}"] = ward_linkage(centroid, groups.size)
    for gain, merge in GRAPH_GAINS.items():
        linkages[gain] = graph_linkage(groups.edge_weight, merge)[0]
    for gini in MAX_GINI:
        name = f"Genie, {gini}"
        linkages[name] = genie_linkage(groups.distance, groups.size, gini)
    candidates = {
        name: cut_merges(merges, n_groups, n_clusters)
        for name, merges in linkages.items()
    }
    if n_clusters <= n_components:
        merges, _ = average_linkage(groups.flow(), component)
        cluster = cut_merges(merges, n_components, n_clusters)[component]
        candidates["components"] = cluster
    else:
        for gain, merge in GRAPH_GAINS.items():
            merges = graph_linkage(groups.edge_weight, merge, component)[0]
            cluster = cut_merges(merges, n_groups, n_clusters)
            candidates[f"components, {gain}"] = cluster
    return candidates


def partition_cost(groups: MicroClusters, cluster: NDArray[np.int64]) -> float:
    """Return the cost of a partition in bits.

    The cost is a sum of three terms: the code length of the map equation; the logarithm
    of the conductance of the clusters, the probability that a random walk leaves its
    cluster; and minus the held-out density of Gaussian clusters. For a given number of
    clusters, the code length alone would rather cut a large group in two than separate
    a small one, even if no edge leads to it. The graph alone doesn't tell the shapes of
    clusters that overlap.

    Parameters
    ----------
    groups : MicroClusters
        The nodes of the graph.
    cluster : ndarray of int of shape (n_groups,)
        Cluster of each node.
    """
    cost = graph_cost(groups, cluster)
    n_components = groups.moments.total.shape[2]
    if n_components > 0:
        density = groups.moments.merge(cluster).log_density() / np.log(2)
        cost -= DENSITY_WEIGHT / n_components * density
    return cost


def graph_cost(groups: MicroClusters, cluster: NDArray[np.int64]) -> float:
    """Return the part of the cost that depends on the graph; see `partition_cost`."""
    volume, cut = _volumes(groups.edge_weight, cluster)
    code = _cluster_code(volume, cut, groups.n_edges, len(volume))
    return float(_plogp(cut.sum()) + code.sum())


def code_length(edge_weight: Array, cluster: NDArray[np.int64]) -> float:
    """Return the bits per step that describe a random walk, up to a constant.

    This is the two-level map equation (Rosvall and Bergstrom 2008). Names within
    clusters and names of the clusters that are entered describe a walk, so walks rarely
    leave the clusters of a good partition. Unlike modularity, the map equation doesn't
    favor clusters of equal size.

    Parameters
    ----------
    edge_weight : ndarray of shape (n_nodes, n_nodes)
        Weights between the nodes of a graph, symmetric, of sum 1.
    cluster : ndarray of int of shape (n_nodes,)
        Cluster of each node.
    """
    volume, cut = _volumes(edge_weight, cluster)
    return float(_plogp(cut.sum()) + _map_equation(volume, cut).sum())


def refine(groups: MicroClusters, cluster: NDArray[np.int64]) -> NDArray[np.int64]:
    """Move nodes, one at a time, to the cluster where the graph's cost is lowest.

    Parameters
    ----------
    groups : MicroClusters
        The nodes of the graph.
    cluster : ndarray of int of shape (n_groups,)
        A partition.

    Returns
    -------
    cluster : ndarray of int of shape (n_groups,)
        A partition into as many clusters, of no greater `graph_cost`.
    """
    search = _LocalSearch(groups, cluster)
    for _ in range(MAX_SWEEPS):
        if not search.sweep():
            break
    return search.cluster


class _LocalSearch:
    """A partition, with the sums that moves of nodes change.

    Parameters
    ----------
    groups : MicroClusters
        The nodes of the graph.
    cluster : ndarray of int of shape (n_groups,)
        The partition.
    """

    def __init__(self, groups: MicroClusters, cluster: NDArray[np.int64]) -> None:
        self.cluster = cluster.copy()
        self._edge_weight = edge_weight = groups.edge_weight
        self._n_edges = groups.n_edges
        self._nodes = np.arange(len(cluster))
        self._node_volume = edge_weight.sum(axis=1)
        self._node_cut = self._node_volume - edge_weight.diagonal()
        self._volume, self._cut = _volumes(edge_weight, cluster)
        self._count = np.bincount(cluster)
        # Weights between each cluster and each node, without that of the node itself.
        self._links = sum_members(edge_weight, cluster)
        self._links[cluster, self._nodes] -= edge_weight.diagonal()

    def sweep(self) -> bool:
        """Move the nodes that have a better cluster, largest first; return if any."""
        can_move = self._changes(self._nodes).min(axis=0) < -MIN_GAIN
        order = np.argsort(-self._node_volume, kind="stable")
        for node in order[can_move[order]]:
            # Moves of others may have changed which cluster is best.
            change = self._changes(self._nodes[node : node + 1])[:, 0]
            new = change.argmin()
            if change[new] < -MIN_GAIN:
                self._move(node, new)
        return bool(can_move.any())

    def _changes(self, nodes: NDArray[np.int64]) -> Array:
        """Return the change of the graph's cost if each node joins each cluster.

        Parameters
        ----------
        nodes : ndarray of int of shape (n_nodes,)
            The nodes.

        Returns
        -------
        change : ndarray of shape (n_clusters, n_nodes)
            Bits; 0 for the cluster of a node, and for the last node of a cluster.
        """
        old = self.cluster[nodes]
        current = old, np.arange(len(nodes))
        node_volume = self._node_volume[nodes]
        # Changes of the cuts of the cluster that a node joins, and of that it leaves.
        joined = self._node_cut[nodes] - 2 * self._links[:, nodes]
        left = -joined[current]
        code = self._code(self._volume, self._cut)
        total = self._cut.sum()
        change = _plogp(total + left + joined) - _plogp(total)
        change -= code[:, None] + code[old]
        volume, cut = self._volume[:, None], self._cut[:, None]
        change += self._code(volume + node_volume, cut + joined)
        change += self._code(self._volume[old] - node_volume, self._cut[old] + left)
        change[current] = 0
        change[:, self._count[old] == 1] = 0
        return change

    def _code(self, volume: Array, cut: Array) -> Array:
        return _cluster_code(volume, cut, self._n_edges, len(self._volume))

    def _move(self, node: int, new: int) -> None:
        """Move a node to another cluster."""
        old = self.cluster[node]
        self.cluster[node] = new
        links = self._links[:, node].copy()
        for c, sign in ((old, -1), (new, 1)):
            self._count[c] += sign
            self._volume[c] += sign * self._node_volume[node]
            self._cut[c] += sign * (self._node_cut[node] - 2 * links[c])
            self._links[c] += sign * self._edge_weight[node]
        self._links[:, node] = links


def _volumes(edge_weight: Array, cluster: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return the volume of each cluster, and the weight of the edges that leave it."""
    links = sum_members(edge_weight, cluster)
    volume = links.sum(axis=1)
    inside = links[cluster, np.arange(len(cluster))]
    return volume, volume - np.bincount(cluster, inside)


def _map_equation(volume: Array, cut: Array) -> Array:
    """Return the part of the code length, in bits, that depends on each cluster."""
    return _plogp(cut + volume) - 2 * _plogp(cut)


def _cluster_code(volume: Array, cut: Array, n_edges: float, n_clusters: int) -> Array:
    """Return the part of the graph's cost, in bits, that depends on each cluster.

    The conductance has the prior of half an edge in either direction, so that a small
    cluster without an edge that leaves it is less certain than a large one.
    """
    # Rounding may make a cut negative.
    left = np.maximum(cut, 0) * n_edges + 0.5
    conductance = left / (np.maximum(volume, 0) * n_edges + 1)
    weight = CONDUCTANCE_WEIGHT * (volume + 1 / n_clusters)
    return _map_equation(volume, cut) + weight * np.log2(conductance)


def _plogp(p: Array) -> Array:
    """Return p log2(p), and 0 for 0; rounding may make p negative."""
    return p * np.log2(np.maximum(p, TINY))
