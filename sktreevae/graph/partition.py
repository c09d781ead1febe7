"""Partitions of a neighbor graph, by the map equation.

Partitions are of micro-clusters, a few hundred small groups of samples. The graph is
aggregated to a dense matrix of the weights between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .linkage import (
    GRAPH_LINKAGES,
    cut_merges,
    square_distances,
    sum_members,
    ward_linkage,
)

__all__ = ["MicroClusters", "code_length", "partition", "partition_cost"]

TINY = np.finfo(np.float64).tiny

MAX_SWEEPS = 10
"""Maximum number of sweeps over all micro-clusters in the local search."""

MIN_GAIN = 1e-12
"""Minimum reduction of the code length, in bits, for which a micro-cluster is moved."""

CONDUCTANCE_WEIGHT = 0.1
"""Weight of the logarithm of the mean conductance in the cost of a partition."""

BACKGROUND_WEIGHT = 0.001
"""Total weight of all pairs without an edge, relative to the weight of the edges."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MicroClusters:
    """Small groups of samples, and the edges between them.

    Parameters
    ----------
    edge_weight : ndarray of shape (n_groups, n_groups)
        Fraction of the weight of all edges between groups, symmetric. A random walk on
        the graph takes these steps with this frequency.
    size : ndarray of shape (n_groups,)
        Number of samples of each group.
    centroids : tuple of ndarrays of shape (n_groups, n_dimensions)
        Mean positions of the groups in several spaces.
    """

    edge_weight: Array
    size: Array
    centroids: tuple[Array, ...]

    @classmethod
    def aggregate(
        cls,
        graph: sparse.csr_array,
        assignment: NDArray[np.int64],
        embeddings: tuple[Array, ...],
    ) -> Self:
        """Aggregate a graph of samples.

        A wide heat kernel in the last embedding, of small weight, connects groups
        without a common edge, so that their distance matters.

        Parameters
        ----------
        graph : sparse array of shape (n_samples, n_samples)
            Weights of the edges, symmetric.
        assignment : ndarray of int of shape (n_samples,)
            Group of each sample, 0 to n_groups - 1.
        embeddings : tuple of ndarrays of shape (n_samples, n_dimensions)
            Positions of the samples in several spaces.
        """
        n_groups = assignment.max() + 1
        size = np.bincount(assignment).astype(np.float64)
        edges = graph.tocoo()
        pair = assignment[edges.row] * n_groups + assignment[edges.col]
        weight = np.bincount(pair, edges.data, n_groups**2)
        weight = weight.reshape(n_groups, n_groups)
        centroids = tuple(
            sum_members(values, assignment) / size[:, None] for values in embeddings
        )
        square = square_distances(centroids[-1])
        width = max(np.average(square), TINY)
        kernel = np.exp(-square / width) * np.outer(size, size)
        weight = weight / weight.sum() + BACKGROUND_WEIGHT * kernel / kernel.sum()
        return cls(weight / weight.sum(), size, centroids)

    @classmethod
    def single(cls) -> Self:
        """Return the group of a single sample."""
        return cls(np.ones((1, 1)), np.ones(1), ())


def partition(groups: MicroClusters, n_clusters: int) -> NDArray[np.int64]:
    """Partition micro-clusters so that a random walk rarely changes its cluster.

    Ward's linkage in each space and three linkages of the graph propose partitions.
    A local search improves each of them. Of all these partitions, the one of minimum
    cost is returned.

    Parameters
    ----------
    groups : MicroClusters
        The micro-clusters.
    n_clusters : int
        Number of clusters.

    Returns
    -------
    cluster : ndarray of int of shape (n_groups,)
        Cluster of each group, 0 to n_clusters - 1; fewer clusters if there are fewer
        groups.
    """
    if n_clusters >= len(groups.size):
        return np.arange(len(groups.size))
    edge_weight = groups.edge_weight
    trees = [ward_linkage(centroid, groups.size) for centroid in groups.centroids]
    trees += [linkage(edge_weight) for linkage in GRAPH_LINKAGES]
    candidates = [cut_merges(merges, n_clusters) for merges in trees]
    candidates += [refine(edge_weight, cluster) for cluster in candidates]
    return min(candidates, key=lambda cluster: partition_cost(edge_weight, cluster))


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


def refine(edge_weight: Array, cluster: NDArray[np.int64]) -> NDArray[np.int64]:
    """Move nodes, one at a time, to the cluster where the code is shortest.

    Parameters
    ----------
    edge_weight : ndarray of shape (n_nodes, n_nodes)
        Weights between the nodes of a graph, symmetric, of sum 1.
    cluster : ndarray of int of shape (n_nodes,)
        A partition.

    Returns
    -------
    cluster : ndarray of int of shape (n_nodes,)
        A partition into as many clusters, of no greater code length.
    """
    search = _LocalSearch(edge_weight, cluster)
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
    """

    def __init__(self, edge_weight: Array, cluster: NDArray[np.int64]) -> None:
        self.cluster = cluster.copy()
        self._edge_weight = edge_weight
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
