"""What the estimator builds of its options: augmentations, and a growth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ..data import FeatureTable, TrainingData
from ..graph import NeighborGraph, Proposal, best_proposal
from ..model import ModelConfig, TreeVAE
from ..utils.cache import Cache
from .augmentation import Augmentation, ImageAugmentation
from .contrastive import AugmentedPairs, ContrastOptions, NeighborPairs, PairSampler
from .growth import GrowthOptions, Stage, TreeGrowth
from .guided import GuidedGrowth
from .iterative import IterativeGrowth
from .published import PublishedGrowth
from .state import Plan, own_samples
from .trainer import Phase, Task, Trainer
from .view_features import learn_view_features

GROWTHS: dict[str, type[TreeGrowth]] = {
    "guided": GuidedGrowth,
    "iterative": IterativeGrowth,
    "published": PublishedGrowth,
}
"""Growths by the names of the parameter `growth`."""


def make_fit_task(options: GrowthOptions, has_augmentation: bool) -> Task:
    """Return the task of a fit, for a trainer."""
    is_guided = options.growth == "guided"
    n_subtasks, n_more = (6 + has_augmentation, 1) if is_guided else (3, 2)
    return Task("fit", n_subtasks + n_more * (options.n_clusters is None))


def make_pairs(
    views: str | Augmentation,
    data: TrainingData,
    image_shape: tuple[int, ...] | None,
    generator: torch.Generator,
) -> PairSampler:
    """Return the source of augmentations that the parameter `views` names."""
    if views == "neighbors":
        return NeighborPairs.from_data(data, generator)
    if views == "image":
        views = ImageAugmentation(image_shape, data.summary.low, data.summary.high)
    return AugmentedPairs(data.samples, data.feature_map, views)


def make_growth(
    data: TrainingData,
    config: ModelConfig,
    options: GrowthOptions,
    trainer: Trainer,
    contrast: ContrastOptions | None,
    cache: Cache,
) -> TreeGrowth:
    """Return a growth, with a new state or the stored one.

    Parameters
    ----------
    data : TrainingData
        Samples and features.
    config : ModelConfig
        Sizes and networks of the model.
    options : GrowthOptions
        Growth, and size and shape of the tree.
    trainer : Trainer
        Runs the stages, and has the sources of randomness.
    contrast : ContrastOptions or None
        Contrastive losses.
    cache : Cache
        Stores the neighbor graph and the proposals.
    """
    names = "round_clusters", "spread_values"
    of_kind = {name: getattr(data.kind, name) for name in names}
    options = replace(options, graph=replace(options.graph, **of_kind))
    stored = trainer.checkpoints and trainer.checkpoints.stored
    if stored is None:
        plan = _Planner(data, options, trainer, contrast, cache).plan()
    else:
        with trainer.checkpoints.restoring():
            stored = own_samples(stored, data)
            plan = Plan.from_state_dict(stored)
    trainer.state.plan = plan
    options = replace(options, n_clusters=plan.n_clusters)
    depth = math.ceil(math.log2(max(plan.n_clusters, 2)))
    config = replace(config, bottom_up_depth=depth)
    growth = GROWTHS[options.growth](data, config, options, trainer, contrast)
    if stored is None:
        trainer.store(is_due=True)
    else:
        with trainer.checkpoints.restoring():
            growth.load_state_dict(stored)
    return growth


@dataclass(frozen=True)
class _Planner:
    """Makes a plan; attributes as for `make_growth`."""

    data: TrainingData
    options: GrowthOptions
    trainer: Trainer
    contrast: ContrastOptions | None
    cache: Cache

    def plan(self) -> Plan:
        """Return the number of clusters, and the tree that the graph proposes."""
        is_guided = self.options.growth == "guided"
        n_clusters, chosen, proposal = self.options.n_clusters, {}, None
        if is_guided or n_clusters is None:
            tables = self._tables(is_guided)
            graphs = self._graphs(tables)
        if n_clusters is None:
            n_clusters = self._estimate_n_clusters(graphs[0])
        if is_guided:
            proposal, chosen = self._propose(graphs, tables[-1], n_clusters)
        choices = {**self.data.choices, "n_clusters": n_clusters, **chosen}
        return Plan(n_clusters, choices, proposal)

    def _tables(self, has_learned: bool) -> list[FeatureTable]:
        """Return features of the training samples, and, beside them, learned ones.

        Pairs of neighbors tell no more than the features by which they are neighbors,
        and one sample differs from no other.
        """
        data, pairs = self.data, self.contrast and self.contrast.pairs
        tables = [data.features.subset(data.train)]
        has_learned = has_learned and isinstance(pairs, AugmentedPairs)
        if has_learned and data.processes.gather(len(data.train))[0] > 1:
            with self.trainer.subtask("views"):
                generator = self.trainer.generators.shared
                # Processes that share the fit learn from the samples of the first.
                learned = data.decide(
                    lambda: learn_view_features(data, pairs, generator)
                )
                tables.append(FeatureTable(data.samples, learned, data.train))
        return tables

    def _graphs(self, tables: list[FeatureTable]) -> list[NeighborGraph]:
        """Return the neighbor graphs of the training samples."""
        with self.trainer.subtask("graph"):
            return [
                NeighborGraph(
                    features,
                    self.trainer.generators.shared,
                    self.options.n_clusters,
                    options=self.options.graph,
                    cache=self.cache,
                    processes=self.data.processes,
                )
                for features in tables
            ]

    def _estimate_n_clusters(self, graph: NeighborGraph) -> int:
        """Return as many clusters as held-out samples support."""
        with self.trainer.subtask("n_clusters") as task:
            n_clusters = graph.estimate_n_clusters(self.trainer.generators.rng)
            task.info = {"n_clusters": n_clusters}
        return n_clusters

    def _propose(
        self, graphs: list[NeighborGraph], features: FeatureTable, n_clusters: int
    ) -> tuple[Proposal, dict[str, object]]:
        """Return the best tree that a graph proposes, and its part of `choices_`.

        The last graph has all of `features`, the others have the first of them.
        """
        data, options = self.data, replace(self.options, n_clusters=n_clusters)
        with self.trainer.subtask("proposal") as task:
            min_samples = options.min_samples(data.n_samples)
            proposals = [
                graph.propose(n_clusters, options.max_depth, min_samples)
                for graph in graphs
            ]
            best, choices = 0, {}
            if len(graphs) > 1:
                n_first = data.features.shape[1]
                generator = self.trainer.generators.shared
                best = data.decide(
                    lambda: best_proposal(proposals, features, n_first, generator)
                )
                choices = {"learned_features": best > 0}
            costs = proposals[best].costs
            partition = min(costs, key=costs.__getitem__)
            choices |= {
                "n_neighbors": graphs[best].n_neighbors,
                "partition": partition,
                "cost": round(float(costs[partition]), 3),
            }
            task.info = choices | {"partition_costs": costs}
        return proposals[best], choices


@dataclass(eq=False, kw_only=True)
class Continuation(TreeGrowth):
    """Trains the whole of a fitted model for one pass over new samples.

    The targets are the leaf probabilities before the pass. The encoder's input has no
    noise: its scale in `fit` is the neighbor distance, which a small batch doesn't
    show.

    Parameters
    ----------
    data, config, options, trainer, contrast_options
        As for `TreeGrowth`. The trainer has the options `TrainingOptions.single_pass`.
    fitted : TreeVAE
        The model, changed in place.
    """

    fitted: TreeVAE

    linear_routing_factor = 1.0

    relative_routing_weight: ClassVar[float] = 0.1
    """Weight of the routing loss, relative to `fit`. A larger weight dominates the ELBO
    on small batches."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.state.model = self.fitted
        self.state.contrast = self.new_contrast()

    def stages(self) -> Iterator[Stage]:
        """Yield the only stage."""
        weight = self.relative_routing_weight * self.routing_weight
        phase = Phase("partial_fit", (1.0, 1.0), (weight, weight), is_constant=True)
        yield Stage(
            "partial_fit", self.keep_routing, lambda: phase, self.tree_objective
        )

    def finish(self) -> None:
        """Leave the model as it is: the tree stays."""
