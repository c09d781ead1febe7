"""Iterative growth: one leaf after the other is split (section 2.5 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor

from ..data import TrainingData
from ..graph import NeighborGraph
from ..model import TopDown, Topology, TreeVAE, at_depth, attach
from ..model.precision import no_autocast
from ..model.tree_index import TreeIndex
from ..utils.limits import MAX_STATISTICS_ROWS
from ..utils.random import draw_seed
from .growth import Stage, TreeGrowth
from .initialization import ROWS_PER_LEAF
from .objectives import Objective, SplitObjective
from .state import Split
from .trainer import Phase


class IterativeGrowth(TreeGrowth):
    """Splits one leaf after the other, and trains each new split."""

    stage_names = "(initial )?((split|refresh) )*(finetune )?"
    fields = "target", "group"

    router_dims = (32,)
    """Widths of the hidden layers of the routers. A new split may be far from linear in
    the embeddings of a frozen encoder."""

    ridge: ClassVar[float] = 1e-3
    """L2 penalty of the initial routers, relative to the samples. With the penalty of
    the guided growth, whose encoder is trained with them, 12 sets of touching blobs
    have an adjusted Rand index of 0.984 rather than 0.994. Digits, three tables and a
    third of the suite of shapes show no difference: 0.718 and 0.715."""

    growth_kl_weight: ClassVar[float] = 0.15
    """Maximum weight of the divergences while the tree grows, as in the paper. The
    model is then close to an autoencoder, which lets clusters form."""

    splits_per_refresh: ClassVar[int] = 3
    """Splits after which the whole tree is trained."""

    max_proposed_clusters: ClassVar[int] = 8
    """Maximum number of clusters that a leaf is partitioned into to find two that are
    large enough."""

    def stages(self) -> Iterator[Stage]:
        """Yield the growth of the tree, and the training of the whole."""
        if "finetune" in self.state.done:
            return
        with self.trainer.subtask("growth", None):
            yield from self._growth()
        if not self.trainer.task.is_stopped:
            yield self._whole_tree("finetune")

    def _growth(self) -> Iterator[Stage]:
        """Yield a root and two leaves, and splits until there are enough leaves."""
        state = self.state
        if state.model is None and self._is_one_leaf():
            self.build_model(Topology.single_leaf())
            state.group = torch.zeros_like(self.data.all_rows, dtype=torch.int32)
        elif state.model is None or state.stage == "initial":
            yield self._stage("initial", self._begin_tree, self._end_tree)
        while self._may_grow():
            if state.stage == "refresh" or state.done[-self.splits_per_refresh :] == (
                ["split"] * self.splits_per_refresh
            ):
                yield self._whole_tree("refresh")
                continue
            leaf = self._choose_leaf() if state.split is None else state.split.leaf
            if leaf is None:
                return
            yield self._split_stage(leaf)

    def _is_one_leaf(self) -> bool:
        """Return whether no split is asked for, or possible."""
        return (
            self.options.n_clusters == 1
            or self.options.max_depth == 0
            or not self._are_distinct(self.data.train)
        )

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

    def _stage(
        self,
        name: str,
        begin: Callable[[], None],
        end: Callable[[], bool],
        objective: Callable[[], Objective] | None = None,
    ) -> Stage:
        """Return a stage, by default one that trains the whole tree."""
        phase = partial(self._phase, name)
        return Stage(name, begin, phase, objective or self.tree_objective, end)

    def _whole_tree(self, name: str) -> Stage:
        """Return a stage that trains the whole tree with its present routing."""
        return self._stage(name, self.keep_routing, self._end_whole_tree)

    def _split_stage(self, leaf: int) -> Stage:
        """Return a stage that splits a leaf."""
        begin = partial(self._begin_split, leaf)
        return self._stage("split", begin, self._end_split, self._split_objective)

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
        self.state.target = self._init_split(*self._part())

    def _end_tree(self) -> bool:
        self._finish_split(*self._part())
        self.prune()
        return True

    def _phase(self, name: str) -> Phase:
        """Return the schedules of a phase."""
        kl_weights = 0.0, self.growth_kl_weight
        if name == "finetune":
            kl_weights = self.growth_kl_weight, 1.0
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
        n_leaves, train = len(tree.leaves), self.data.train
        counts = self.data.count(assignment, n_leaves).tolist()
        n_train = self.data.count(assignment, n_leaves, train).tolist()
        candidates = [
            leaf
            for leaf, node in enumerate(tree.leaves)
            if leaf not in self.state.unsplittable
            and tree.node_depths[node] < max_depth
            and counts[leaf] >= 2 * self.min_samples
            and n_train[leaf] > 1
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
        group, n_leaves = self.state.group, len(self.model.topology.leaves)
        if group is None:
            return [1] * n_leaves
        n_groups = 1 + int(self.data.gather(group.unique()).max())
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
        state.members = self.data.features.map(
            lambda x: self.model.leaf_proba(x)[:, leaf] >= self._threshold()
        )
        seed = self.data.decide(lambda: draw_seed(self.generators.shared))
        state.split = Split(self.new_split(), leaf, seed)
        state.target = self._init_split(*self._part())

    def _end_split(self) -> bool:
        """Attach the split to its leaf, unless a child gets too few samples."""
        state, leaf = self.state, self.state.split.leaf
        self._finish_split(*self._part())
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
        split = self.state.split
        return SplitObjective(
            self.data,
            self.state,
            inputs=partial(self._split_inputs, split.leaf, split.seed),
            pairs=partial(self._pair_inputs, split.leaf),
        )

    def _part(self) -> tuple[TopDown, int, Tensor]:
        """Return the arguments of `_init_split`.

        They are those of the split in training, and of the whole tree before the first.
        """
        split, train = self.state.split, self.data.train
        if split is None:
            return self.model.top_down, 0, train
        depth = self._position(split.leaf)[1]
        return split.top_down, depth, train[self.state.members[train]]

    def _propose_sides(self, graph: NeighborGraph) -> Tensor:
        """Return the probabilities of the sides of a split for each sample.

        The sides are two clusters of the neighbor graph of the samples. If one is
        smaller than `min_samples`, more clusters are asked for.
        """
        for n_clusters in range(2, self.max_proposed_clusters + 1):
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
        with self.trainer.subtask("proposal"):
            graph = NeighborGraph(
                self.data.features.subset(train),
                self.generators.shared,
                self.max_proposed_clusters,
                options=self.options.graph,
                processes=self.data.processes,
            )
            if self.state.group is None:  # the first split is that of all samples
                self.state.group = self.data.scatter(graph.separate_groups())
            target = self.data.scatter(self._propose_sides(graph), train)
        side = target.argmax(1)
        rows = self.draw(MAX_STATISTICS_ROWS, train)
        is_left, penalty = side[rows] == 0, {"ridge": self.ridge, "min_penalty": 0.0}
        inputs = map(self.data.gather, (self._embed(rows, depth), is_left))
        split.q_routers.fit(0, *inputs, **penalty)
        for leaf in torch.nonzero(self.data.count(side, 2, train))[:, 0].tolist():
            split.init_leaf(leaf, self.mean_of(train[side[train] == leaf]))
        return target

    def _finish_split(self, split: TopDown, depth: int, train: Tensor) -> None:
        """Complete a split after its training; arguments as for `_init_split`."""

    def _split_inputs(self, leaf: int, seed: int, index: Tensor) -> Tensor:
        """Compute the outputs of the frozen tree that the children of a leaf read.

        They are functions of a sample, so that they don't depend on its batch. See
        `SplitObjective` for the columns.
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

        return self.data.samples.map(compute, index)

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
        samples, batch_size = self.data.samples, self.trainer.options.batch_size
        first = self.data.gather(samples[index[:1]])[:1]
        differ = any(
            bool((samples[batch] != first).any()) for batch in index.split(batch_size)
        )
        return self.data.gather(index.new_tensor([differ])).any().item()


