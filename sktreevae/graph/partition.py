"""Partitions of a neighbor graph, by the map equation.

Partitions are of micro-clusters, a few hundred small groups of samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .linkage import (
    GRAPH_GAINS,
    average_linkage,
    cut_merges,
    graph_linkage,
    sum_members,
    ward_linkage,
)
from .micro_clusters import MicroClusters

__all__ = ["code_length", "partition", "partition_cost"]

TINY = np.finfo(np.float64).tiny

MAX_SWEEPS = 10
"""Maximum number of sweeps over all micro-clusters in the local search."""

MIN_GAIN = 1e-12
"""Minimum reduction of the code length, in bits, for which a micro-cluster is moved."""

CONDUCTANCE_WEIGHT = 0.1
"""Weight of the logarithm of the mean conductance in the cost of a partition."""

SPACES = ("embedding", "features")
"""Names of the spaces of the centroids of micro-clusters."""

Array = NDArray[np.float64]


def partition(
    groups: MicroClusters,
    n_clusters: int,
    component: NDArray[np.int64] | None = None,
    starts: list[NDArray[np.int64]] | None = None,
) -> tuple[NDArray[np.int64], dict[str, float]]:
    """Partition micro-clusters so that a random walk rarely changes its cluster.

    Components are not cut while there are fewer clusters than components: average
    linkage merges them then. Otherwise Ward's linkage in each space and three linkages
    of the graph propose partitions of the components, beside those that are given. A
    local search improves each of them. Of all these partitions, the one of minimum cost
    is returned.

    Parameters
    ----------
    groups : MicroClusters
        The micro-clusters.
    n_clusters : int
        Number of clusters.
    component : ndarray of int of shape (n_groups,), default=None
        Component of each group; ``groups.component`` by default.
    starts : list of ndarrays of int of shape (n_groups,), default=None
        Other partitions into `n_clusters` clusters to start from. Each cluster is
        within one component. Not used if there are as few clusters as components.

    Returns
    -------
    cluster : ndarray of int of shape (n_groups,)
        Cluster of each group, 0 to n_clusters - 1; fewer clusters if there are fewer
        groups.
    costs : dict of str to float
        Cost in bits of the partition of each method. That of least cost is returned.
    """
    n_groups, edge_weight = len(groups.size), groups.edge_weight
    component = groups.component if component is None else component
    n_components = component.max() + 1
    if n_clusters >= n_groups:
        candidates = {"micro-clusters": np.arange(n_groups)}
    elif n_clusters <= n_components:
        merges, _ = average_linkage(groups.flow(), component)
        cluster = cut_merges(merges, n_components, n_clusters)[component]
        candidates = {"groups that stand apart": cluster}
    else:
        candidates = {
            name: cut_merges(merges, n_groups, n_clusters)
            for name, merges in _linkages(groups, component)
        }
        candidates |= {
            f"restart {i}": cluster for i, cluster in enumerate(starts or [], start=1)
        }
        candidates |= {
            f"{name}, refined": refine(edge_weight, cluster, component)
            for name, cluster in candidates.items()
        }
    costs = {
        name: partition_cost(edge_weight, cluster)
        for name, cluster in candidates.items()
    }
    return candidates[min(costs, key=costs.__getitem__)], costs


def _linkages(
    groups: MicroClusters, component: NDArray[np.int64]
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Return names and merges of the linkages that propose partitions."""
    for space, centroid in zip(SPACES, groups.centroids, strict=False):
        yield f"Ward's method, {space}", ward_linkage(centroid, groups.size, component)
    for gain, merge in GRAPH_GAINS.items():
        yield gain, graph_linkage(groups.edge_weight, merge, component)[0]


def partition_cost(edge_weight: Array, cluster: NDArray[np.int64]) -> float:
    """Return the cost of a partition in bits.

    The cost is the code length of the map equation plus a multiple of the logarithm of
    the mean conductance, the probability that a random walk leaves its cluster. For a
    given number of clusters, the code length alone would rather cut a large group in
    two than separate a small one, even if no edge leads to it.

    Parameters
    ----------
    edge_weight : ndarray of shape (n_nodes, n_nodes)
        Weights between the nodes of a graph, symmetric, of sum 1.
    cluster : ndarray of int of shape (n_nodes,)
        Cluster of each node.
    """
    volume, cut = _volumes(edge_weight, cluster)
    conductance = max(np.mean(cut / volume), TINY)
    return _code(volume, cut) + CONDUCTANCE_WEIGHT * float(np.log(conductance))


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
    return _code(*_volumes(edge_weight, cluster))


def refine(
    edge_weight: Array,
    cluster: NDArray[np.int64],
    component: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Move nodes, one at a time, to the cluster where the code is shortest.

    Parameters
    ----------
    edge_weight : ndarray of shape (n_nodes, n_nodes)
        Weights between the nodes of a graph, symmetric, of sum 1.
    cluster : ndarray of int of shape (n_nodes,)
        A partition.
    component : ndarray of int of shape (n_nodes,), default=None
        Nodes stay in clusters of their component, which the partition refines; all
        nodes are of one component by default.

    Returns
    -------
    cluster : ndarray of int of shape (n_nodes,)
        A partition into as many clusters, of no greater code length.
    """
    if component is None:
        component = np.zeros_like(cluster)
    search = _LocalSearch(edge_weight, cluster, component)
    for _ in range(MAX_SWEEPS):
        if not search.sweep():
            break
    return search.cluster


class _LocalSearch:
    """A partition, with the sums that moves of nodes change.

    Parameters
    ----------
    edge_weight : ndarray of shape (n_nodes, n_nodes)
        Weights between nodes.
    cluster : ndarray of int of shape (n_nodes,)
        The partition.
    component : ndarray of int of shape (n_nodes,)
        Component of each node.
    """

    def __init__(
        self,
        edge_weight: Array,
        cluster: NDArray[np.int64],
        component: NDArray[np.int64],
    ) -> None:
        self.cluster = cluster.copy()
        self._edge_weight = edge_weight
        self._nodes = np.arange(len(cluster))
        self._node_volume = edge_weight.sum(axis=1)
        self._node_cut = self._node_volume - edge_weight.diagonal()
        self._volume, self._cut = _volumes(edge_weight, cluster)
        self._count = np.bincount(cluster)
        self._component = component
        self._cluster_component = np.empty_like(self._count)
        self._cluster_component[cluster] = component
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
        """Return the change of the code length if each node joins each cluster.

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
        code = _cluster_code(self._volume, self._cut)
        total = self._cut.sum()
        change = _plogp(total + left + joined) - _plogp(total)
        change -= code[:, None] + code[old]
        volume, cut = self._volume[:, None], self._cut[:, None]
        change += _cluster_code(volume + node_volume, cut + joined)
        change += _cluster_code(self._volume[old] - node_volume, self._cut[old] + left)
        change[current] = 0
        change[:, self._count[old] == 1] = 0
        change[self._cluster_component[:, None] != self._component[nodes]] = 0
        return change

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


def _code(volume: Array, cut: Array) -> float:
    """Return the code length in bits."""
    return float(_plogp(cut.sum()) + _cluster_code(volume, cut).sum())


def _cluster_code(volume: Array, cut: Array) -> Array:
    """Return the part of the code length, in bits, that depends on each cluster."""
    return _plogp(cut + volume) - 2 * _plogp(cut)


def _plogp(p: Array) -> Array:
    """Return p log2(p), and 0 for 0; rounding may make p negative."""
    return p * np.log2(np.maximum(p, TINY))
