"""Iterative growth: one leaf after the other is split (section 2.5 of the paper)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from ..graph import NeighborGraph
from ..model import TopDown, Topology, at_depth, attach
from ..model.precision import no_autocast
from ..utils.limits import MAX_STATISTICS_ROWS
from ..utils.random import draw_seed
from .growth import Stage, TreeGrowth
from .heights import divergence_heights
from .objectives import SplitInputs, SplitObjective
from .state import Split
from .trainer import Phase

GROWTH_KL_WEIGHT = 0.15
"""Maximum weight of the divergences while the tree grows, as in the paper. The model is
then close to an autoencoder, which lets clusters form."""

SPLITS_PER_REFRESH = 3
"""Splits after which the whole tree is trained."""

MAX_PROPOSED_CLUSTERS = 8
"""Maximum number of clusters that a leaf is partitioned into to find two that are large
enough."""


class IterativeGrowth(TreeGrowth):
    """Splits one leaf after the other, and trains each new split."""

    router_dims = (32,)
    """Widths of the hidden layers of the routers. A new split may be far from linear in
    the embeddings of a frozen encoder."""

    def stages(self) -> Iterator[Stage]:
        """Yield the growth of the tree, and the training of the whole."""
        with self.trainer.subtask("growth", None):
            yield from self._growth()
        if not self.trainer.task.is_stopped:
            yield self._whole_tree("finetune")

    def _growth(self) -> Iterator[Stage]:
        """Yield a root and two leaves, and splits until there are enough leaves."""
        state = self.state
        if state.model is None and self._is_one_leaf():
            self.build_model(Topology.single_leaf())
        elif state.model is None or state.stage == "initial":
            yield Stage(
                "initial",
                self._begin_tree,
                phase=partial(self._phase, "initial"),
                objective=self.tree_objective,
                end=self._end_tree,
            )
        while self._may_grow():
            if state.stage == "refresh" or state.done[-SPLITS_PER_REFRESH:] == (
                ["split"] * SPLITS_PER_REFRESH
            ):
                yield self._whole_tree("refresh")
                continue
            if state.split is None:
                leaf = self.data.decide(self._choose_leaf)
            else:
                leaf = state.split.leaf
            if leaf is None:
                return
            yield self._split_stage(leaf)

    def _is_one_leaf(self) -> bool:
        """Return whether no split is asked for, or possible."""
        options = self.options
        if options.n_clusters == 1 or options.max_depth == 0:
            return True
        return not self._are_distinct(self.data.train)

    def _may_grow(self) -> bool:
        """Return whether the growth goes on, if there is a leaf to split."""
        n_clusters, done = self.options.n_clusters, self.state.done
        return (
            self.state.stage != "finetune"
            and not self.trainer.task.is_stopped
            and len(self.model.topology.leaves) < n_clusters
            # Pruning removes leaves again, so the number of splits is bounded.
            and done.count("split") < 2 * n_clusters
        )

    def _whole_tree(self, name: str) -> Stage:
        """Return a stage that trains the whole tree with its present routing."""
        return Stage(
            name,
            self.keep_routing,
            phase=partial(self._phase, name),
            objective=self.tree_objective,
            end=self._end_whole_tree,
        )

    def _split_stage(self, leaf: int) -> Stage:
        """Return a stage that splits a leaf."""
        return Stage(
            "split",
            partial(self._begin_split, leaf),
            phase=partial(self._phase, "split"),
            objective=self._split_objective,
            end=self._end_split,
        )

    def _end_whole_tree(self) -> bool:
        if self.prune():
            self.state.unsplittable = []
        return True

    def finish(self) -> None:
        """End the split in training, prune, and set the heights."""
        if self.state.stage == "initial":
            self._end_tree()
        # Otherwise the split is as it was initialized.
        elif self.state.split is not None and self.state.epoch > 0:
            self._end_split()
        self.prune()
        self.fit_prior_odds()
        height = divergence_heights(self.model, self.data, self.generators.rows)
        self.state.height = torch.from_numpy(height)

    def _begin_tree(self) -> None:
        """Build a root and two leaves."""
        self.build_model(Topology.stump())
        self.state.target = self._init_split(self.model.top_down, 0, self.data.train)

    def _end_tree(self) -> bool:
        self._finish_split(self.model.top_down, 0, self.data.train)
        self.prune()
        return True

    def _phase(self, name: str) -> Phase:
        """Return the schedules of a phase."""
        kl_weights = 0.0, GROWTH_KL_WEIGHT
        if name == "finetune":
            kl_weights = GROWTH_KL_WEIGHT, 1.0
        return Phase(name, kl_weights, (self.routing_weight, 0.0))

    def _embed(self, index: Tensor, depth: int) -> Tensor:
        """Return the embeddings of a depth of some samples, (n, hidden_dim)."""
        return self.data.features.map(
            lambda features: at_depth(self.model.bottom_up(features), depth), index
        )

    def _choose_leaf(self) -> int | None:
        """Return the leaf to split next, or None."""
        assignment = self.data.assign(self.model)
        tree = self.model.topology
        max_depth = self.options.max_depth
        if max_depth is None:
            max_depth = tree.n_nodes
        counts = self.data.count(assignment, len(tree.leaves)).tolist()
        candidates = [
            leaf
            for leaf, node in enumerate(tree.leaves)
            if leaf not in self.state.unsplittable
            and tree.node_depths[node] < max_depth
            and counts[leaf] >= 2 * self.min_samples
            and self._are_distinct(torch.nonzero(assignment == leaf)[:, 0])
            and (assignment[self.data.train] == leaf).sum() > 1
        ]
        if not candidates:
            return None
        # No leaf is cut while another one holds groups that stand apart.
        n_groups = self._count_groups(assignment)
        priorities = self._priorities()
        return max(candidates, key=lambda leaf: (n_groups[leaf] > 1, priorities[leaf]))

    def _count_groups(self, assignment: Tensor) -> list[int]:
        """Count the groups of each leaf that stand apart and are large enough."""
        group, n_leaves = self.state.group, len(self.model.topology.leaves)
        if group is None:
            return [1] * n_leaves
        n_groups = int(group.max()) + 1
        pair = assignment * n_groups + group
        counts = self.data.count(pair, n_leaves * n_groups, self.data.train)
        counts = counts.view(n_leaves, n_groups)
        return (counts >= self.min_samples).sum(1).tolist()

    def _priorities(self) -> list[float]:
        """Return the value of the split criterion for each leaf."""
        features, samples = self.data.features, self.data.samples
        leaf_score = {
            "elbo": self.model.leaf_elbo,
            "reconstruction": self.model.leaf_reconstruction,
        }.get(self.options.split_criterion)

        def priorities(rows: Tensor) -> tuple[Tensor]:
            proba = features.map(self.model.leaf_proba, rows)
            if leaf_score is None:
                return ((proba >= self._threshold()).sum(0),)
            return (-(proba * samples.map(leaf_score, rows)).sum(0),)

        (total,) = self.data.sum(priorities, self.data.all_rows)
        return total.tolist()

    def _threshold(self) -> float:
        """Return the minimum P(l | x) of the samples that a split is trained on."""
        return min(1.0 / len(self.model.topology.leaves), 0.5)

    def _begin_split(self, leaf: int) -> None:
        """Build a split of a leaf, to be trained on the samples that reach it."""
        state = self.state
        members = self._members(leaf)
        train = self._members_of(members)[0]
        split = Split(self.new_split(), leaf, draw_seed(self.generators.shared))
        state.target = self._init_split(split.top_down, self._position(leaf)[0], train)
        state.members, state.split = members, split

    def _end_split(self) -> bool:
        """Attach the split to its leaf, unless a child gets too few samples."""
        state, leaf = self.state, self.state.split.leaf
        train, _ = self._members_of(state.members)
        self._finish_split(state.split.top_down, self._position(leaf)[0], train)
        before = self.model.top_down
        self.model.top_down = attach(before, leaf, state.split.top_down)
        if self.leaf_counts().min() < self.min_samples:
            self.model.top_down = before
            state.unsplittable = [*state.unsplittable, leaf]
            return False
        # The right child has the next number, which shifts the later leaves.
        state.unsplittable = [other + (other > leaf) for other in state.unsplittable]
        return True

    def _split_objective(self) -> SplitObjective:
        """Return the objective of the split in training."""
        split, members = self.state.split, self._members_of(self.state.members)
        index = torch.cat(members)
        compute = partial(self._split_inputs, split.leaf, split.seed)
        if self.data.features.is_in_memory:
            inputs = compute(index).__getitem__
        else:
            # Recompute the inputs of each batch instead of storing all of them.
            def inputs(batch: Tensor) -> SplitInputs:
                return compute(index[batch])

        contrast = {}
        if self.state.contrast is not None:
            contrast = {
                "pairs": lambda batch: self._pair_inputs(split.leaf, index[batch]),
                "contrast_weight": self.contrast_options.weight,
            }
        return SplitObjective(
            split=split.top_down,
            data=self.data,
            members=members,
            target=self.state.target,
            inputs=inputs,
            generator=self.generators.rows,
            n_leaves=len(self.model.topology.leaves) + 1,
            **contrast,
        )

    def _members(self, leaf: int) -> Tensor:
        """Return which samples reach a leaf, (n_samples,)."""
        return self.data.features.map(
            lambda x: self.model.leaf_proba(x)[:, leaf] >= self._threshold()
        )

    def _members_of(self, is_member: Tensor) -> tuple[Tensor, Tensor]:
        """Return the training and the validation samples among some."""
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
                self.generators.shared,
                MAX_PROPOSED_CLUSTERS,
                options=self.options.graph,
            )
            if self.state.group is None:  # the first split is that of all samples
                self.state.group = self.target_of(graph.separate_groups())
            for n_clusters in range(2, MAX_PROPOSED_CLUSTERS + 1):
                proposal = graph.propose(n_clusters, min_size=self.min_samples)
                sides = proposal.sides(self.min_samples)
                if sides is not None:
                    return sides
            return graph.propose(2).proba

    def _init_split(self, split: TopDown, depth: int, train: Tensor) -> Tensor:
        """Initialize a root and two leaves with the proposed sides of some samples.

        Parameters
        ----------
        split : TopDown
            The root and two leaves, changed in place.
        depth : int
            Depth of the root in the whole tree.
        train : Tensor of int of shape (n_members,)
            The samples.

        Returns
        -------
        target : Tensor of shape (n_samples, 2)
            Target probability of each leaf, for all samples.
        """
        sides = self.data.decide(partial(self._propose_sides, train))
        target = self.target_of(sides, train)
        side = target.argmax(1)
        rows = self.draw(MAX_STATISTICS_ROWS, train)
        split.q_routers.fit(self._embed(rows, depth), side[rows])
        for leaf in side[train].unique().tolist():
            split.init_leaf(leaf, self.mean_of(train[side[train] == leaf]))
        return target

    def _finish_split(self, split: TopDown, depth: int, train: Tensor) -> None:
        """Complete a split after its training; arguments as for `_init_split`."""

    def _split_inputs(self, leaf: int, seed: int, index: Tensor) -> SplitInputs:
        """Compute the outputs of the frozen tree that the children of a leaf read.

        They are functions of a sample, so that they don't depend on its batch.
        """
        node, depth = self._position(leaf)

        def compute(x: Tensor) -> Tensor:
            with no_autocast(x):
                encoding = self.model.encode(x)
                (noise,) = self.model.row_noise(x, 1, seed)
                posterior = self.model.posterior(encoding, noise)
            columns = [
                at_depth(encoding.embeddings, depth),
                at_depth(encoding.posterior_inputs, depth + 1),
                posterior.q.mean[node],
                posterior.q.variance[node],
                posterior.routing.node_log_proba[node, :, None],
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
        node, depth = self._position(leaf)
        embeddings = self.model.bottom_up(self.state.contrast.sample_pairs(index))
        log_proba = self.model.route(embeddings).node_log_proba[node]
        return at_depth(embeddings, depth), log_proba

    def _position(self, leaf: int) -> tuple[int, int]:
        """Return the node of a leaf, and its depth."""
        tree = self.model.topology
        node = tree.leaves[leaf]
        return node, tree.node_depths[node]

    def _are_distinct(self, index: Tensor) -> bool:
        """Return whether some samples differ."""
        samples = self.data.samples
        first = samples[index[:1]]
        return any(
            (samples[batch] != first).any()
            for batch in index.split(self.trainer.options.batch_size)
        )
