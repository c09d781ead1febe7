"""Objectives of the trainer: the whole tree, or one new split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..data import FeatureTable, TrainingData
from ..model import (
    DiagonalGaussian,
    ElboTerms,
    Encoding,
    Routing,
    TopDown,
    TreeVAE,
)
from .contrastive import Contrast, router_contrast

MIN_ROUTING_WEIGHT = 20.0
"""Minimum weight of the routing loss relative to the ELBO.

Without the routing loss, the leaf with the currently best decoder receives all samples:
a good split improves the ELBO only after the decoders have specialized."""

MAX_ACTIVE_LEAVES = 2
"""Default number of leaves that decode a sample in training: its most probable ones."""


ELBO_TERMS = "reconstruction", "kl_root", "kl_nodes", "kl_decisions"
TERMS = *ELBO_TERMS, "contrast", "routing_loss"
"""Names of the terms of a loss, those of the ELBO first."""


@dataclass(frozen=True)
class LossTerms:
    """Terms of the loss of a batch, in nats.

    Parameters
    ----------
    elbo : ElboTerms or None
        Terms of the evidence lower bound of each sample; None while the routers are
        trained alone.
    routing_loss : Tensor of shape ()
        Kullback-Leibler divergence of the leaf probabilities from their targets.
    contrast : Tensor of shape (), default=None
        Weighted contrastive loss; None without augmentations.
    """

    elbo: ElboTerms | None
    routing_loss: Tensor
    contrast: Tensor | None = None

    def loss(self, kl_weight: float, routing_weight: float) -> Tensor:
        """Return the loss for weights of the divergences and of the routing loss."""
        loss = routing_weight * self.routing_loss
        if self.elbo is not None:
            loss = loss - self.elbo.elbo(kl_weight).mean()
        if self.contrast is not None:
            loss = loss + self.contrast
        return loss

    def means(self) -> Tensor:
        """Return the means of all `TERMS` over the batch; nan for missing ones."""
        missing = self.routing_loss.new_tensor(math.nan)
        terms = [missing] * len(ELBO_TERMS)
        if self.elbo is not None:
            terms = [getattr(self.elbo, name).mean() for name in ELBO_TERMS]
        contrast = missing if self.contrast is None else self.contrast
        return torch.stack([*terms, contrast, self.routing_loss]).detach()


class Objective(Protocol):
    """A loss of samples, and the parameters that it depends on.

    Attributes
    ----------
    data : TrainingData
        The samples.
    train_rows, validation_rows : Tensor of int
        Samples to train on, and to stop by; the latter may be empty.
    n_leaves : int
        Leaves of the whole tree.
    has_elbo, has_contrast : bool
        Whether the loss has an ELBO, and a contrastive loss.
    """

    data: TrainingData
    train_rows: Tensor
    validation_rows: Tensor
    n_leaves: int
    has_elbo: bool
    has_contrast: bool

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters to train."""

    def train(self, mode: bool) -> None:
        """Switch between training and evaluation, as `torch.nn.Module.train`."""

    def evaluate(self, index: Tensor) -> LossTerms:
        """Return the terms of the loss for a batch of samples."""


def routing_weight(n_features: int) -> float:
    """Return the weight of the routing loss relative to the ELBO.

    The ELBO grows with the number of features, and the weight with it.
    """
    return max(MIN_ROUTING_WEIGHT, n_features)


def routing_loss(leaf_log_proba: Tensor, target: Tensor) -> Tensor:
    """Return the divergence of leaf probabilities from their targets, in nats.

    It is the mean Kullback-Leibler divergence: the cross-entropy, without the entropy
    of the targets.

    Parameters
    ----------
    leaf_log_proba : Tensor of shape (n_leaves, batch)
        log P(l | x).
    target : Tensor of shape (batch, n_leaves)
        Target probability of each leaf.
    """
    divergence = torch.xlogy(target, target) - target * leaf_log_proba.T
    return divergence.sum(1).mean()


