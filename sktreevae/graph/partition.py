"""Partitions of a neighbor graph, by the map equation.

Partitions are of micro-clusters, a few hundred small groups of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from ..tree.arrays import Ints
from ..utils.limits import ROUNDING
from .density import N_COMPONENTS
from .linkage import (
    GRAPH_GAINS,
    Array,
    cut_merges,
    edge_density,
    genie_linkage,
    graph_linkage,
    sum_members,
    sum_pairs,
    ward_linkage,
)
from .micro_clusters import MicroClusters

STEP_WEIGHT = 0.25
"""Weight of the logarithm of the conductance in the cost of a partition, the mean over
steps of a random walk."""

CLUSTER_WEIGHT = 0.2
"""Weight of the mean over clusters."""

MUTUAL_WEIGHT = 0.15
"""Weight of the mean over clusters, of edges between mutual neighbors only."""

WIDE_WEIGHT = 0.2
"""Weight of the graph of more neighbors relative to that of few."""

PRIOR_EDGES = 0.25
"""Number of edges that are added to those that leave a cluster, and to the others. With
0.5, five samples far from 495 others are not always separated."""

MAX_GINI = 0.1, 0.7
"""Gini indices of the linkages that keep the sizes of clusters equal; see
`genie_linkage`. Others in between win on none of 86 sets."""

SPACES = ("embedding", "features")
"""Names of the spaces of the centroids of micro-clusters."""

T = TypeVar("T")


def partition(
    groups: MicroClusters, starts: Mapping[str, Ints], min_size: float = 1
) -> tuple[Ints, dict[str, float]]:
    """Partition micro-clusters so that a random walk rarely changes its cluster.

    A local search improves each of the partitions that are given, also without moves
    from one component to another if each cluster is within a component. A search on the
    graph of more neighbors gives others. Of all these partitions, the one of minimum
    cost is returned.

    Parameters
    ----------
    groups : MicroClusters
        The micro-clusters.
    starts : dict of str to ndarray of int of shape (n_groups,)
        Partitions by name.
    min_size : float, default=1
        Minimum number of samples of a cluster. Of partitions with fewer smaller
        clusters, the one of minimum cost is returned.

    Returns
    -------
    cluster : ndarray of int of shape (n_groups,)
        Cluster of each group, 0 to n_clusters - 1.
    costs : dict of str to float
        Cost in bits of the partition of each method.
    """
    component = groups.merge_small_components(min_size)
    within = {
        name: cluster
        for name, cluster in starts.items()
        if component.any() and _is_within(component, cluster)
    }
    candidates = dict(starts)

    def search(suffix: str, partitions: Mapping[str, NDArray], *graph: NDArray) -> None:
        refined = _map_distinct(lambda c: refine(graph[0], c, *graph[1:]), partitions)
        candidates.update((f"{name}, {suffix}", refined[name]) for name in refined)

    search("refined", starts, groups.edge_weight)
    search("refined within components", within, groups.edge_weight, component)
    search("refined on the wide graph", dict(candidates), groups.wide_weight)
    costs = _map_distinct(partial(partition_cost, groups), candidates)

    def rank(name: str) -> tuple[int, float]:
        n_small = (np.bincount(candidates[name], groups.size) < min_size).sum()
        return n_small, costs[name]

    return candidates[min(candidates, key=rank)], costs


def _map_distinct(
    function: Callable[[Ints], T], partitions: Mapping[str, Ints]
) -> dict[str, T]:
    """Apply a function to partitions by name, once to those that are equal.

    Most searches end in one of a few partitions, whatever the numbers of clusters.
    """
    results: dict[bytes, T] = {}
    mapped = {}
    for name, cluster in partitions.items():
        _, first, index = np.unique(cluster, return_index=True, return_inverse=True)
        key = first[index].tobytes()
        if key not in results:
            results[key] = function(cluster)
        mapped[name] = results[key]
    return mapped


def linkage_partitions(groups: MicroClusters, n_clusters: int) -> dict[str, Ints]:
    """Return the partitions by Ward's method in each space, and by those of the graph.

    Parameters
    ----------
    groups : MicroClusters
        The micro-clusters.
    n_clusters : int
        Number of clusters. All micro-clusters are clusters if there are no more.

    Returns
    -------
    partitions : dict of str to ndarray of int of shape (n_groups,)
        The partitions by name.
    """
    n_groups = len(groups.size)
    if n_clusters >= n_groups:
        return {"micro-clusters": np.arange(n_groups)}
    return {
        name: cut_merges(merges, n_groups, n_clusters)
        for name, merges in linkages(groups).items()
    }


def linkages(groups: MicroClusters) -> dict[str, Ints]:
    """Return merges by Ward's method in each space, and by those of the graph."""
    merges = {
        f"Ward's method, {space}": ward_linkage(centroid, groups.size)
        for space, centroid in zip(SPACES, groups.centroids, strict=False)
    }
    for name, gain in GRAPH_GAINS.items():
        merges[name] = graph_linkage(groups.edge_weight, gain)
    return merges


