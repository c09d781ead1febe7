"""From features to a proposed tree: neighbor graph, embedding, partition, linkage."""

from .cluster_tree import ClusterTree
from .n_clusters import split_p_values
from .neighbors import nearest_neighbors
from .proposal import GraphOptions, NeighborGraph, Proposal
from .selection import best_proposal

__all__ = [
    "ClusterTree",
    "GraphOptions",
    "NeighborGraph",
    "Proposal",
    "best_proposal",
    "nearest_neighbors",
    "split_p_values",
]