@dataclass(frozen=True)
class NoisyFeatures:
    """Features of samples, with Gaussian noise in training.

    A training sample might as well lie as far away as its neighbors do. Without the
    noise, the encoder overfits to small differences between the training samples, and
    unseen samples are misrouted (Bishop 1995).

    Parameters
    ----------
    features : FeatureTable of shape (n_samples, n_outputs)
        Features of the samples.
    noise_scale : Tensor of shape (n_samples, 1), default=None
        Standard deviation of the noise of each sample; no noise by default.
    generator : torch.Generator, default=None
        Source of the noise.
    """

    features: FeatureTable
    noise_scale: Tensor | None = None
    generator: torch.Generator | None = None

    def __call__(self, index: Tensor, *, training: bool) -> Tensor:
        """Return the encoder's input for a batch, (len(index), n_outputs)."""
        features = self.features[index]
        if not training or self.noise_scale is None:
            return features
        noise = torch.empty_like(features).normal_(generator=self.generator)
        return features + self.noise_scale[index] * noise


@dataclass(eq=False, kw_only=True)
class RoutingObjective:
    """The encoder and the routers alone: the routing loss.

    It needs neither latents nor decoders, so its steps are cheap.

    Parameters
    ----------
    model : TreeVAE
        The model.
    data : TrainingData
        The samples.
    target : Tensor of shape (n_samples, n_leaves)
        Target probability of each leaf.
    noisy_features : NoisyFeatures
        Features that the encoder reads.
    contrast : Contrast, default=None
        Contrastive losses; only their augmentations are used here.
    """

    model: TreeVAE
    data: TrainingData
    target: Tensor
    noisy_features: NoisyFeatures
    contrast: Contrast | None = None

    has_elbo: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.train_rows, self.validation_rows = self.data.train, self.data.validation
        self.n_leaves = len(self.model.topology.leaves)
        self.has_contrast = self.contrast is not None

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the encoder and of the routers."""
        yield from self.model.bottom_up.parameters()
        yield from self.model.top_down.q_routers.parameters()

    def train(self, mode: bool) -> None:
        """Switch the model, and the noise on its input, to training or evaluation."""
        self.model.train(mode)

    def evaluate(self, index: Tensor) -> LossTerms:
        """Return the routing loss of a batch of samples and of their augmentations."""
        inputs = [self.noisy_features(index, training=self.model.training)]
        if self.contrast is not None:
            inputs.append(self.contrast.sample_pairs(index))
        embeddings = self.model.bottom_up(torch.cat(inputs))
        leaf_log_proba = self.model.route(embeddings).leaf_log_proba
        target = self.target[index].repeat(len(inputs), 1)
        return LossTerms(None, routing_loss(leaf_log_proba, target))


@dataclass(eq=False, kw_only=True)
class TreeObjective(RoutingObjective):
    """The whole model: the ELBO over the most probable leaves, and the routing loss.

    Parameters
    ----------
    model, data, target, noisy_features, contrast
        As for `RoutingObjective`.
    generator : torch.Generator
        Source of the latents.
    max_leaves : int, default=2
        Maximum number of leaves that decode a sample.
    """

    generator: torch.Generator
    max_leaves: int = MAX_ACTIVE_LEAVES

    has_elbo: ClassVar[bool] = True

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the model and of the contrastive projections."""
        yield from self.model.parameters()
        if self.contrast is not None:
            yield from self.contrast.parameters()

    def evaluate(self, index: Tensor) -> LossTerms:
        """Return the terms of the loss for a batch of samples."""
        x, target = self.data.samples[index], self.target[index]
        features = self.noisy_features(index, training=self.model.training)
        encoding = self.model.encode(x, features)
        noise = self.model.sample_noise(len(index), self.generator)
        posterior = self.model.posterior(encoding, noise)
        elbo = self.model.sparse_elbo(posterior, x, self.max_leaves)
        routing = posterior.routing
        loss = routing_loss(routing.leaf_log_proba, target)
        if self.contrast is None:
            return LossTerms(elbo, loss)
        contrast, pair_log_proba = self.contrast(
            self.model, encoding.embeddings, routing, index
        )
        loss = (loss + routing_loss(pair_log_proba, target)) / 2
        return LossTerms(elbo, loss, contrast)


