"""From features to a proposed tree: neighbor graph, embedding, partition, linkage."""

from .cluster_tree import ClusterTree
from .n_clusters import split_p_values
from .neighbors import nearest_neighbors
from .proposal import GraphOptions, NeighborGraph, Proposal

__all__ = [
    "ClusterTree",
    "GraphOptions",
    "NeighborGraph",
    "Proposal",
    "nearest_neighbors",
    "split_p_values",
]
