"""The iterative growth of a tree (section 2.5 of the paper), and pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor, nn

from ..model import Gaussian, Routing, TopDown, Topology, TreeVAE
from ..sources import row_slices
from .batches import Features, Samples, map_blocks, subset
from .contrast import router_contrast
from .gardener import Gardener, surprise
from .loop import Evaluation, Phase
from .proposals import GraphClustering

__all__ = ["IterativeGrowth"]

KL_GROWING = 0.15
"""What the weight of the divergences rises to while the tree grows, as in the paper:
almost an autoencoder, which is what lets clusters form."""

SPLITS_PER_REFRESH = 3

MOST_PIECES = 8
"""Clusters among which two are looked for that are large enough to be leaves."""

N_START_ROWS = 100_000
"""Most samples that a new router begins with."""

CHERRY = Topology.single_leaf().split(0).topology
"""A root and two leaves."""


class IterativeGrowth(Gardener):
    """Grow a tree by splitting leaves, and train it."""

    router_dim = 32
    """What tells new leaves may be far from linear in a frozen encoder's embeddings."""

    def grow(self) -> TreeVAE:
        """Return a model with `n_clusters` leaves, or fewer where no more are found."""
        distinct = self._are_distinct(self.train)
        single = self.growth.n_clusters == 1 or self.growth.max_depth == 0
        topology = Topology.single_leaf() if single or not distinct else CHERRY
        self.plant(topology)
        if topology is CHERRY:
            target = torch.zeros(len(self.samples), dtype=torch.long)
            target = target.to(self.train.device)
            target[self.train] = self._propose(self.train)
            some = self.train[_some(len(self.train)).to(self.train.device)]
            root = map_blocks(
                lambda x: self.model.bottom_up(x)[0], subset(self.features, some)
            )
            self.model.top_down.start_router(root, target[some])
            self._start_leaves(self.model.top_down, self.train, target[self.train])
            self.train_whole(Phase("initial", (0.0, KL_GROWING), self.guidance), target)
            self.prune()
            self._split_leaves()
        self.train_whole(Phase("finetune", (KL_GROWING, 1.0), self.guidance))
        self.prune()
        return self.model

    def _split_leaves(self) -> None:
        """Split one leaf after the other, until there are enough or none can be."""
        refused: set[int] = set()
        n_splits = 0
        while len(self.model.topology.leaves) < self.growth.n_clusters:
            leaf = self._choose_leaf(refused)
            # Pruning takes leaves away again, so the number of splits is bounded.
            if leaf is None or n_splits == 2 * self.growth.n_clusters:
                break
            change = self.model.topology.split(leaf)
            if not self._split(leaf):
                refused.add(leaf)
                continue
            n_splits += 1
            refused = {i for i, source in enumerate(change.source) if source in refused}
            grown = len(self.model.topology.leaves) >= self.growth.n_clusters
            if n_splits % SPLITS_PER_REFRESH == 0 and not grown:
                self.train_whole(Phase("refresh", (0.0, KL_GROWING), self.guidance))
                if self.prune():
                    refused = set()

    def _choose_leaf(self, refused: set[int]) -> int | None:
        """Choose the leaf to split, or none."""
        positions = self.positions()
        tree = self.model.topology
        max_depth = self.growth.max_depth
        if max_depth is None:
            max_depth = tree.n_nodes
        counts = positions.bincount(minlength=len(tree.leaves)).tolist()
        candidates = [
            position
            for position, leaf in enumerate(tree.leaves)
            if leaf not in refused
            and tree.node_depths[leaf] < max_depth
            and counts[position] >= 2 * self.min_samples
            and self._are_distinct(torch.nonzero(positions == position)[:, 0])
        ]
        if not candidates:
            return None
        priorities = self._priorities()
        return tree.leaves[max(candidates, key=lambda position: priorities[position])]

    def _priorities(self) -> list[float]:
        """How much each leaf calls for a split, by the criterion chosen."""
        total = torch.zeros(len(self.model.topology.leaves), device=self.train.device)
        for rows in row_slices(*self.samples.shape):
            path = map_blocks(self._leaf_path, self.features[rows])
            if self.growth.split_criterion == "n_samples":
                total += (path >= self._threshold()).sum(0)
                continue
            quality = self._leaf_elbo
            if self.growth.split_criterion == "reconstruction":
                quality = self._leaf_reconstruction
            total -= (path * map_blocks(quality, self.samples[rows])).sum(0)
        return total.tolist()

    def _leaf_path(self, features: Tensor) -> Tensor:
        return self.model.route_from(features).T.exp()

    def _leaf_elbo(self, x: Tensor) -> Tensor:
        return self.model.leaf_elbo(x).T

    def _leaf_reconstruction(self, x: Tensor) -> Tensor:
        top_down = self.model.top_down
        return top_down.leaf_log_prob(self.model.infer(x), x).T

    def _threshold(self) -> float:
        """Least P(l | x) of the samples that take part in the split of a leaf."""
        return min(1.0 / len(self.model.topology.leaves), 0.5)

    def _split(self, leaf: int) -> bool:
        """Split a leaf, but for a dead split: tell if both children have samples."""
        position = self.model.topology.leaves.index(leaf)
        member = map_blocks(
            lambda x: self._leaf_path(x)[:, position] >= self._threshold(),
            self.features,
        )
        train = self.train[member[self.train]]
        validation = self.validation[member[self.validation]]
        if len(train) < 2:
            return False
        index = torch.cat([train, validation])
        activate = partial(self._activations, leaf)
        activations = _ActivationsByBatch(activate, index)
        if not isinstance(self.features, Features):
            activations = activate(index)
        before = self.model.top_down
        children = before.sprout(self.generator)
        target = torch.zeros_like(index)
        target[: len(train)] = self._propose(train)
        some = _some(len(train)).to(index.device)
        children.start_router(activations[some].embedding, target[some])
        self._start_leaves(children, train, target[: len(train)])
        part = _NewLeaves(
            children,
            activations,
            self.samples,
            index,
            target,
            self.generator,
            contrast_weight=self.contrast.options.weight if self.contrast else 0.0,
            n_leaves=len(self.model.topology.leaves) + 1,
        )
        everyone = torch.arange(len(index), device=index.device)
        phase = Phase("split", (0.0, KL_GROWING), self.guidance)
        self.run(phase, part, everyone[: len(train)], everyone[len(train) :])
        self.model.top_down = before.graft(leaf, children)
        if self.leaf_counts().min() < self.min_samples:
            self.model.top_down = before
            return False
        return True

    def _propose(self, index: Tensor) -> Tensor:
        """Propose a leaf for each sample: 0, the left one, or 1.

        These are two clusters of the graph, or as many more as it takes to find two
        that are large enough to be leaves.
        """
        features = subset(self.features, index)
        graph = GraphClustering(features, self.generator, MOST_PIECES)
        for n_clusters in range(2, MOST_PIECES + 1):
            side = graph.hierarchy(n_clusters).sides(self.min_samples)
            if side is not None:
                return side
        return graph.hierarchy(2).cluster

    def _start_leaves(self, top_down: TopDown, index: Tensor, target: Tensor) -> None:
        """Let two leaves begin with the samples that they are proposed for."""
        for leaf in target.unique().tolist():
            top_down.start_leaf(leaf, self.mean_of(index[target == leaf]))

    @torch.no_grad()
    def _activations(self, leaf: int, index: Tensor) -> _Activations:
        """Compute, once, all that the frozen tree hands to the children of a leaf."""
        depth = self.model.topology.node_depths[leaf]
        row = self.model.topology.levels[depth].index(leaf)
        parts = []
        for rows in index.split(self.options.batch_size):
            features = self.features[rows]
            noise = self.model.draw_noise(len(rows), self.generator)
            x = self.samples[rows]
            embeddings = self.model.bottom_up(features)
            evidence = self.model.evidence(embeddings, x)
            posterior = self.model.infer_with(embeddings, evidence, noise)
            q = posterior.levels[depth].q
            last = len(embeddings) - 1
            part = [
                embeddings[min(depth, last)],
                evidence[min(depth + 1, last)],
                q.mean[row],
                q.variance[row],
                posterior.routing.log_paths[depth][row],
            ]
            if self.contrast is not None:
                variants = self.model.bottom_up(self.contrast.variants(rows))
                log_paths = self.model.route_with(variants).log_paths
                part += [variants[min(depth, last)], log_paths[depth][row]]
            parts.append(part)
        return _Activations(*map(torch.cat, zip(*parts, strict=True)))

    def _are_distinct(self, index: Tensor) -> bool:
        """Tell whether some samples aren't all the same."""
        first = self.samples[index[:1]]
        return any(
            (self.samples[rows] != first).any()
            for rows in index.split(self.options.batch_size)
        )