@dataclass(frozen=True)
class SplitInputs:
    """Outputs of the frozen tree that the children of a leaf read.

    Parameters
    ----------
    embedding : Tensor of shape (batch, hidden_dim)
        Embedding that the router reads.
    posterior_input : Tensor of shape (batch, hidden_dim)
        Input of the children's posterior heads.
    mean, variance : Tensor of shape (batch, latent_dim)
        Posterior of the leaf's latent, for one draw of the latents above it.
    log_proba : Tensor of shape (batch,)
        log P(leaf | x).
    """

    embedding: Tensor
    posterior_input: Tensor
    mean: Tensor
    variance: Tensor
    log_proba: Tensor

    def __getitem__(self, index: Tensor) -> SplitInputs:
        """Return the inputs of a batch."""
        return SplitInputs(*(getattr(self, f.name)[index] for f in fields(self)))


@dataclass(eq=False, kw_only=True)
class SplitObjective:
    """A router and two leaves below a frozen tree.

    Its samples are those that reach the leaf, numbered from 0, the training samples
    first.

    Parameters
    ----------
    split : TopDown
        The new part: a root and two leaves.
    data : TrainingData
        All samples.
    members : tuple of two Tensors of int
        Indices of the training and of the validation samples that reach the leaf.
    target : Tensor of shape (n_samples, 2)
        Target probability of the left and the right child, for all samples.
    inputs : callable
        Returns the `SplitInputs` of a batch.
    pairs : callable, default=None
        Returns the embedding and log P(leaf | x) of an augmentation of each sample of a
        batch.
    contrast_weight : float, default=0.0
        Weight of the contrastive loss of the router between samples and augmentations.
    generator : torch.Generator
        Source of the latents.
    n_leaves : int
        Leaves of the whole tree, the new ones included.
    """

    split: TopDown
    data: TrainingData
    members: tuple[Tensor, Tensor]
    target: Tensor
    inputs: Callable[[Tensor], SplitInputs]
    pairs: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    contrast_weight: float = 0.0
    generator: torch.Generator
    n_leaves: int

    has_elbo: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.index = torch.cat(self.members)
        rows = torch.arange(len(self.index), device=self.index.device)
        self.train_rows, self.validation_rows = rows.split(list(map(len, self.members)))
        self.has_contrast = self.pairs is not None

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the new part; the shared read-out is frozen."""
        return (p for p in self.split.parameters() if p.requires_grad)

    def train(self, mode: bool) -> None:
        """Switch the new part to training or evaluation."""
        self.split.train(mode)

    def evaluate(self, index: Tensor) -> LossTerms:
        """Return the terms of the loss for a batch of samples."""
        inputs = self.inputs(index)
        parent = DiagonalGaussian(inputs.mean, inputs.variance)
        encoding = Encoding([inputs.embedding], [inputs.posterior_input])
        posterior = self.split.posterior(
            encoding,
            parent,
            root_prior=parent,
            root_log_proba=inputs.log_proba,
            noise=self.split.sample_noise(len(index), self.generator),
        )
        samples = self.index[index]
        elbo = self.split.elbo(posterior, self.data.samples[samples])
        routing, target = posterior.routing, self.target[samples]
        loss = self._routing_loss(routing, target)
        if self.pairs is None:
            return LossTerms(elbo, loss)
        embedding, log_proba = self.pairs(index)
        pair = self.split.route([embedding], log_proba)
        contrast = router_contrast(
            routing.q_logit,
            pair.q_logit,
            routing.node_log_proba[:1].exp(),
            pair.node_log_proba[:1].exp(),
        )
        loss = (loss + self._routing_loss(pair, target)) / 2
        return LossTerms(elbo, loss, self.contrast_weight * contrast)

    @staticmethod
    def _routing_loss(routing: Routing, target: Tensor) -> Tensor:
        """Return the divergence of the new router's decisions from their targets."""
        child_log_proba = routing.leaf_log_proba - routing.node_log_proba[0]
        return routing_loss(child_log_proba, target)