def divergence_heights(
    model: TreeVAE, data: TrainingData, generator: torch.Generator
) -> NDArray[np.float64]:
    """Return the height of each node in nats, (n_nodes,); 0 for leaves.

    The height of a split is its Jeffreys divergence plus the height of its higher
    branch: the largest sum of divergences on a path down from it. So heights never fall
    toward the root. The Jeffreys divergence between branches A and B is

        E_{x in A}[log p_A(x) - log p_B(x)] + E_{x in B}[log p_B(x) - log p_A(x)],

    where p_A is the mixture of the leaves below A, in proportion to their samples.

    Parameters
    ----------
    model : TreeVAE
        The model.
    data : TrainingData
        Samples and features. At most 500 samples of each leaf are used.
    generator : torch.Generator
        Draws these samples.
    """
    n_leaves = len(model.topology.leaves)
    leaf = data.assign(model)
    members = [torch.nonzero(leaf == i)[:, 0] for i in range(n_leaves)]
    index = torch.cat(
        [data.draw(max(ROWS_PER_LEAF), rows, generator) for rows in members]
    )
    counts = data.count(leaf, n_leaves).numpy(force=True)
    leaf_elbo = data.gather(data.samples.map(model.leaf_elbo, index))
    labels = data.gather(leaf[index]).numpy(force=True)
    return data.decide(
        lambda: sum_divergences(
            model.topology,
            leaf_elbo.numpy(force=True).astype(np.float64),
            labels,
            counts,
        )
    )


def sum_divergences(
    topology: Topology,
    leaf_elbo: NDArray[np.float64],
    labels: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the heights of a tree from log-densities of samples.

    Parameters
    ----------
    topology : Topology
        The tree.
    leaf_elbo : ndarray of shape (n_samples, n_leaves)
        Lower bounds of log p(x | leaf), in nats.
    labels : ndarray of int of shape (n_samples,)
        Leaf of each sample.
    counts : ndarray of int of shape (n_leaves,)
        Number of samples of each leaf; `leaf_elbo` may have fewer.
    """
    is_below = TreeIndex(topology).ancestry.numpy() > 0

    def log_density(leaves: NDArray[np.bool_]) -> NDArray[np.float64]:
        # One is added so that a leaf without samples keeps a density.
        share = (counts[leaves] + 1.0) / (counts[leaves] + 1.0).sum()
        return logsumexp(leaf_elbo[:, leaves], axis=1, b=share)

    height = np.zeros(topology.n_nodes)
    for node in range(topology.n_nodes - 1, -1, -1):
        children = topology.children[node]
        height[node] = max((height[child] for child in children), default=0.0)
        if len(children) == 2:
            left, right = (is_below[child] for child in children)
            ratio = log_density(left) - log_density(right)
            divergence = sum(
                sign * ratio[leaves[labels]].mean()
                for leaves, sign in ((left, 1.0), (right, -1.0))
                if leaves[labels].any()
            )
            # An estimate of few samples may be negative.
            height[node] += max(float(divergence), 0.0)
    return height
