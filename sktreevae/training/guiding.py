"""The guided growth: a neighbour graph proposes the tree, the bound refines it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..model import Topology, TreeVAE
from ..sources import row_slices
from .batches import Features, shuffled_batches
from .gardener import Gardener, surprise
from .layout import fuzzy_graph, layout
from .linkage import Groups, average_linkage, cost, partition
from .loop import Descent, Phase
from .neighbors import InvertedLists, lloyd, nearest_neighbors, nearest_of
from .selection import count_supported

__all__ = ["GraphClustering", "GuidedGrowth", "Hierarchy"]

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

N_ROUTER_STEPS = 400
"""Most update steps of the encoder and the routers alone."""

SURE = 0.1
"""Mean surprise in nats about the leaves of samples at which the routers are good."""

MIN_STEPS = 150
MAX_EPOCHS = 100
"""Least update steps of the joint training, in no more epochs than this; the routers
have no more than these, either."""

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


class GuidedGrowth(Gardener):
    """Propose the whole tree, and train all of it together."""

    def grow(self, hierarchy: Hierarchy) -> TreeVAE:
        """Return a model of a proposal; leaves that stay too small are pruned.

        Parameters
        ----------
        hierarchy : Hierarchy
            Clusters of the training samples, and the tree over them.
        """
        self.noise = torch.zeros(len(self.samples), 1, device=self.train.device)
        # As long as the spacing, whatever the number of features.
        width = math.sqrt(self.features.shape[1])
        self.noise[self.train, 0] = hierarchy.spacing / width
        change = Topology.from_merges(hierarchy.merges.tolist())
        self.plant(change.topology)
        leaves = [change.source[leaf] for leaf in change.topology.leaves]
        position = torch.tensor(np.argsort(leaves)).to(self.train.device)
        target = torch.zeros(len(self.samples), dtype=torch.long).to(self.train.device)
        target[self.train] = position[hierarchy.cluster]
        for leaf in range(len(leaves)):
            members = self.train[target[self.train] == leaf]
            self.model.top_down.start_leaf(leaf, self.mean_of(members))
        n_batches = -(-len(self.train) // self.options.batch_size)
        if len(leaves) > 1:
            self._start_routers(target, min(N_ROUTER_STEPS, MAX_EPOCHS * n_batches))
        min_steps = min(MIN_STEPS, MAX_EPOCHS * n_batches)
        phase = Phase("joint", (0.0, 1.0), self.guidance, min_steps)
        self.train_whole(phase, target)
        self.prune()
        return self.model

    def inputs(self, index: Tensor) -> Tensor:
        """Return features, with noise while the model learns from them.

        A sample could as well lie as far away as its neighbours do. Without such noise
        encoders read the smallest differences between the samples they are trained on,
        and unseen samples lose their way (Bishop 1995).
        """
        features = super().inputs(index)
        if not torch.is_grad_enabled():
            return features
        noise = torch.empty_like(features).normal_(generator=self.generator)
        return features + self.noise[index] * noise

    def _start_routers(self, target: Tensor, n_steps: int) -> None:
        """Train the encoder and the routers alone: no latents, no decoders.

        Such steps are cheap, and the joint training then begins with samples that go
        where they should.

        Parameters
        ----------
        target : Tensor of int of shape (n_samples,)
            Position of the leaf that each sample should go to.
        n_steps : int
            Most update steps; fewer, if the mean surprise of an epoch falls to `SURE`.
        """
        routers = self.model.top_down.q_routers
        descent = Descent(
            [*self.model.bottom_up.parameters(), *routers.parameters()], self.options
        )
        done = 0
        while done < n_steps:
            batches = shuffled_batches(
                len(self.train), self.options.batch_size, self.generator
            )[: n_steps - done]
            total = torch.zeros((), device=self.train.device)
            for step, batch in enumerate(batches, start=done):
                index = self.train[batch]
                inputs = [self.inputs(index)]
                if self.contrast is not None:
                    inputs.append(self.contrast.variants(index))
                with self.options.autocast(index.device):
                    log_path = self.model.route_from(torch.cat(inputs))
                loss = surprise(log_path, target[index].repeat(len(inputs)))
                descent.step(loss, step / n_steps)
                total += loss.detach()
            done += len(batches)
            if total < SURE * len(batches):
                break
