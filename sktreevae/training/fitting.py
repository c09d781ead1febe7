"""Entry points of the estimator: fit a tree, or continue to train one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

from ..data import TrainingData
from ..graph import NeighborGraph, Proposal
from ..model import ModelConfig, TreeVAE
from ..utils.cache import Cache
from .augmentation import Augmentation, ImageAugmentation
from .contrastive import AugmentedPairs, ContrastOptions, NeighborPairs
from .growth import GrowthOptions, Stage, TreeGrowth
from .guided import GuidedGrowth
from .iterative import IterativeGrowth
from .published import PublishedGrowth
from .tasks import Task
from .trainer import Phase, Trainer

Attributes = dict[str, object]
"""Fitted attributes of the estimator by name."""

PARTIAL_FIT_ROUTING_WEIGHT = 0.1
"""Weight of the routing loss in `partial_fit`, relative to `fit`. A larger weight
dominates the ELBO on small batches."""

GROWTHS = {
    "guided": GuidedGrowth,
    "iterative": IterativeGrowth,
    "published": PublishedGrowth,
}
"""Growths by the names of the parameter `growth`."""


def make_fit_task(options: GrowthOptions) -> Task:
    """Return the task of a fit, for a trainer."""
    n_subtasks = 6 if options.growth == "guided" else 3
    if options.n_clusters is None:
        n_subtasks += 1 if options.growth == "guided" else 2
    return Task("fit", n_subtasks)


def make_pairs(
    views: str | Augmentation,
    data: TrainingData,
    image_shape: tuple[int, ...] | None,
    generator: torch.Generator,
) -> AugmentedPairs | NeighborPairs:
    """Return the source of augmentations that the parameter `views` names."""
    if views == "neighbors":
        return NeighborPairs.from_data(data, generator)
    if views == "image":
        views = ImageAugmentation(image_shape, data.summary.low, data.summary.high)
    return AugmentedPairs(data.samples, data.feature_map, views)


def fit_tree(
    data: TrainingData,
    config: ModelConfig,
    options: GrowthOptions,
    trainer: Trainer,
    contrast: ContrastOptions | None,
    *,
    complete: Callable[..., Attributes],
    cache: Cache,
) -> Attributes:
    """Find a tree, and train the model on it.

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
    complete : callable
        Returns the fitted attributes for a `FittedTree`, and for what the fit has
        chosen; see `TreeVAEClustering.choices_`.
    cache : Cache
        Stores the neighbor graph and the proposals.

    Returns
    -------
    attributes : dict
        The fitted attributes. After an interrupt, those of the last epoch.
    """
    kind = data.kind
    graph_options = replace(
        options.graph,
        round_clusters=kind.round_clusters,
        spread_values=kind.spread_values,
    )
    options = replace(options, graph=graph_options)
    graph, proposal, choices = None, {}, {}
    if options.growth == "guided" or options.n_clusters is None:
        graph = _build_graph(data, options, trainer, cache)
    if options.n_clusters is None:
        options = _estimate_n_clusters(graph, data, options, trainer)
    if options.growth == "guided":
        proposal["proposal"], choices = _propose(graph, data, options, trainer)
    depth = math.ceil(math.log2(max(options.n_clusters, 2)))
    config = replace(config, bottom_up_depth=depth)
    growth_class = GROWTHS[options.growth]
    growth = growth_class(data, config, options, trainer, contrast, **proposal)
    choices = {**data.choices, "n_clusters": options.n_clusters, **choices}
    return trainer.fit(growth, partial(complete, choices=choices))


def _build_graph(
    data: TrainingData, options: GrowthOptions, trainer: Trainer, cache: Cache
) -> NeighborGraph:
    """Return the neighbor graph of the training samples."""
    with trainer.subtask("graph"):
        return NeighborGraph(
            data.features.subset(data.train),
            trainer.generators.shared,
            options.n_clusters,
            options=options.graph,
            cache=cache,
        )


def _estimate_n_clusters(
    graph: NeighborGraph, data: TrainingData, options: GrowthOptions, trainer: Trainer
) -> GrowthOptions:
    """Return the options with as many clusters as held-out samples support."""
    with trainer.subtask("n_clusters") as task:
        rng = trainer.generators.rng
        n_clusters = data.decide(lambda: graph.estimate_n_clusters(rng))
        task.info = {"n_clusters": n_clusters}
    return replace(options, n_clusters=n_clusters)


def _propose(
    graph: NeighborGraph, data: TrainingData, options: GrowthOptions, trainer: Trainer
) -> tuple[Proposal, dict[str, object]]:
    """Return the tree that the graph proposes, and what was chosen for it."""
    with trainer.subtask("proposal") as task:
        min_samples = options.min_samples(len(data.samples))
        proposal = data.decide(
            lambda: graph.propose(options.n_clusters, options.max_depth, min_samples)
        )
        task.info = {
            "n_neighbors": graph.n_neighbors,
            "partition": min(proposal.costs, key=proposal.costs.__getitem__),
            "partition_costs": proposal.costs,
            "cut_costs": proposal.tree.cut_costs.tolist(),
        }
    return proposal, task.info


def continue_training(
    model: TreeVAE,
    data: TrainingData,
    trainer: Trainer,
    contrast: ContrastOptions | None,
    complete: Callable[[TreeVAE], Attributes],
) -> Attributes:
    """Train the whole of a model for one pass over new samples.

    The targets are the leaf probabilities before the pass. The encoder's
    input has no noise: its scale in `fit` is the neighbor distance, which a small batch
    doesn't show.

    Parameters
    ----------
    model : TreeVAE
        The model, changed in place.
    data : TrainingData
        The new samples.
    trainer : Trainer
        Has the options `TrainingOptions.single_pass`.
    contrast : ContrastOptions or None
        Contrastive losses.
    complete : callable
        Returns the fitted attributes for the trained model.

    Raises
    ------
    FloatingPointError
        If the loss is no longer finite.
    """
    return trainer.fit(Continuation(model, data, trainer, contrast), complete)


class Continuation(TreeGrowth):
    """Trains the whole of a given model; parameters as for `continue_training`."""

    linear_routing_factor = 1.0

    def __init__(
        self,
        model: TreeVAE,
        data: TrainingData,
        trainer: Trainer,
        contrast: ContrastOptions | None,
    ) -> None:
        options = GrowthOptions(len(model.topology.leaves))
        super().__init__(data, model.config, options, trainer, contrast)
        self.state.model = model
        self.state.contrast = self.new_contrast()

    def stages(self) -> Iterator[Stage]:
        """Yield the only stage."""
        weight = PARTIAL_FIT_ROUTING_WEIGHT * self.routing_weight
        phase = Phase("partial_fit", (1.0, 1.0), (weight, weight), is_constant=True)
        yield Stage(
            "partial_fit", self.keep_routing, lambda: phase, self.tree_objective
        )

    def finish(self) -> None:
        """Leave the model as it is: the tree stays."""

    def result(self) -> TreeVAE:
        """Return the model, as if training had stopped now."""
        return self.finished().model.eval()
