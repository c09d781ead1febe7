"""The graph of nearest neighbours, and the hierarchies that it proposes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..sources import row_slices
from .batches import Features
from .layout import fuzzy_graph, layout
from .linkage import Groups, average_linkage, cost, partition
from .neighbors import InvertedLists, lloyd, nearest_neighbors, nearest_of
from .selection import count_supported

__all__ = ["GraphClustering", "Hierarchy"]

N_LANDMARKS = 100_000
"""Most samples that the graph is made of; others follow the nearest of these."""

N_GROUPS = 320
N_GROUPS_PER_CLUSTER = 5
"""Micro-clusters between which the tree is found: at least so many, and so many for
each cluster that is asked for."""

N_RESTARTS = 10
"""Random starts of the `N_GROUPS` micro-clusters; the least cost wins. More groups take
longer, and differ less: they have one start."""

MIN_NEIGHBORS = 3

MAX_CLUSTERS = 64
MIN_CLUSTER_SIZE = 8
"""Most clusters, and mean size of the smallest, where their number is looked for."""


@dataclass(frozen=True)
class Hierarchy:
    """A proposal for a tree.

    Parameters
    ----------
    cluster : Tensor of int of shape (n_samples,)
        Cluster of each sample.
    merges : ndarray of int of shape (n_clusters - 1, 2)
        What is merged, numbered as in `scipy.cluster.hierarchy.linkage`.
    spacing : Tensor of shape (n_samples,)
        Median distance of each sample's neighbours.
    """

    cluster: Tensor
    merges: NDArray[np.int64]
    spacing: Tensor

    def sides(self, min_samples: int) -> Tensor | None:
        """Return who goes left, 0, and right, 1, where both sides are large enough.

        Smaller groups that part above go with the larger side. None if there is no
        such place in the tree.
        """
        n_clusters = len(self.merges) + 1
        below = list(np.eye(n_clusters, dtype=bool))
        for left, right in self.merges:
            below.append(below[left] | below[right])
        size = np.bincount(self.cluster.numpy(force=True), minlength=n_clusters)
        node = len(below) - 1
        while node >= n_clusters:
            left, right = self.merges[node - n_clusters]
            n_left, n_right = size[below[left]].sum(), size[below[right]].sum()
            if min(n_left, n_right) >= min_samples:
                is_right = below[right] if n_right <= n_left else ~below[left]
                return torch.from_numpy(is_right).to(self.cluster)[self.cluster]
            node = left if n_left > n_right else right
        return None


class GraphClustering:
    """Hierarchies of the graph of nearest neighbours.

    A layout of the graph in few dimensions gives micro-clusters. Several linkages and
    moves find the partition of these that a random walk on the graph rarely leaves;
    average linkage on the graph gives the tree above it.

    Parameters
    ----------
    features : Tensor or Features of shape (n_samples, n_features)
        Data, scaled so that distances mean something.
    generator : torch.Generator
        The source of randomness, on the device of the features.
    max_clusters : int, default=None
        The most that will be asked for; `MAX_CLUSTERS` by default.
    """

    def __init__(
        self,
        features: Tensor | Features,
        generator: torch.Generator,
        max_clusters: int | None = None,
    ) -> None:
        self.features = features
        self._generator = generator
        chosen = slice(None)
        if len(features) > N_LANDMARKS:
            order = torch.randperm(
                len(features), generator=generator, device=features.device
            )
            chosen = order[:N_LANDMARKS]
        self.landmarks = features[chosen]
        n = len(self.landmarks)
        if n < 2:
            group = np.zeros(n, dtype=np.int64)
            self.groupings = [(group, Groups.single())]
            self.spacing = self.landmarks.new_zeros(n)
            return
        n_neighbors = min(max(MIN_NEIGHBORS, round(np.log2(n))), n - 1)
        index, distance = nearest_neighbors(self.landmarks, n_neighbors, generator)
        self.spacing = distance.median(1).values
        graph = fuzzy_graph(index, distance)
        places = layout(graph, generator)
        spaces = tuple(s.double().numpy(force=True) for s in (places, self.landmarks))
        n_groups = max(N_GROUPS, N_GROUPS_PER_CLUSTER * (max_clusters or MAX_CLUSTERS))
        self.groupings = []
        for _ in range(N_RESTARTS if n > n_groups == N_GROUPS else 1):
            group = _micro_clusters(places, n_groups, generator)
            self.groupings.append((group, Groups.aggregate(graph, group, spaces)))

    def hierarchy(self, n_clusters: int, max_depth: int | None = None) -> Hierarchy:
        """Return the tree with the least cost, of all restarts.

        Parameters
        ----------
        n_clusters : int
            Leaves of the tree.
        max_depth : int, default=None
            Largest depth of a leaf; there are fewer where there is no place for all.
        """
        # A numpy integer has no bit_length, and 2**max_depth may be too large for it.
        if max_depth is not None and max_depth < int(n_clusters).bit_length():
            n_clusters = min(n_clusters, 2 ** int(max_depth))
        best = None
        for group, groups in self.groupings:
            cluster = partition(groups, n_clusters)
            price = cost(groups.flow, cluster)
            if best is None or price < best[0]:
                merges = average_linkage(groups.flow, cluster, max_depth)
                best = (price, cluster[group], merges)
        _, labels, merges = best
        cluster = torch.from_numpy(labels).to(self.features.device)
        spacing = self.spacing
        if len(self.landmarks) < len(self.features):
            cluster, spacing = cluster[self._nearest], spacing[self._nearest]
        return Hierarchy(cluster, merges, spacing)

    @cached_property
    def _nearest(self) -> Tensor:
        """The landmark that each sample follows, (n_samples,)."""
        lists = InvertedLists(self.landmarks, self._generator)
        return torch.cat(
            [
                lists.nearest(self.features[rows])
                for rows in row_slices(*self.features.shape)
            ]
        )

    def find_n_clusters(self, rng: np.random.Generator) -> int:
        """Find how many clusters held-out samples support; see `count_supported`."""
        n = len(self.features)
        fine = self.hierarchy(max(1, min(MAX_CLUSTERS, n // MIN_CLUSTER_SIZE)))
        cluster = fine.cluster.numpy(force=True)
        return count_supported(self.features, cluster, fine.merges, rng)


def _micro_clusters(
    places: Tensor, n_groups: int, generator: torch.Generator
) -> NDArray[np.int64]:
    if len(places) <= n_groups:
        return np.arange(len(places))
    group = nearest_of(places, lloyd(places, n_groups, generator))
    return np.unique(group.numpy(force=True), return_inverse=True)[1]