@dataclass(frozen=True)
class _Activations:
    """What the frozen part of a tree hands to the children of a leaf.

    The embedding that its router reads, the evidence that its children read, the leaf's
    q(z | x), given one draw of the latents above it, and log P(leaf | x); the embedding
    of a variant of each sample, if there are any, and log P(leaf | variant).
    """

    embedding: Tensor
    evidence_below: Tensor
    mean: Tensor
    variance: Tensor
    log_path: Tensor
    variant: Tensor | None = None
    variant_log_path: Tensor | None = None

    def __getitem__(self, index: Tensor) -> _Activations:
        """Return those of some samples."""
        tensors = (getattr(self, field.name) for field in fields(self))
        return _Activations(*(t if t is None else t[index] for t in tensors))


@dataclass(frozen=True)
class _ActivationsByBatch:
    """The same, computed for each batch where there is no place for those of all."""

    compute: Callable[[Tensor], _Activations]
    index: Tensor

    def __getitem__(self, rows: Tensor) -> _Activations:
        return self.compute(self.index[rows])


def _some(n: int) -> Tensor:
    """Return all of n positions, or as many as a router begins with, evenly spaced."""
    return torch.arange(0, n, max(1, -(-n // N_START_ROWS)))


class _NewLeaves:
    """A router and two leaves below a frozen tree, as a part to train."""

    def __init__(
        self,
        children: TopDown,
        activations: _Activations | _ActivationsByBatch,
        samples: Samples,
        index: Tensor,
        target: Tensor,
        generator: torch.Generator,
        *,
        contrast_weight: float,
        n_leaves: int,
    ) -> None:
        self.children = children
        self.activations = activations
        self.samples = samples
        self.index = index
        self.target = target
        self.generator = generator
        self.contrast_weight = contrast_weight
        self.n_leaves = n_leaves

    def parameters(self) -> Iterable[nn.Parameter]:
        # What the new leaves share with others is frozen.
        return (p for p in self.children.parameters() if p.requires_grad)

    def evaluate(self, index: Tensor) -> Evaluation:
        a = self.activations[index]
        parent = Gaussian(a.mean, a.variance)
        posterior = self.children.infer(
            [a.embedding],
            [a.evidence_below],
            parent,
            root_prior=parent,
            root_log_path=a.log_path,
            noise=self.children.draw_noise(len(index), self.generator),
        )
        terms = self.children.elbo(posterior, self.samples[self.index[index]])
        routing = posterior.routing
        way = routing.leaf_log_path - routing.log_paths[0]
        distance = surprise(way, self.target[index])
        return Evaluation(terms, distance, self._contrast(a, routing))

    def _contrast(self, a: _Activations, routing: Routing) -> Tensor | None:
        """Return the loss of the new router for a variant of each sample."""
        if a.variant is None:
            return None
        other = self.children.route([a.variant], a.variant_log_path)
        loss = router_contrast(
            routing.q_logits[0],
            other.q_logits[0],
            routing.log_paths[0].exp(),
            other.log_paths[0].exp(),
        )
        return self.contrast_weight * loss
