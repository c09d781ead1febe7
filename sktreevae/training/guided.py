"""Guided growth: a neighbor graph proposes the tree, and the ELBO refines it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ..data import n_batches, shuffled_batches
from ..graph import Proposal
from ..model import Topology, TreeVAE, prune
from ..utils.indexing import sum_by_index
from .growth import TreeGrowth
from .initialization import BLOCK_SIZE, Initializer
from .objectives import routing_loss
from .optimizer import AdamW
from .trainer import Phase

__all__ = ["GuidedGrowth"]


class GuidedGrowth(TreeGrowth):
    """Builds the proposed tree, and trains all of it together."""

    linear_routing_factor = 30.0

    def grow(self, proposal: Proposal) -> TreeVAE:
        """Return a model of a proposal; leaves that stay too small are pruned.

        Parameters
        ----------
        proposal : Proposal
            Clusters of the training samples, and the tree above them.
        """
        with self.trainer.subtask("initialization"):
            phase, target = self._initialize(proposal)
        self.train_all(phase, target)
        self.finish()
        return self.model

    def finish(self) -> None:
        """Set the scale of the leaves, and prune leaves that are too small."""
        # An interrupt may have come between the two assignments.
        self.model.top_down, self.height = self._tree
        if self.model.top_down.likelihood.has_scale:
            self._initializer.update_scale()
        self.prune()
        self.fit_prior_odds()

    def prune_leaf(self, leaf: int) -> None:
        """Prune a leaf; the heights of other nodes stay."""
        source = self.model.topology.prune(leaf).source
        self._tree = prune(self.model.top_down, leaf), self.height[list(source)]
        self.model.top_down, self.height = self._tree

    def _copy(self) -> Self:
        other = super()._copy()
        other._tree = other.model.top_down, self._tree[1]
        other._initializer = replace(self._initializer, model=other.model)
        return other

    def _initialize(self, proposal: Proposal) -> tuple[Phase, Tensor]:
        """Build the model of a proposal.

        Returns
        -------
        phase : Phase
            Schedule of the joint training.
        target : Tensor of shape (n_samples, n_leaves)
            Target probability of each leaf.
        """
        change = Topology.from_merges(proposal.merges.tolist())
        # Not to the rows of other clusters, which are the nearest of a single row.
        extent = self._pair_distances(proposal.cluster)[proposal.cluster]
        self.noisy_features = self.noisy_features.with_noise(
            self.data.train, proposal.spacing.minimum(extent), self.generator
        )
        # The source of a leaf is its cluster in the proposal.
        clusters = [change.source[node] for node in change.topology.leaves]
        leaf_of_cluster = torch.from_numpy(np.argsort(clusters)).to(proposal.cluster)
        leaf_of_sample = self.target_of(leaf_of_cluster[proposal.cluster])
        self.build_model(change.topology, leaf_of_sample)
        height = np.append(np.zeros(len(clusters)), proposal.height)
        self._tree = self.model.top_down, height[list(change.source)]
        target = self.target_of(proposal.proba[:, clusters])
        for leaf in range(len(clusters)):
            members = self.data.train[leaf_of_sample[self.data.train] == leaf]
            self.model.top_down.init_leaf(leaf, self.mean_of(members))
        schedule = self.options.schedule
        batch_size = self.trainer.options.batch_size
        steps_per_epoch = n_batches(len(self.data.train), batch_size)
        max_steps = schedule.max_small_epochs * steps_per_epoch
        self._initializer = Initializer(
            self.model, self.data, leaf_of_sample, self.noisy_features, self.generator
        )
        if len(clusters) > 1:
            self._initializer.init_routers()
            self._train_routers(target, self._n_router_steps(steps_per_epoch))
        return self._joint_phase(self._initializer.init_latents(), max_steps), target

    def _pair_distances(self, cluster: Tensor) -> Tensor:
        """Return the root mean square distance of two training samples of each cluster.

        It is 0 for a single sample.

        Parameters
        ----------
        cluster : Tensor of int of shape (n_train,)
            Cluster of each training sample.
        """
        count = cluster.bincount()
        indices = self.data.train.split(BLOCK_SIZE), cluster.split(BLOCK_SIZE)

        def total(function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
            return sum(
                sum_by_index(function(self.data.features[rows], own), own, len(count))
                for rows, own in zip(*indices, strict=True)
            )

        mean = total(lambda x, _: x) / count.clamp(min=1)[:, None]
        square = total(lambda x, own: (x - mean[own]).square().sum(1))
        return (2.0 * square / (count - 1).clamp(min=1)).sqrt()

    def _joint_phase(self, has_latents: bool, max_steps: int) -> Phase:
        """Return the schedule of the joint training.

        The routing weight is constant: the variances are small from the start, so that
        the ELBO alone would move samples to other leaves in a few steps.

        Parameters
        ----------
        has_latents : bool
            Whether the posterior heads were initialized. They are near their optimum
            then, and would lose it without divergences. From random weights, they need
            the annealing of the paper and more steps.
        max_steps : int
            Maximum of the minimum number of update steps.
        """
        schedule = self.options.schedule
        weights = self.routing_weight, self.routing_weight
        if has_latents:
            kl_weights, min_steps = (1.0, 1.0), schedule.min_steps
        else:
            kl_weights, min_steps = (0.0, 1.0), schedule.random_min_steps
        return Phase("joint", kl_weights, weights, min(min_steps, max_steps))

    def _n_router_steps(self, steps_per_epoch: int) -> int:
        """Return the maximum number of update steps of the routers alone.

        An int as ``max_iter`` limits them in proportion to the joint training: a fit
        that is to be short spends no more on them than on all the rest.
        """
        schedule, max_iter = self.options.schedule, self.trainer.options.max_iter
        max_epochs = schedule.max_small_epochs
        if max_iter is not None:
            max_epochs = min(max_epochs, schedule.router_epochs * max_iter)
        return min(schedule.max_router_steps, max_epochs * steps_per_epoch)

    def _train_routers(self, target: Tensor, n_steps: int) -> None:
        """Train the encoder and the routers alone to reach the target probabilities.

        These steps need neither latents nor decoders, so they are cheap. The joint
        training then starts with most samples in the right leaves.

        Parameters
        ----------
        target : Tensor of shape (n_samples, n_leaves)
            Target probability of each leaf.
        n_steps : int
            Maximum number of update steps.
        """
        options, schedule = self.trainer.options, self.options.schedule
        routers = self.model.top_down.q_routers
        optimizer = AdamW(
            [*self.model.bottom_up.parameters(), *routers.parameters()],
            options.weight_decay,
        )
        self.model.train()
        n_done = n_no_improvement = 0
        best = math.inf
        while n_done < n_steps:
            batches = shuffled_batches(
                len(self.data.train), options.batch_size, self.generator
            )[: n_steps - n_done]
            total = torch.zeros((), dtype=torch.float32, device=target.device)
            for i, batch in enumerate(batches, start=n_done):
                index = self.data.train[batch]
                loss = self._routing_loss(index, target[index])
                optimizer.step(loss, options.learning_rate_at(i / n_steps))
                total += loss.detach()
            n_done += len(batches)
            mean = total.item() / len(batches)
            n_no_improvement = 0 if mean < best else n_no_improvement + 1
            best = min(best, mean)
            if best < schedule.router_loss_tol:
                break
            if n_no_improvement == schedule.router_n_iter_no_change:
                break

    def _routing_loss(self, index: Tensor, target: Tensor) -> Tensor:
        """Return the routing loss of samples and of their augmentations."""
        inputs = [self.noisy_features(index, training=True)]
        if self.contrast is not None:
            inputs.append(self.contrast.sample_pairs(index))
        with self.trainer.options.autocast(index.device):
            embeddings = self.model.bottom_up(torch.cat(inputs))
            leaf_log_proba = self.model.route(embeddings).leaf_log_proba
        return routing_loss(leaf_log_proba, target.repeat(len(inputs), 1))
