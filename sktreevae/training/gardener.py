"""What both ways to grow a tree share: training the whole of it, and pruning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..model import Topology, TreeVAE
from .batches import Features, Samples, map_blocks
from .contrast import Contrast, ContrastOptions
from .loop import Evaluation, History, LoopOptions, Part, Phase, run_phase

__all__ = ["Gardener", "GrowthOptions", "surprise"]

MIN_GUIDANCE = 20.0
"""Weight of the way to a sample's target leaf, in nats for each nat of surprise: one
for each feature, as the bound grows with these too, but no less than this.

Without it the leaf whose decoder happens to be ahead takes all samples: the ELBO gains
little from a good split, and only once the decoders have specialised."""

N_LEAVES = 2
"""Leaves of a sample while training: the most probable ones."""

N_STATISTICS = 10_000
"""Most samples that a mean or a variance is taken from."""


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
        self.guidance = max(MIN_GUIDANCE, samples.n_features)
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
        part = _WholeTree(self, target)
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
        return map_blocks(lambda x: self.model.route_from(x).T.argmax(1), self.features)

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


class _WholeTree:
    """The whole model, as a part to train."""

    def __init__(self, gardener: Gardener, target: Tensor) -> None:
        self.model = gardener.model
        self.contrast = gardener.contrast
        self.samples = gardener.samples
        self.inputs = gardener.inputs
        self.target = target
        self.generator = gardener.generator
        self.n_leaves = len(self.model.topology.leaves)

    def parameters(self) -> Iterable[nn.Parameter]:
        yield from self.model.parameters()
        if self.contrast is not None:
            yield from self.contrast.parameters()

    def evaluate(self, index: Tensor) -> Evaluation:
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


def surprise(leaf_log_path: Tensor, target: Tensor) -> Tensor:
    """Mean of -log P(l | x) in nats, l being the target leaves, (batch,)."""
    return -leaf_log_path.gather(0, target[None]).mean()
