"""The tree above the clusters of a partition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..tree.arrays import Ints
from .linkage import (
    Array,
    cut_merges,
    edge_density,
    graph_linkage,
    relative_modularity_gain,
    sum_pairs,
)
from .micro_clusters import MicroClusters
from .partition import linkages, partition_cost


class ClusterTree(NamedTuple):
    """A tree above clusters.

    Parameters
    ----------
    merges : ndarray of int of shape (n_clusters - 1, 2)
        The pairs that are merged, numbered as in `scipy.cluster.hierarchy.linkage`.
    height : ndarray of shape (n_clusters - 1,)
        Heights of the merges in nats, in increasing order; see `separations`.
    excess_cost : ndarray of shape (n_clusters - 1,)
        Cost of the cut before each merge, in bits above that of the best partition
        into as many unions of the clusters that is known; see `partition_cost`.
    """

    merges: Ints
    height: Array
    excess_cost: Array


def cluster_tree(
    clusters: MicroClusters,
    max_depth: int | None = None,
    walk_lengths: tuple[float, ...] = (1e1, 1e2, 1e3, 1e4, 1e5),
) -> ClusterTree:
    """Return the tree whose cuts are the best partitions.

    Each length of the random walks gives a tree, in which the pair with the largest
    relative gain in modularity is merged first. Long walks show the large structure,
    and short ones the small structure. Of these trees, the one whose cuts have the
    least mean cost is returned.

    Parameters
    ----------
    clusters : MicroClusters
        The clusters of a partition.
    max_depth : int, default=None
        Maximum depth of a cluster in the tree; see `graph_linkage`.
    walk_lengths : tuple of float, default=(1e1, 1e2, 1e3, 1e4, 1e5)
        Mean numbers of steps. On digits, Fashion-MNIST, Omniglot, blood cells, zoo,
        text, embeddings and nested Gaussians, one of the first three is the best, and
        none of them always is. Groups of unequal sizes that are far from each other
        need more than 1000.
    """
    flows = (clusters.flow(n_steps) for n_steps in walk_lengths)
    candidates = [
        graph_linkage(flow, relative_modularity_gain, max_depth) for flow in flows
    ]
    costs = np.array([_cut_costs(clusters, merges) for merges in candidates])
    best = costs.sum(axis=1).argmin()
    others = [_cut_costs(clusters, merges) for merges in linkages(clusters).values()]
    excess = costs[best] - np.min([*costs, *others], axis=0)
    merges = candidates[best]
    return ClusterTree(merges, separations(clusters.flow(), merges), excess)


def _cut_costs(clusters: MicroClusters, merges: Ints) -> Array:
    """Return the cost of the cut before each merge, (n_clusters - 1,)."""
    n = len(merges) + 1
    cuts = (cut_merges(merges, n, k) for k in range(n, 1, -1))
    return np.array([partition_cost(clusters, cut) for cut in cuts])


def separations(flow: Array, merges: Ints) -> Array:
    """Return the separation of all clusters before each merge.

    The density of two clusters is d = f / (v w), where f is the flow between them, and
    v and w are their volumes. Their separation is log(1 + 1 / d). The separation of
    several clusters has the 4-norm of the densities of all pairs in the
    place of d, so that no two of them are less separated. A merge drops a density, and
    averages others. So separations rise, in whatever order clusters are merged.

    Parameters
    ----------
    flow : ndarray of shape (n_clusters, n_clusters)
        Frequencies of random walks between clusters, symmetric.
    merges : ndarray of int of shape (n_clusters - 1, 2)
        The tree.

    Returns
    -------
    height : ndarray of shape (n_clusters - 1,)
        Separations in nats, in increasing order.
    """
    n = len(flow)
    height = np.empty(n - 1)
    for step in range(n - 1):
        between = sum_pairs(flow, cut_merges(merges, n, n - step))
        volume = between.sum(axis=1)
        density = edge_density(between, volume[:, None], volume)
        pairs = np.triu_indices(n - step, 1)
        height[step] = np.log1p(1 / np.linalg.norm(density[pairs], 4))
    # Rounding may lower a separation.
    return np.maximum.accumulate(height)
