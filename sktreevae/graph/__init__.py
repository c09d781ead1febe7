"""From features to a proposed tree: neighbor graph, embedding, partition, linkage."""

from .cluster_tree import ClusterTree
from .n_clusters import count_supported, split_support
from .neighbors import nearest_neighbors
from .proposal import GraphOptions, NeighborGraph, Proposal

__all__ = [
    "ClusterTree",
    "GraphOptions",
    "NeighborGraph",
    "Proposal",
    "count_supported",
    "nearest_neighbors",
    "split_support",
]
