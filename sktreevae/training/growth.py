"""Base class of the growths: building, training and pruning a model."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data import TrainingData
from ..graph import GraphOptions
from ..model import ModelConfig, Topology, TreeVAE, prune
from ..utils.random import draw_rows
from .contrastive import Contrast, ContrastOptions
from .objectives import (
    MAX_ACTIVE_LEAVES,
    NoisyFeatures,
    TreeObjective,
    routing_weight,
)
from .trainer import Phase, Trainer

__all__ = ["GrowthOptions", "GuidedSchedule", "TreeGrowth"]

MAX_STATISTICS_ROWS = 10_000
"""Maximum number of samples that a mean or a variance is computed from."""

MAX_PRIOR_ROWS = 5000
"""Maximum number of samples that the prior routers are fitted to."""

BLOCK_SIZE = 512
"""Number of samples whose latents are inferred at a time."""

N_NEWTON_STEPS = 10
"""Steps of Newton's method, of at most one nat each, for a bias."""

MIN_CURVATURE = 1e-6
"""Lower bound of a curvature, in samples, which is divided by."""

MIN_SHARE_OF_MEAN = 0.05
"""Default minimum size of a leaf, relative to the mean over leaves."""

MAX_DEFAULT_FRACTION = 0.01
"""Maximum of the default minimum size, as a fraction of the samples: the paper's."""


@dataclass(frozen=True)
class GuidedSchedule:
    """Length of the guided growth.

    Parameters
    ----------
    min_steps : int, default=120
        Minimum number of update steps of the joint training with ``max_iter="auto"``.
    random_min_steps : int, default=150
        The same, if the posterior heads start from random weights.
    max_small_epochs : int, default=100
        Maximum number of epochs that these steps may lead to, and of the training of
        the routers alone.
    max_router_steps : int, default=400
        Maximum number of update steps of the training of the routers alone.
    router_epochs : int, default=4
        Maximum number of its epochs for each epoch of an int ``max_iter``. With 4, as
        many epochs as "auto" has leave `max_router_steps` as they are: 400 is less than
        4 times 120.
    router_loss_tol : float, default=0.1
        Routing loss in nats, the mean over an epoch, at which the training of the
        routers alone ends.
    router_n_iter_no_change : int, default=15
        Epochs without a lower routing loss after which it ends, too.
    """

    min_steps: int = 120
    random_min_steps: int = 150
    max_small_epochs: int = 100
    max_router_steps: int = 400
    router_epochs: int = 4
    router_loss_tol: float = 0.1
    router_n_iter_no_change: int = 15


@dataclass(frozen=True)
class GrowthOptions:
    """Options that shape the tree; see `TreeVAEClustering`.

    Parameters
    ----------
    n_clusters : int or None
        Number of leaves; None lets the neighbor graph choose.
    max_depth : int, default=None
        Maximum depth of a leaf.
    min_cluster_size : int or float, default=None
        Minimum number, or fraction, of the samples of a leaf.
    growth : {"guided", "iterative", "published"}, default="guided"
        How the tree is found.
    split_criterion : {"n_samples", "reconstruction", "elbo"}, default="n_samples"
        Criterion by which the other growths choose the next leaf.
    schedule : GuidedSchedule
        Length of the guided growth.
    graph : GraphOptions
        Sizes of the neighbor graph.
    """

    n_clusters: int | None
    max_depth: int | None = None
    min_cluster_size: int | float | None = None
    growth: str = "guided"
    split_criterion: str = "n_samples"
    schedule: GuidedSchedule = GuidedSchedule()
    graph: GraphOptions = GraphOptions()

    def min_samples(self, n_samples: int) -> int:
        """Return the minimum number of samples of a leaf.

        By default a twentieth of the mean over leaves, and no more than the 1% of the
        paper.
        """
        size = self.min_cluster_size
        if size is None:
            size = min(MIN_SHARE_OF_MEAN / self.n_clusters, MAX_DEFAULT_FRACTION)
        count = size if isinstance(size, Integral) else round(size * n_samples)
        return max(1, int(count))


