"""Entry points of the estimator: fit a tree, or continue to train one."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import TrainingData
from ..graph import NeighborGraph, Proposal
from ..model import ModelConfig, TreeVAE
from ..utils.cache import Cache
from .augmentation import Augmentation, ImageAugmentation
from .contrastive import AugmentedPairs, Contrast, ContrastOptions, NeighborPairs
from .growth import GrowthOptions, TreeGrowth
from .guided import GuidedGrowth
from .iterative import IterativeGrowth
from .objectives import NoisyFeatures, TreeObjective, routing_weight
from .published import PublishedGrowth
from .tasks import Task
from .trainer import Phase, Trainer

__all__ = ["FittedTree", "continue_training", "fit_tree", "make_fit_task", "make_pairs"]

PARTIAL_FIT_ROUTING_WEIGHT = 0.1
"""Weight of the routing loss in `partial_fit`, relative to `fit`. A larger weight
dominates the ELBO on small batches."""

ITERATIVE_GROWTHS = {"iterative": IterativeGrowth, "published": PublishedGrowth}
"""Growths that split one leaf after the other."""


@dataclass(frozen=True, eq=False)
class FittedTree:
    """Result of a fit.

    Parameters
    ----------
    model : TreeVAE
        The model.
    height : ndarray of shape (n_nodes,)
        Height in nats of each node of its tree.
    choices : dict
        What the fit has chosen; see `TreeVAEClustering.choices_`.
    """

    model: TreeVAE
    height: NDArray[np.float64]
    choices: dict[str, object]


def make_fit_task(options: GrowthOptions) -> Task:
    """Return the task of a fit, for a trainer."""
    n_subtasks = 5 if options.growth == "guided" else 3
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
    rng: np.random.Generator,
    cache: Cache,
) -> FittedTree:
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
        Runs the phases; its generator is the source of all other randomness.
    contrast : ContrastOptions or None
        Contrastive losses.
    rng : numpy Generator
        Draws the folds that the number of clusters is estimated on.
    cache : Cache
        Stores the neighbor graph and the proposals.
    """
    is_guided = options.growth == "guided"
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
                trainer.generator,
                options.n_clusters,
                options=options.graph,
                cache=cache,
            )
    if options.n_clusters is None:
        with trainer.subtask("n_clusters") as task:
            options = replace(options, n_clusters=graph.estimate_n_clusters(rng))
            task.info = {"n_clusters": options.n_clusters}
    depth = math.ceil(math.log2(max(options.n_clusters, 2)))
    config = replace(config, bottom_up_depth=depth)
    choices = {**data.choices, "n_clusters": options.n_clusters}
    if not is_guided:
        growth_class = ITERATIVE_GROWTHS[options.growth]
        growth = growth_class(data, config, options, trainer, contrast)
        return _grow(growth, choices)
    growth = GuidedGrowth(data, config, options, trainer, contrast)
    with trainer.subtask("proposal") as task:
        proposal = graph.propose(
            options.n_clusters, options.max_depth, growth.min_samples
        )
        task.info = {
            "n_neighbors": graph.n_neighbors,
            "partition": min(proposal.costs, key=proposal.costs.__getitem__),
            "partition_costs": proposal.costs,
        }
    return _grow(growth, choices | task.info, proposal)


def _grow(
    growth: TreeGrowth, choices: dict[str, object], *proposal: Proposal
) -> FittedTree:
    """Run a growth. An interrupt keeps the model, if it was trained for an epoch."""
    trainer = growth.trainer

    def result(growth: TreeGrowth) -> FittedTree:
        return FittedTree(growth.model.eval(), growth.height, choices)

    trainer.snapshot = lambda: result(growth.finished_copy())
    trainer.keeps_model = True
    trainer.interruptible(lambda: growth.grow(*proposal), growth.finish)
    if trainer.is_interrupted and not growth.is_finite():
        raise KeyboardInterrupt
    return result(growth)


def continue_training(
    model: TreeVAE,
    data: TrainingData,
    trainer: Trainer,
    contrast: ContrastOptions | None,
) -> None:
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

    Raises
    ------
    FloatingPointError
        If the loss is no longer finite.
    """
    trainer.model = model
    trainer.log_det = data.standardizer.log_det
    trainer.snapshot = lambda: copy.deepcopy(model).eval()
    objective = TreeObjective(
        model,
        data,
        target=data.features.map(model.leaf_proba),
        noisy_features=NoisyFeatures(data.features),
        contrast=contrast and Contrast(contrast, model, trainer.generator),
        generator=trainer.generator,
    )
    weight = PARTIAL_FIT_ROUTING_WEIGHT * routing_weight(model.config.n_features)
    phase = Phase("partial_fit", (1.0, 1.0), (weight, weight), is_constant=True)
    trainer.run(phase, objective, data.train, data.validation)
    model.eval()
