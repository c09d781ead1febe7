"""Objectives of the trainer: the whole tree, or one new split."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..data import TrainingData
from ..model import DiagonalGaussian, ElboTerms, Encoding, Posterior, Routing
from .contrastive import router_contrast
from .state import FitState

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

    def loss(self, kl_weight: float | Tensor, routing_weight: float | Tensor) -> Tensor:
        """Return the loss for weights of the divergences and of the routing loss."""
        loss = routing_weight * self.routing_loss
        if self.elbo is not None:
            loss = loss - self.elbo.elbo(kl_weight).mean()
        if self.contrast is not None:
            loss = loss + self.contrast
        return loss

    def means(self) -> Tensor:
        """Return the means of all `TERMS` over the batch; nan for missing ones."""
        missing = self.routing_loss.new_full((), math.nan)
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
    has_elbo : bool
        Whether the loss has an ELBO.
    is_static : bool
        Whether a step can be captured: with static shapes, it reads no values.
    """

    data: TrainingData
    train_rows: Tensor
    validation_rows: Tensor
    n_leaves: int
    has_elbo: bool
    is_static: bool

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters to train."""

    def train(self, mode: bool) -> None:
        """Switch between training and evaluation, as `torch.nn.Module.train`."""

    def evaluate(self, index: Tensor) -> LossTerms:
        """Return the terms of the loss for a batch of samples."""


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


def noisy_features(data: TrainingData, state: FitState, index: Tensor) -> Tensor:
    """Return features of samples with Gaussian noise, (len(index), n_outputs).

    A training sample might as well lie as far away as its neighbors do. Without the
    noise, the encoder overfits to small differences between the training samples, and
    unseen samples are misrouted (Bishop 1995).
    """
    features = data.features[index]
    if state.noise_scale is None:
        return features
    noise = torch.empty_like(features).normal_(generator=state.generators.rows)
    return features + state.noise_scale[index] * noise


@dataclass(eq=False)
class RoutingObjective:
    """The encoder and the routers alone: the routing loss.

    It needs neither latents nor decoders, so its steps are cheap. Of the contrastive
    losses, it needs the augmentations only.

    Parameters
    ----------
    data : TrainingData
        The samples.
    state : FitState
        State of the fit: the model and its targets.
    """

    data: TrainingData
    state: FitState

    has_elbo: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.model, self.contrast = self.state.model, self.state.contrast
        self.train_rows, self.validation_rows = self.data.train, self.data.validation
        self.n_leaves = len(self.model.topology.leaves)

    @property
    def is_static(self) -> bool:
        """Whether a step with static shapes exchanges no values with the host.

        All data are on the device. Networks and augmentations of the user may read any
        value; likelihoods of counts and of discrete columns do.
        """
        data, config = self.data, self.model.config
        likelihood = self.model.top_down.likelihood
        has_reads = likelihood.is_count or likelihood.has_discrete
        is_ours = "custom" not in (config.encoder, config.decoder)
        is_there = data.samples.is_in_memory and data.features.is_in_memory
        return is_ours and is_there and not has_reads and self.contrast is None

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the encoder and of the routers."""
        yield from self.model.bottom_up.parameters()
        yield from self.model.top_down.q_routers.parameters()

    def train(self, mode: bool) -> None:
        """Switch the model, and the noise on its input, to training or evaluation."""
        self.model.train(mode)

    def evaluate(self, index: Tensor) -> LossTerms:
        """Return the routing loss of a batch of samples and of their augmentations."""
        inputs = [self._features(index)]
        if self.contrast is not None:
            inputs.append(self.contrast.sample_pairs(index))
        embeddings = self.model.bottom_up(torch.cat(inputs))
        leaf_log_proba = self.model.route(embeddings).leaf_log_proba
        target = self.state.target[index].repeat(len(inputs), 1)
        return LossTerms(None, routing_loss(leaf_log_proba, target))

    def _features(self, index: Tensor) -> Tensor:
        if self.model.training:
            return noisy_features(self.data, self.state, index)
        return self.data.features[index]