def separated_partitions(
    groups: MicroClusters, n_clusters: int, min_size: float = 1
) -> dict[str, Ints]:
    """Return partitions into clusters that are separated, whatever their shape.

    Clusters are unions of components, or parts of them if there are more clusters than
    components. Others are those of Genie, for several limits of the Gini index.

    Parameters
    ----------
    groups : MicroClusters
        The micro-clusters.
    n_clusters : int
        Number of clusters. There are no partitions if it isn't less than that of
        micro-clusters.
    min_size : float, default=1
        Minimum number of samples of a component; smaller ones are merged into others.

    Returns
    -------
    partitions : dict of str to ndarray of int of shape (n_groups,)
        The partitions by name.
    """
    n_groups = len(groups.size)
    if n_clusters >= n_groups:
        return {}
    partitions = {}
    for gini in MAX_GINI:
        merges = genie_linkage(groups.distance, groups.size, gini)
        partitions[f"Genie, {gini}"] = cut_merges(merges, n_groups, n_clusters)
    component = groups.merge_small_components(min_size)
    n_components = component.max() + 1
    if n_clusters <= n_components:
        merges = graph_linkage(sum_pairs(groups.flow(), component), edge_density)
        cluster = cut_merges(merges, n_components, n_clusters)[component]
        partitions["components"] = cluster
    elif n_components > 1:
        # Without edges between components, clusters are parts of them.
        is_within = component[:, None] == component
        within = np.where(is_within, groups.edge_weight, 0.0)
        for name, gain in GRAPH_GAINS.items():
            merges = graph_linkage(within, gain)
            cluster = cut_merges(merges, n_groups, n_clusters)
            partitions[f"components, {name}"] = cluster
    return partitions


def partition_cost(groups: MicroClusters, cluster: Ints) -> float:
    """Return the cost of a partition in bits.

    The cost is the sum of three terms: the code length of the map equation, the
    logarithm of the conductance of the clusters, and minus the held-out density of
    Gaussian clusters. For a given number of clusters, the code length alone would
    rather cut a large group in two than separate a small one, even if no edge leads to
    it. The graph alone doesn't show where clusters that overlap have their boundary.

    The mean conductance over steps of a random walk says how well the samples are
    separated, and the mean over clusters how well small clusters are, too. The latter
    is the geometric mean of the conductance of all edges and of the edges between
    mutual neighbors: samples of a small cluster have neighbors outside.

    Parameters
    ----------
    groups : MicroClusters
        The nodes of the graph.
    cluster : ndarray of int of shape (n_groups,)
        Cluster of each node.
    """
    touching = min(1.0, N_COMPONENTS / max(groups.n_dimensions, 1)) ** 2
    cost, wide_cost = (
        _separation_cost(weight, groups.n_edges, cluster, touching)
        for weight in (groups.edge_weight, groups.wide_weight)
    )
    cost = (cost + WIDE_WEIGHT * wide_cost) / (1 + WIDE_WEIGHT)
    mutual = _log_conductance(*_volumes(groups.mutual_weight, cluster), touching)
    cost += MUTUAL_WEIGHT * float(mutual.mean())
    if groups.n_dimensions > 0:
        density = groups.moments.merge(cluster).log_density() / np.log(2)
        # Of many dimensions, the density knows few, and so it weighs less.
        cost -= density / groups.n_dimensions
    return cost


