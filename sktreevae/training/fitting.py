"""Entry points of the estimator: fit a tree, or continue to train one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from ..data import TrainingData
from ..graph import NeighborGraph
from ..model import ModelConfig, TreeVAE
from ..utils.cache import Cache
from .augmentation import Augmentation, ImageAugmentation
from .contrastive import AugmentedPairs, Contrast, ContrastOptions, NeighborPairs
from .growth import GrowthOptions, Stage
from .guided import GuidedGrowth
from .iterative import IterativeGrowth
from .objectives import NoisyFeatures, TreeObjective, routing_weight
from .published import PublishedGrowth
from .tasks import Task
from .trainer import Phase, Trainer

__all__ = ["continue_training", "fit_tree", "make_fit_task", "make_pairs"]

Attributes = dict[str, object]
"""Fitted attributes of the estimator by name."""

PARTIAL_FIT_ROUTING_WEIGHT = 0.1
"""Weight of the routing loss in `partial_fit`, relative to `fit`. A larger weight
dominates the ELBO on small batches."""

ITERATIVE_GROWTHS = {"iterative": IterativeGrowth, "published": PublishedGrowth}
"""Growths that split one leaf after the other."""


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
    is_guided, generators = options.growth == "guided", trainer.generators
    graph_options = replace(
        options.graph,
        round_clusters=data.kind.round_clusters,
        spread_values=data.kind.spread_values,
    )
    options = replace(options, graph=graph_options)
    if is_guided or options.n_clusters is None:
        with trainer.subtask("graph"):
            graph = NeighborGraph(
                data.features.subset(data.train),
                generators.shared,
                options.n_clusters,
                options=options.graph,
                cache=cache,
            )
    if options.n_clusters is None:
        with trainer.subtask("n_clusters") as task:
            estimate = partial(graph.estimate_n_clusters, generators.rng)
            options = replace(options, n_clusters=data.decide(estimate))
            task.info = {"n_clusters": options.n_clusters}
    depth = math.ceil(math.log2(max(options.n_clusters, 2)))
    config = replace(config, bottom_up_depth=depth)
    parts = data, config, options, trainer, contrast
    choices = {**data.choices, "n_clusters": options.n_clusters}
    if not is_guided:
        growth = ITERATIVE_GROWTHS[options.growth](*parts)
        return trainer.fit(growth, partial(complete, choices=choices))
    with trainer.subtask("proposal") as task:
        min_samples = options.min_samples(len(data.samples))
        proposal = data.decide(
            lambda: graph.propose(options.n_clusters, options.max_depth, min_samples)
        )
        task.info = {
            "n_neighbors": graph.n_neighbors,
            "partition": min(proposal.costs, key=proposal.costs.__getitem__),
            "partition_costs": proposal.costs,
        }
    growth = GuidedGrowth(*parts, proposal=proposal)
    return trainer.fit(growth, partial(complete, choices=choices | task.info))


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


class Continuation:
    """The one stage of `partial_fit`; parameters as for `continue_training`."""

    def __init__(
        self,
        model: TreeVAE,
        data: TrainingData,
        trainer: Trainer,
        contrast: ContrastOptions | None,
    ) -> None:
        self._trainer = trainer
        generators = trainer.generators
        trainer.state.model = model
        weight = PARTIAL_FIT_ROUTING_WEIGHT * routing_weight(model.config.n_features)
        phase = Phase("partial_fit", (1.0, 1.0), (weight, weight), is_constant=True)
        objective = TreeObjective(
            model=model,
            data=data,
            target=data.features.map(model.leaf_proba),
            noisy_features=NoisyFeatures(data.features),
            contrast=contrast
            and Contrast(
                contrast, model, weights=generators.shared, rows=generators.rows
            ),
            generator=generators.rows,
        )
        self._stage = Stage(
            "partial_fit", phase=lambda: phase, objective=lambda: objective
        )

    def run(self) -> None:
        """Run the stage."""
        self._stage.run(self._trainer)

    def result(self) -> TreeVAE:
        """Return the model as if training had stopped now."""
        return self._trainer.state.copy().model.eval()
