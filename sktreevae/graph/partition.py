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
from scipy.spatial.distance import cdist
from scipy.special import xlogy

from .linkage import GRAPH_LINKAGES, cut_merges, ward_linkage

__all__ = ["MicroClusters", "code_length", "partition", "partition_cost"]

LN_2 = np.log(2.0)

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
        centroids = tuple(_means(values, assignment) for values in embeddings)
        square = cdist(centroids[-1], centroids[-1], "sqeuclidean")
        width = max(np.average(square), np.finfo(np.float64).tiny)
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
    candidates += list(refine(edge_weight, np.stack(candidates)))
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
    conductance = max(np.mean(cut / volume), np.finfo(np.float64).tiny)
    length = code_length(edge_weight, cluster)
    return length + CONDUCTANCE_WEIGHT * float(np.log(conductance))


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
    return float(_plogp(cut.sum()) + _cluster_code(volume, cut).sum())


def refine(edge_weight: Array, cluster: NDArray[np.int64]) -> NDArray[np.int64]:
    """Move nodes, one at a time, to the cluster where the code is shortest.

    Parameters
    ----------
    edge_weight : ndarray of shape (n_nodes, n_nodes)
        Weights between the nodes of a graph, symmetric, of sum 1.
    cluster : ndarray of int of shape (n_partitions, n_nodes)
        Partitions into an equal number of clusters, which are refined side by side.

    Returns
    -------
    cluster : ndarray of int of shape (n_partitions, n_nodes)
        Partitions of no greater code length.
    """
    search = _LocalSearch(edge_weight, cluster)
    order = np.argsort(-edge_weight.sum(axis=1), kind="stable").tolist()
    for _ in range(MAX_SWEEPS):
        moved = [search.move(node) for node in order]
        if not any(moved):
            break
    return search.cluster


class _LocalSearch:
    """Partitions, with the sums that moves of nodes change.

    Parameters
    ----------
    edge_weight : ndarray of shape (n_nodes, n_nodes)
        Weights between nodes.
    cluster : ndarray of int of shape (n_partitions, n_nodes)
        Partitions.
    """

    def __init__(self, edge_weight: Array, cluster: NDArray[np.int64]) -> None:
        n_clusters = cluster.max() + 1
        self.cluster = cluster.copy()
        self._edge_weight = edge_weight
        self._partitions = np.arange(len(cluster))
        self._node_volume = edge_weight.sum(axis=1)
        self._node_cut = self._node_volume - edge_weight.diagonal()
        volumes = [_volumes(edge_weight, c) for c in cluster]
        self._volume, self._cut = np.stack(volumes, axis=1)
        counts = [np.bincount(c, minlength=n_clusters) for c in cluster]
        self._count = np.stack(counts)
        weights = [edge_weight @ np.eye(n_clusters)[c] for c in cluster]
        self._to_cluster = np.stack(weights)

    def move(self, node: int) -> bool:
        """Move a node to its best cluster in each partition; return if any changed."""
        # Take the node out of its cluster.
        old = self.cluster[:, node]
        current = self._partitions, old
        links = self._to_cluster[:, node].copy()
        links[current] -= self._edge_weight[node, node]
        self._volume[current] -= self._node_volume[node]
        self._cut[current] += 2 * links[current] - self._node_cut[node]
        # Volume and cut of each cluster, if the node joins it.
        volume = self._volume + self._node_volume[node]
        cut = np.maximum(self._cut + self._node_cut[node] - 2 * links, 0)
        code = _plogp(self._cut.sum(axis=1, keepdims=True) - self._cut + cut)
        code += _cluster_code(volume, cut) - _cluster_code(self._volume, self._cut)
        new = code.argmin(axis=1)
        # The last node of a cluster stays.
        best, before = code[self._partitions, new], code[current]
        stays = (best > before - MIN_GAIN) | (self._count[current] == 1)
        new = np.where(stays, old, new)
        chosen = self._partitions, new
        self._volume[chosen] = volume[chosen]
        self._cut[chosen] = cut[chosen]
        for k in np.flatnonzero(~stays):
            self._reassign(k, node, new[k])
        return not stays.all()

    def _reassign(self, k: int, node: int, new: int) -> None:
        """Change the cluster of a node in partition k."""
        old = self.cluster[k, node]
        self.cluster[k, node] = new
        self._count[k, old] -= 1
        self._count[k, new] += 1
        self._to_cluster[k, :, old] -= self._edge_weight[:, node]
        self._to_cluster[k, :, new] += self._edge_weight[:, node]


def _volumes(edge_weight: Array, cluster: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return the volume of each cluster, and the weight of the edges that leave it."""
    inside = np.where(cluster[:, None] == cluster, edge_weight, 0.0)
    volume = np.bincount(cluster, edge_weight.sum(axis=1))
    return volume, volume - np.bincount(cluster, inside.sum(axis=1))


def _cluster_code(volume: Array, cut: Array) -> Array:
    """Return the part of the code length, in bits, that depends on each cluster."""
    return _plogp(cut + volume) - 2 * _plogp(cut)


def _plogp(p: Array) -> Array:
    return xlogy(p, p) / LN_2


def _means(values: Array, assignment: NDArray[np.int64]) -> Array:
    """Return the mean of the rows of each group, (n_groups, n_dimensions)."""
    columns = [np.bincount(assignment, column) for column in values.T]
    return np.stack(columns, axis=1) / np.bincount(assignment)[:, None]
