"""Iterative growth: one leaf after the other is split (section 2.5 of the paper)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import torch
from torch import Tensor

from ..graph import NeighborGraph
from ..model import TopDown, Topology, TreeVAE, at_depth, attach, new_split
from ..model.precision import no_autocast
from ..utils.random import draw_seed
from .growth import TreeGrowth
from .heights import divergence_heights
from .objectives import SplitContrast, SplitInputs, SplitObjective
from .trainer import Phase

__all__ = ["MAX_ROUTER_ROWS", "Embed", "IterativeGrowth"]

GROWTH_KL_WEIGHT = 0.15
"""Maximum weight of the divergences while the tree grows, as in the paper. The model is
then close to an autoencoder, which lets clusters form."""

SPLITS_PER_REFRESH = 3
"""Splits after which the whole tree is trained."""

MAX_PROPOSED_CLUSTERS = 8
"""Maximum number of clusters that a leaf is partitioned into to find two that are large
enough."""

MAX_ROUTER_ROWS = 100_000
"""Maximum number of samples that a new router is initialized from."""


Embed = Callable[[Tensor], Tensor]
"""Returns the input of a router for positions in the samples of a split."""


@dataclass(frozen=True, eq=False)
class SplitInTraining:
    """A split whose training hasn't ended.

    Parameters
    ----------
    split : TopDown
        A root and two leaves.
    embed : callable
        Returns the input of the router for positions in `train`.
    train : Tensor of int of shape (n_members,)
        Samples that it is trained on.
    leaf : int, default=None
        The leaf to attach it to. None for the first split, the tree itself.
    """

    split: TopDown
    embed: Embed
    train: Tensor
    leaf: int | None = None


class IterativeGrowth(TreeGrowth):
    """Splits one leaf after the other, and trains each new split."""

    router_dims = (32,)
    """Widths of the hidden layers of the routers. A new split may be far from linear in
    the embeddings of a frozen encoder."""

    split_in_training: SplitInTraining | None = None

    group: Tensor | None = None
    """Group of each training sample, among those that stand apart, if known."""

    def grow(self) -> TreeVAE:
        """Return a model with `n_clusters` leaves, or fewer if no leaf can be split."""
        with self.trainer.subtask("growth", None):
            self._grow_tree()
        if not self.trainer.task.is_stopped:
            self.train_all(self._phase("finetune"))
        self.finish()
        return self.model

    def finish(self) -> None:
        """Attach a split whose training was interrupted, prune, and set the heights."""
        self._end_split()
        self.prune()
        self.fit_prior_odds()
        self.height = divergence_heights(self.model, self.data, self.generator)

    def _grow_tree(self) -> None:
        """Train a root and two leaves, and split leaves."""
        train = self.data.train
        is_leaf = self.options.n_clusters == 1 or self.options.max_depth == 0
        if is_leaf or not self._are_distinct(train):
            self.build_model(Topology.single_leaf())
            return
        self.build_model(Topology.stump())
        top_down = self.model.top_down
        target = self.target_of(self._init_split(top_down, self._embed, train))
        self.split_in_training = SplitInTraining(top_down, self._embed, train)
        self.train_all(self._phase("initial"), target)
        self._end_split()
        self.prune()
        self._split_leaves()

    def _copy(self) -> Self:
        other = super()._copy()
        trained = self.split_in_training
        if trained is not None and trained.leaf is None:
            other.split_in_training = replace(
                trained, split=other.model.top_down, embed=other._embed
            )
        elif trained is not None:
            other.split_in_training = replace(
                trained, split=copy.deepcopy(trained.split)
            )
        return other

    def _phase(self, name: str) -> Phase:
        """Return the schedules of a phase."""
        kl_weights = 0.0, GROWTH_KL_WEIGHT
        if name == "finetune":
            kl_weights = GROWTH_KL_WEIGHT, 1.0
        return Phase(name, kl_weights, (self.routing_weight, 0.0))

    def _embed(self, rows: Tensor) -> Tensor:
        """Return d_0 of some training samples, (len(rows), hidden_dim)."""
        return self.data.features.subset(self.data.train[rows]).map(
            lambda features: self.model.bottom_up(features)[0]
        )

    def _split_leaves(self) -> None:
        """Split one leaf after the other, until there are enough or none can be."""
        unsplittable: set[int] = set()
        n_splits = 0
        while (
            len(self.model.topology.leaves) < self.options.n_clusters
            and not self.trainer.task.is_stopped
        ):
            leaf = self._choose_leaf(unsplittable)
            # Pruning removes leaves again, so the number of splits is bounded.
            if leaf is None or n_splits == 2 * self.options.n_clusters:
                break
            if not self._split(leaf):
                unsplittable.add(leaf)
                continue
            n_splits += 1
            # The right child has the next number, which shifts the later leaves.
            unsplittable = {other + (other > leaf) for other in unsplittable}
            is_grown = len(self.model.topology.leaves) >= self.options.n_clusters
            if n_splits % SPLITS_PER_REFRESH == 0 and not is_grown:
                self.train_all(self._phase("refresh"))
                if self.prune():
                    unsplittable = set()

    def _choose_leaf(self, unsplittable: set[int]) -> int | None:
        """Return the leaf to split next, or None."""
        assignment = self.assign_leaves()
        tree = self.model.topology
        max_depth = self.options.max_depth
        if max_depth is None:
            max_depth = tree.n_nodes
        counts = assignment.bincount(minlength=len(tree.leaves)).tolist()
        candidates = [
            leaf
            for leaf, node in enumerate(tree.leaves)
            if leaf not in unsplittable
            and tree.node_depths[node] < max_depth
            and counts[leaf] >= 2 * self.min_samples
            and self._are_distinct(torch.nonzero(assignment == leaf)[:, 0])
        ]
        if not candidates:
            return None
        # No leaf is cut while another one holds groups that stand apart.
        n_groups = self._count_groups(assignment)
        priorities = self._priorities()
        return max(candidates, key=lambda leaf: (n_groups[leaf] > 1, priorities[leaf]))

    def _count_groups(self, assignment: Tensor) -> list[int]:
        """Count the groups of each leaf that stand apart and are large enough."""
        if self.group is None:
            return [1] * len(self.model.topology.leaves)
        train, n_groups = self.data.train, int(self.group.max()) + 1
        pair = assignment[train] * n_groups + self.group
        n_leaves = len(self.model.topology.leaves)
        counts = pair.bincount(minlength=n_leaves * n_groups).view(n_leaves, n_groups)
        return (counts >= self.min_samples).sum(1).tolist()

    def _priorities(self) -> list[float]:
        """Return the value of the split criterion for each leaf."""
        features, samples = self.data.features, self.data.samples
        total = torch.zeros(
            len(self.model.topology.leaves),
            dtype=torch.float32,
            device=self.data.train.device,
        )
        leaf_score = {
            "elbo": self.model.leaf_elbo,
            "reconstruction": self.model.leaf_reconstruction,
        }.get(self.options.split_criterion)
        for rows in samples.chunks():
            proba = features.map(self.model.leaf_proba, rows)
            if leaf_score is None:
                total += (proba >= self._threshold()).sum(0)
            else:
                total -= (proba * samples.map(leaf_score, rows)).sum(0)
        return total.tolist()

    def _threshold(self) -> float:
        """Return the minimum P(l | x) of the samples that a split is trained on."""
        return min(1.0 / len(self.model.topology.leaves), 0.5)

    def _split(self, leaf: int) -> bool:
        """Split a leaf.

        Returns
        -------
        is_split : bool
            False, and the tree is unchanged, if a child gets fewer than `min_samples`.
        """
        train, validation = self._members(leaf)
        if len(train) < 2:
            return False
        index = torch.cat([train, validation])
        compute = partial(self._split_inputs, leaf, draw_seed(self.generator))
        if self.data.features.is_in_memory:
            inputs = compute(index).__getitem__
        else:
            # Recompute the inputs of each batch instead of storing all of them.
            def inputs(batch: Tensor) -> SplitInputs:
                return compute(index[batch])

        def embed(rows: Tensor) -> Tensor:
            return inputs(rows).embedding

        contrast = None
        if self.contrast is not None:
            contrast = SplitContrast(
                lambda batch: self._pair_inputs(leaf, index[batch]),
                self.contrast.options.weight,
            )
        split = new_split(self.model.top_down, self.generator)
        sides = self._init_split(split, embed, train)
        target = torch.cat([sides, sides.new_zeros(len(validation), 2)])
        objective = SplitObjective(
            split,
            inputs,
            lambda batch: self.data.samples[index[batch]],
            target,
            contrast=contrast,
            generator=self.generator,
            n_leaves=len(self.model.topology.leaves) + 1,
        )
        rows = torch.arange(len(index), device=index.device)
        self.split_in_training = SplitInTraining(split, embed, train, leaf)
        self.trainer.run(
            self._phase("split"), objective, rows[: len(train)], rows[len(train) :]
        )
        return self._end_split()

    def _end_split(self) -> bool:
        """Complete the split in training, if there is one, and attach it to its leaf.

        Returns
        -------
        is_split : bool
            See `_split`.
        """
        trained = self.split_in_training
        if trained is None:
            return False
        self._finish_split(trained.split, trained.embed, trained.train)
        # First, so that an interrupt doesn't lead to a second attempt.
        self.split_in_training = None
        if trained.leaf is None:
            return True
        before = self.model.top_down
        self.model.top_down = attach(before, trained.leaf, trained.split)
        if self.leaf_counts().min() < self.min_samples:
            self.model.top_down = before
            return False
        return True

    def _members(self, leaf: int) -> tuple[Tensor, Tensor]:
        """Return the training and validation samples that reach a leaf."""
        is_member = self.data.features.map(
            lambda x: self.model.leaf_proba(x)[:, leaf] >= self._threshold()
        )
        train, validation = self.data.train, self.data.validation
        return train[is_member[train]], validation[is_member[validation]]

    def _propose_sides(self, index: Tensor) -> Tensor:
        """Propose the sides of a split; return their probabilities for each sample.

        The sides are two clusters of the neighbor graph of the samples. If one is
        smaller than `min_samples`, more clusters are asked for.
        """
        with self.trainer.subtask("proposal"):
            graph = NeighborGraph(
                self.data.features.subset(index),
                self.generator,
                MAX_PROPOSED_CLUSTERS,
                options=self.options.graph,
            )
            if self.group is None:  # the first split is that of all samples
                self.group = graph.separate_groups()
            for n_clusters in range(2, MAX_PROPOSED_CLUSTERS + 1):
                proposal = graph.propose(n_clusters, min_size=self.min_samples)
                sides = proposal.sides(self.min_samples)
                if sides is not None:
                    return sides
            return graph.propose(2).proba

    def _init_split(self, split: TopDown, embed: Embed, train: Tensor) -> Tensor:
        """Initialize a root and two leaves with the proposed sides of some samples.

        Parameters
        ----------
        split : TopDown
            The root and two leaves, changed in place.
        embed : callable
            Returns the input of the router for positions in `train`.
        train : Tensor of int of shape (n_members,)
            The samples.

        Returns
        -------
        target : Tensor of shape (n_members, 2)
            Target probability of each leaf.
        """
        target = self._propose_sides(train)
        side = target.argmax(1)
        rows = self.draw(len(train), MAX_ROUTER_ROWS)
        split.q_routers.fit(embed(rows), side[rows])
        for leaf in side.unique().tolist():
            split.init_leaf(leaf, self.mean_of(train[side == leaf]))
        return target

    def _finish_split(self, split: TopDown, embed: Embed, train: Tensor) -> None:
        """Complete a split after its training; arguments as for `_init_split`."""

    def _split_inputs(self, leaf: int, seed: int, index: Tensor) -> SplitInputs:
        """Compute the outputs of the frozen tree that the children of a leaf read.

        They are functions of a sample, so that they don't depend on its batch.
        """
        depth, row = self._position(leaf)

        def compute(x: Tensor) -> Tensor:
            with no_autocast(x):
                encoding = self.model.encode(x)
                (noise,) = self.model.row_noise(x, 1, seed)
                posterior = self.model.posterior(encoding, noise)
            q = posterior.levels[depth].q
            columns = [
                at_depth(encoding.embeddings, depth),
                at_depth(encoding.posterior_inputs, depth + 1),
                q.mean[row],
                q.variance[row],
                posterior.routing.node_log_proba[depth][row, :, None],
            ]
            return torch.cat(columns, dim=1)

        config = self.model.config
        widths = [config.hidden_dim, config.head_dim, *2 * [config.latent_dim], 1]
        *inputs, log_proba = self.data.samples.map(compute, index).split(widths, dim=1)
        return SplitInputs(*inputs, log_proba[:, 0])

    @torch.no_grad()
    def _pair_inputs(self, leaf: int, index: Tensor) -> tuple[Tensor, Tensor]:
        """Compute what the new router reads of an augmentation of each sample.

        Returns
        -------
        embedding : Tensor of shape (batch, hidden_dim)
            Embedding at the depth of the leaf.
        log_proba : Tensor of shape (batch,)
            log P(leaf | x).
        """
        depth, row = self._position(leaf)
        embeddings = self.model.bottom_up(self.contrast.sample_pairs(index))
        log_proba = self.model.route(embeddings).node_log_proba[depth][row]
        return at_depth(embeddings, depth), log_proba

    def _position(self, leaf: int) -> tuple[int, int]:
        """Return the depth of a leaf, and its position among the nodes of the depth."""
        tree = self.model.topology
        node = tree.leaves[leaf]
        depth = tree.node_depths[node]
        return depth, tree.levels[depth].index(node)

    def _are_distinct(self, index: Tensor) -> bool:
        """Return whether some samples differ."""
        samples = self.data.samples
        first = samples[index[:1]]
        return any(
            (samples[batch] != first).any()
            for batch in index.split(self.trainer.options.batch_size)
        )