class TreeGrowth(ABC):
    """Holds the model and the steps that all growths share.

    Parameters
    ----------
    data : TrainingData
        Samples and features.
    config : ModelConfig
        Sizes and networks of the model.
    options : GrowthOptions
        Size and shape of the tree.
    trainer : Trainer
        Runs the phases.
    contrast : ContrastOptions, default=None
        Contrastive losses; None without augmentations.

    Attributes
    ----------
    model : TreeVAE
        The model, after `build_model`.
    height : ndarray of shape (n_nodes,)
        Height in nats of each node of the tree, after `finish`.
    """

    model: TreeVAE
    height: NDArray[np.float64]

    router_dims: tuple[int, ...] = ()
    """Widths of the hidden layers of the routers. Linear routers are enough where the
    encoder is trained with them."""

    linear_routing_factor: float = 10.0
    """Factor on the routing weight of a model with linear paths. Its densities are
    sharper, so that the ELBO would move more samples to other leaves. Its posterior
    heads don't depend on the encoder, so the encoder may serve the routers."""

    max_active_leaves: int = MAX_ACTIVE_LEAVES
    """Maximum number of leaves that decode a sample in training."""

    def __init__(
        self,
        data: TrainingData,
        config: ModelConfig,
        options: GrowthOptions,
        trainer: Trainer,
        contrast: ContrastOptions | None = None,
    ) -> None:
        self.data = data
        self.config = replace(config, router_dims=self.router_dims)
        self.options = options
        self.trainer = trainer
        trainer.log_det = data.standardizer.log_det
        self.generator = trainer.generator
        self.contrast_options = contrast
        self.routing_weight = routing_weight(config.n_features)
        if config.has_linear_paths:
            self.routing_weight *= self.linear_routing_factor
        self.min_samples = options.min_samples(len(data.samples))
        self.noisy_features = NoisyFeatures(data.features)

    def build_model(self, topology: Topology, cluster: Tensor | None = None) -> None:
        """Create a model with random weights, and standardize its input.

        Parameters
        ----------
        topology : Topology
            The tree.
        cluster : Tensor of int of shape (n_samples,), default=None
            Cluster of each sample, if known; see `BottomUp.standardize`.
        """
        self.model = TreeVAE(
            topology,
            self.config,
            feature_map=self.data.feature_map,
            generator=self.generator,
        )
        self.model.to(self.generator.device)
        self.trainer.model = self.model
        subset = self.data.train[self.draw(len(self.data.train), MAX_STATISTICS_ROWS)]
        self.model.bottom_up.standardize(
            self.data.features[subset], None if cluster is None else cluster[subset]
        )
        self.contrast = None
        if self.contrast_options is not None:
            self.contrast = Contrast(self.contrast_options, self.model, self.generator)

    @abstractmethod
    def finish(self) -> None:
        """Complete the model after its training, and set the heights.

        An interrupted training, and an interrupted `finish`, can be finished, too.
        """

    def finished_copy(self) -> Self:
        """Return a copy that is finished as if training had stopped now."""
        with self.trainer.best_parameters():
            other = self._copy()
        other.finish()
        return other

    def is_finite(self) -> bool:
        """Return whether all parameters are finite, also after an interrupted step."""
        return bool(nn.utils.get_total_norm(self.model.parameters()).isfinite())

    def _copy(self) -> Self:
        """Return a copy with a model of its own."""
        other = copy.copy(self)
        other.model = copy.deepcopy(self.model)
        return other

    def mean_of(self, index: Tensor) -> Tensor:
        """Return the mean of some samples, (n_features,)."""
        rows = self.draw(len(index), MAX_STATISTICS_ROWS)
        return self.data.samples[index[rows]].mean(0)

    def draw(self, n_rows: int, max_rows: int) -> Tensor:
        """Return the sorted positions of random rows; see `draw_rows`."""
        rows = draw_rows(n_rows, max_rows, self.generator)
        return torch.from_numpy(rows).to(self.generator.device)

    def train_all(self, phase: Phase, target: Tensor | None = None) -> None:
        """Train the whole model.

        Parameters
        ----------
        phase : Phase
            Schedules.
        target : Tensor of shape (n_samples, n_leaves), default=None
            Target probability of each leaf; the present one by default.
        """
        if target is None:
            target = self.data.features.map(self.model.leaf_proba)
        objective = TreeObjective(
            self.model,
            self.data,
            target,
            noisy_features=self.noisy_features,
            contrast=self.contrast,
            generator=self.generator,
            max_leaves=self.max_active_leaves,
        )
        self.trainer.run(phase, objective, self.data.train, self.data.validation)

    def assign_leaves(self) -> Tensor:
        """Return the most probable leaf of every sample, (n_samples,)."""
        return self.data.features.map(self.model.assign_leaves)

    @torch.no_grad()
    def fit_prior_odds(self) -> None:
        """Set the bias of each prior router to its optimum for the other parameters.

        The prior of a decision is then on average the share of samples that go left, so
        that generated samples have the sizes of the clusters. Update steps alone would
        take longer to reach it than the rest of the model.
        """
        if not self.model.topology.splits:
            return
        index = self.data.train[self.draw(len(self.data.train), MAX_PRIOR_ROWS)]
        parts = [self._decisions(batch) for batch in index.split(BLOCK_SIZE)]
        weight, q_proba, p_logit = (torch.cat(p, 1) for p in zip(*parts, strict=True))
        bias = self.model.top_down.p_routers.biases[-1]
        for _ in range(N_NEWTON_STEPS):
            p_proba = p_logit.sigmoid()
            slope = (weight * (q_proba - p_proba)).sum(1)
            curvature = (weight * p_proba * (1.0 - p_proba)).sum(1)
            step = (slope / curvature.clamp(min=MIN_CURVATURE)).clamp(-1.0, 1.0)
            bias += step[:, None, None]
            p_logit += step[:, None]

    def _decisions(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the decisions of some samples, (n_splits, n_samples) each.

        These are the probabilities of reaching the splits, the posterior probabilities
        of going left, and the logits of the prior ones.
        """
        model, features = self.model, self.data.features[index]
        encoding = model.encode(self.data.samples[index], features)
        noise = model.sample_noise(len(index), self.generator)
        posterior = model.posterior(encoding, noise)
        reached = torch.cat(posterior.routing.node_log_proba)
        decisions = [level.decisions for level in posterior.levels[:-1]]
        return (
            reached[list(model.topology.splits)].exp(),
            torch.cat([d.q_logit for d in decisions]).sigmoid(),
            torch.cat([d.p_logit for d in decisions]),
        )

    def leaf_counts(self) -> Tensor:
        """Return the number of samples assigned to each leaf, (n_leaves,)."""
        n_leaves = len(self.model.topology.leaves)
        return self.assign_leaves().bincount(minlength=n_leaves)

    def prune(self) -> bool:
        """Prune leaves with too few samples, the smallest first.

        Returns
        -------
        pruned : bool
            Whether any leaf was pruned.
        """
        pruned = False
        while len(self.model.topology.leaves) > 1:
            count, leaf = self.leaf_counts().min(0)
            if count >= self.min_samples:
                break
            self.prune_leaf(int(leaf))
            pruned = True
        return pruned

    def prune_leaf(self, leaf: int) -> None:
        """Prune the leaf at a position in `topology.leaves`."""
        self.model.top_down = prune(self.model.top_down, leaf)

    def target_of(self, proba: Tensor) -> Tensor:
        """Extend values of the training samples to all samples.

        Targets of held-out samples are never used, and 0 here.
        """
        target = proba.new_zeros(len(self.data.samples), *proba.shape[1:])
        target[self.data.train] = proba
        return target