def _separation_cost(
    edge_weight: Array, n_edges: float, cluster: Ints, touching: float
) -> float:
    """Return the part of the cost that depends on one graph, in bits."""
    volume, cut = _volumes(edge_weight, cluster)
    log_conductance = _log_conductance(volume * n_edges, cut * n_edges, touching)
    cost = _code(volume, cut) + STEP_WEIGHT * float(log_conductance @ volume)
    return cost + CLUSTER_WEIGHT * float(log_conductance.mean())


def _is_within(component: Ints, cluster: Ints) -> bool:
    """Return whether each cluster is within one component."""
    pairs = np.unique(np.stack([component, cluster]), axis=1)
    return pairs.shape[1] == cluster.max() + 1


def refine(edge_weight: Array, cluster: Ints, component: Ints | None = None) -> Ints:
    """Move nodes, one at a time, to the cluster where the code is shortest.

    The other terms of the cost aren't searched: where clusters touch, a search finds
    partitions of low conductance that are no clusters.

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
    while search.sweep():
        pass
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

    def __init__(self, edge_weight: Array, cluster: Ints, component: Ints) -> None:
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
        can_move = self._changes(self._nodes).min(axis=0) < -(ROUNDING**2)
        order = np.argsort(-self._node_volume, kind="stable")
        for node in order[can_move[order]]:
            # Moves of others may have changed which cluster is best.
            change = self._changes(self._nodes[node : node + 1])[:, 0]
            new = change.argmin()
            if change[new] < -(ROUNDING**2):
                self._move(node, new)
        return bool(can_move.any())

    def _changes(self, nodes: Ints) -> Array:
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


def _volumes(edge_weight: Array, cluster: Ints) -> tuple[Array, Array]:
    """Return the volume of each cluster, and the weight of the edges that leave it."""
    links = sum_members(edge_weight, cluster)
    volume = links.sum(axis=1)
    inside = links[cluster, np.arange(len(cluster))]
    return volume, volume - np.bincount(cluster, inside)


def _code(volume: Array, cut: Array) -> float:
    """Return the bits per step that describe a random walk, up to a constant.

    This is the two-level map equation (Rosvall and Bergstrom 2008). Names within
    clusters and names of the clusters that are entered describe a walk, so walks rarely
    leave the clusters of a good partition. Unlike modularity, the map equation doesn't
    favor clusters of equal size.
    """
    return float(_plogp(cut.sum()) + _cluster_code(volume, cut).sum())


def _cluster_code(volume: Array, cut: Array) -> Array:
    """Return the part of the code length, in bits, that depends on each cluster."""
    return _plogp(cut + volume) - 2 * _plogp(cut)


def _log_conductance(volume: Array, cut: Array, touching: float) -> Array:
    """Return the logarithm of the relative conductance of each cluster, in bits.

    The conductance is the share of the edges of a cluster that leave it. It is relative
    to the share by chance, so that a cluster of almost all samples isn't separated for
    its size alone. `PRIOR_EDGES` that leave a cluster and as many that don't are added
    to those of each cluster, so that it is less certain that a small cluster is
    separated.

    Parameters
    ----------
    volume, cut : ndarrays of shape (n_clusters,)
        Weight of the edges of each cluster, and of those that leave it. An edge between
        nearest neighbors has weight 1.
    touching : float
        Relative conductance above which clusters touch, so that differences count
        little. It falls with the square of the number of dimensions: in many, most
        samples are near a boundary, and the conductance of clusters that touch says
        less than the code length.
    """
    total = volume.sum()
    # Rounding may make a cut negative.
    conductance = (np.maximum(cut, 0) + PRIOR_EDGES) / (volume + 2 * PRIOR_EDGES)
    by_chance = (total - volume + PRIOR_EDGES) / (total + 2 * PRIOR_EDGES)
    return -np.log2(1 + touching * by_chance / conductance)


def _plogp(p: Array) -> Array:
    """Return p log2(p), and 0 for 0; rounding may make p negative."""
    return -entr(np.maximum(p, 0)) / np.log(2)
