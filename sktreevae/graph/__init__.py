"""From features to a proposed tree: neighbor graph, embedding, partition, linkage."""

from .n_clusters import estimate_n_clusters
from .neighbors import nearest_neighbors
from .proposal import GraphOptions, NeighborGraph, Proposal

__all__ = [
    "GraphOptions",
    "NeighborGraph",
    "Proposal",
    "estimate_n_clusters",
    "nearest_neighbors",
]
