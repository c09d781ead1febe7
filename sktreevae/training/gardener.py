"""What all ways to a tree share: training the whole of it, and pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..model import Topology, TreeVAE
from .batches import Features, Samples, map_blocks
from .contrast import Contrast, ContrastOptions
from .loop import Evaluation, History, LoopOptions, Part, Phase, run_phase

__all__ = ["Gardener", "GrowthOptions", "surprise", "train_further"]

MIN_GUIDANCE = 20.0
"""Weight of the way to a sample's target leaf, in nats for each nat of surprise: one
for each feature, as the bound grows with these too, but no less than this.

Without it the leaf whose decoder happens to be ahead takes all samples: the ELBO gains
little from a good split, and only once the decoders have specialised."""

N_LEAVES = 2
"""Leaves of a sample while training: the most probable ones."""

N_STATISTICS = 10_000
"""Most samples that a mean or a variance is taken from."""

PACE = 0.25
"""Learning rate of `train_further`, relative to the largest one of a fit. A call starts
a new optimiser: one that lived on, with its momentum, would lose clusters to many small
batches."""

LOYALTY = 0.1
"""Weight of the way to the leaves where samples are, relative to that of a fit. More
would leave small batches little to learn but that."""


@dataclass(frozen=True)
class GrowthOptions:
    """What shapes the tree; see `TreeVAEClustering`."""

    n_clusters: int
    max_depth: int | None
    split_criterion: str
    min_cluster_fraction: float


class Gardener:
    """Holds the model and what the steps of a growth share.

    Parameters
    ----------
    samples : Samples
        The data.
    features : Tensor or Features of shape (n_samples, n_outputs)
        What the feature map makes of them: nothing trains it, so it is applied once,
        or to each batch where there is no place for the results.
    train, validation : Tensor of int
        Samples to train on, and to end phases by; the latter may be empty.
    networks : dict
        Arguments of `TreeVAE` but for the topology and the generator.
    growth : GrowthOptions
        Size and shape of the tree.
    options : LoopOptions
        Optimiser and stopping rule of the phases.
    contrast : ContrastOptions or None
        Variants of samples that should go the same way.
    generator : torch.Generator
        The only source of randomness.
    history : History
        Gets a record for each epoch.
    """

    router_dim = 0
    """Width of the hidden layer of the routers. None is needed where the encoder is
    trained with them."""

    def __init__(
        self,
        samples: Samples,
        features: Tensor | Features,
        train: Tensor,
        validation: Tensor,
        *,
        networks: dict[str, object],
        growth: GrowthOptions,
        options: LoopOptions,
        contrast: ContrastOptions | None = None,
        generator: torch.Generator,
        history: History,
    ) -> None:
        self.samples = samples
        self.features = features
        self.train = train
        self.validation = validation
        self.networks = networks
        self.growth = growth
        self.options = options
        self.contrast_options = contrast
        self.generator = generator
        self.history = history
        self.guidance = _guidance(samples)
        self.min_samples = max(1, round(growth.min_cluster_fraction * len(samples)))

    def plant(self, topology: Topology) -> None:
        """Begin with a new model."""
        self.model = TreeVAE(
            topology,
            router_dim=self.router_dim,
            generator=self.generator,
            **self.networks,
        )
        self.model.to(self.generator.device)
        self.model.bottom_up.standardise(self.features[self.train[:N_STATISTICS]])
        self.contrast = None
        if self.contrast_options is not None:
            self.contrast = Contrast(self.contrast_options, self.model, self.generator)

    def mean_of(self, index: Tensor) -> Tensor:
        """Return the mean of some samples, (n_features,)."""
        return self.samples[index[:N_STATISTICS]].mean(0)

    def inputs(self, index: Tensor) -> Tensor:
        """Return what the encoder sees of some samples, (len(index), n_outputs)."""
        return self.features[index]

    def train_whole(
        self,
        phase: Phase,
        target: Tensor | None = None,
    ) -> None:
        """Train everything.

        Parameters
        ----------
        phase : Phase
            Name and weights.
        target : Tensor of int of shape (n_samples,), default=None
            Positions of the leaves that samples are guided to; by default those where
            they are.
        """
        if target is None:
            target = self.positions()
        part = _WholeTree(
            self.model,
            self.samples,
            self.inputs,
            target,
            contrast=self.contrast,
            generator=self.generator,
        )
        self.run(phase, part, self.train)

    def run(
        self,
        phase: Phase,
        part: Part,
        train: Tensor,
        validation: Tensor | None = None,
    ) -> None:
        """Train a part of the model on some samples."""
        run_phase(
            phase,
            part,
            train,
            self.validation if validation is None else validation,
            options=self.options,
            generator=self.generator,
            history=self.history,
        )

    def positions(self) -> Tensor:
        """Position of the most probable leaf of every sample, (n_samples,)."""
        return _positions(self.model, self.features)

    def leaf_counts(self) -> Tensor:
        """Count the samples whose most probable leaf each is."""
        n_leaves = len(self.model.topology.leaves)
        return self.positions().bincount(minlength=n_leaves)

    def prune(self) -> bool:
        """Prune leaves with too few samples, the smallest first; tell if any was."""
        pruned = False
        while len(self.model.topology.leaves) > 1:
            fewest, position = self.leaf_counts().min(0)
            if fewest >= self.min_samples:
                break
            leaf = self.model.topology.leaves[position]
            self.model.top_down = self.model.top_down.prune(leaf)
            pruned = True
        return pruned


def train_further(
    model: TreeVAE,
    samples: Samples,
    features: Tensor | Features,
    *,
    options: LoopOptions,
    contrast: ContrastOptions | None,
    generator: torch.Generator,
    history: History,
) -> None:
    """Train the whole of a model for one pass over new samples.

    Samples are guided to the leaves where they are. Rate and weights are constant, as
    a next call may follow, or not.

    Parameters
    ----------
    model : TreeVAE
        The model, changed in place.
    samples : Samples
        The data.
    features : Tensor or Features of shape (n_samples, n_outputs)
        What the feature map makes of them.
    options : LoopOptions
        Optimiser; all but the number of epochs and the stopping rule.
    contrast : ContrastOptions or None
        Variants of samples that should go the same way.
    generator : torch.Generator
        The only source of randomness.
    history : History
        Gets one record.

    Raises
    ------
    FloatingPointError
        If the loss is no longer finite.
    """
    part = _WholeTree(
        model,
        samples,
        inputs=lambda index: features[index],
        target=_positions(model, features),
        contrast=None if contrast is None else Contrast(contrast, model, generator),
        generator=generator,
    )
    phase = Phase(
        "stream", (1.0, 1.0), LOYALTY * _guidance(samples), min_steps=1, steady=True
    )
    everyone = torch.arange(len(samples), device=features.device)
    rate = PACE * options.learning_rate
    run_phase(
        phase,
        part,
        train=everyone,
        validation=everyone[:0],
        options=replace(options, max_iter=1, learning_rate=rate),
        generator=generator,
        history=history,
    )


class _WholeTree:
    """The whole model, as a part to train.

    Parameters
    ----------
    model : TreeVAE
        The model.
    samples : Samples
        The data.
    inputs : callable
        Returns what the encoder sees of some samples.
    target : Tensor of int of shape (n_samples,)
        Positions of the leaves that samples are guided to.
    contrast : Contrast or None
        What asks the model to treat variants of a sample alike.
    generator : torch.Generator
        Draws the latents.
    """

    def __init__(
        self,
        model: TreeVAE,
        samples: Samples,
        inputs: Callable[[Tensor], Tensor],
        target: Tensor,
        *,
        contrast: Contrast | None,
        generator: torch.Generator,
    ) -> None:
        self.model = model
        self.samples = samples
        self.inputs = inputs
        self.target = target
        self.contrast = contrast
        self.generator = generator
        self.n_leaves = len(model.topology.leaves)

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return those of the model and, if there is one, of the contrast."""
        yield from self.model.parameters()
        if self.contrast is not None:
            yield from self.contrast.parameters()

    def evaluate(self, index: Tensor) -> Evaluation:
        """Return the bound of some samples, by way of few leaves."""
        x, target = self.samples[index], self.target[index]
        embeddings = self.model.bottom_up(self.inputs(index))
        evidence = self.model.evidence(embeddings, x)
        routing = self.model.route_with(embeddings)
        terms = self.model.sparse_elbo(routing, evidence, x, N_LEAVES, self.generator)
        distance = surprise(routing.leaf_log_path, target)
        if self.contrast is None:
            return Evaluation(terms, distance)
        loss, others = self.contrast(self.model, embeddings, routing, index)
        return Evaluation(terms, (distance + surprise(others, target)) / 2, loss)


def _positions(model: TreeVAE, features: Tensor | Features) -> Tensor:
    """Position of the most probable leaf of every sample, (n_samples,)."""
    return map_blocks(lambda x: model.route_from(x).T.argmax(1), features)


def _guidance(samples: Samples) -> float:
    """Return the weight of the way to the target leaves, in nats for each nat."""
    return max(MIN_GUIDANCE, samples.n_features)


def surprise(leaf_log_path: Tensor, target: Tensor) -> Tensor:
    """Mean of -log P(l | x) in nats, l being the target leaves, (batch,)."""
    return -leaf_log_path.gather(0, target[None]).mean()