@dataclass(eq=False)
class TreeObjective(RoutingObjective):
    """The whole model: the ELBO over the most probable leaves, and the routing loss.

    Parameters
    ----------
    data, state
        As for `RoutingObjective`.
    max_leaves : int, default=2
        Maximum number of leaves that decode a sample.
    """

    max_leaves: int = MAX_ACTIVE_LEAVES

    has_elbo: ClassVar[bool] = True

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the model and of the contrastive projections."""
        yield from self.model.parameters()
        if self.contrast is not None:
            yield from self.contrast.parameters()

    def evaluate(self, index: Tensor) -> LossTerms:
        """Return the terms of the loss for a batch of samples."""
        x, target = self.data.samples[index], self.state.target[index]
        encoding = self.model.encode(x, self._features(index))
        noise = self.model.sample_noise(len(index), self.state.generators.rows)
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


@dataclass(eq=False)
class SplitObjective:
    """A router and two leaves below a frozen tree.

    Its samples are those that reach the leaf, numbered from 0, the training samples
    first.

    Parameters
    ----------
    data : TrainingData
        All samples.
    state : FitState
        State of the fit: the split, its samples and their targets.
    inputs : callable
        Returns what the split reads of the frozen tree for some samples,
        (n_rows, n_columns), for one draw of the latents above it: the embedding that
        the router reads, the input of the children's posterior heads, mean and variance
        of the posterior of the leaf's latent, and log P(leaf | x).
    pairs : callable
        Returns the embedding and log P(leaf | x) of an augmentation of each of some
        samples.
    """

    data: TrainingData
    state: FitState
    inputs: Callable[[Tensor], Tensor]
    pairs: Callable[[Tensor], tuple[Tensor, Tensor]]

    has_elbo: ClassVar[bool] = True
    is_static: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.split, self.contrast = self.state.split.top_down, self.state.contrast
        members, data = self.state.members, self.data
        parts = [rows[members[rows]] for rows in (data.train, data.validation)]
        self.index = torch.cat(parts)
        rows = torch.arange(len(self.index), device=self.index.device)
        self.train_rows, self.validation_rows = rows.split(list(map(len, parts)))
        self.n_leaves = len(self.state.model.topology.leaves) + 1
        if self.data.features.is_in_memory:
            self._inputs = self.inputs(self.index).__getitem__
        else:
            # Recompute the inputs of each batch instead of storing all of them.
            self._inputs = lambda batch: self.inputs(self.index[batch])

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the new part; the shared read-out is frozen."""
        return (p for p in self.split.parameters() if p.requires_grad)

    def train(self, mode: bool) -> None:
        """Switch the new part to training or evaluation."""
        self.split.train(mode)

    def evaluate(self, index: Tensor) -> LossTerms:
        """Return the terms of the loss for a batch of samples."""
        samples = self.index[index]
        posterior = self._posterior(index)
        elbo = self.split.elbo(posterior, self.data.samples[samples])
        routing, target = posterior.routing, self.state.target[samples]
        loss = self._routing_loss(routing, target)
        if self.contrast is None:
            return LossTerms(elbo, loss)
        embedding, log_proba = self.pairs(samples)
        pair = self.split.route([embedding], log_proba)
        contrast = router_contrast(
            routing.q_logit,
            pair.q_logit,
            routing.node_log_proba[:1].exp(),
            pair.node_log_proba[:1].exp(),
        )
        loss = (loss + self._routing_loss(pair, target)) / 2
        return LossTerms(elbo, loss, self.contrast.options.weight * contrast)

    def _posterior(self, index: Tensor) -> Posterior:
        """Infer the latents of the new part from the outputs of the frozen tree."""
        config, inputs = self.split.config, self._inputs(index)
        widths = [config.hidden_dim, config.head_dim, *2 * [config.latent_dim], 1]
        embedding, head_input, mean, variance, log_proba = inputs.split(widths, dim=1)
        parent = DiagonalGaussian(mean, variance)
        return self.split.posterior(
            Encoding([embedding], [head_input]),
            parent,
            root_prior=parent,
            root_log_proba=log_proba[:, 0],
            noise=self.split.sample_noise(len(index), self.state.generators.rows),
        )

    @staticmethod
    def _routing_loss(routing: Routing, target: Tensor) -> Tensor:
        """Return the divergence of the new router's decisions from their targets."""
        child_log_proba = routing.leaf_log_proba - routing.node_log_proba[0]
        return routing_loss(child_log_proba, target)
