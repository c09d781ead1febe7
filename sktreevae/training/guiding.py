"""The guided growth: a neighbour graph proposes the tree, the bound refines it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..model import Topology, TreeVAE
from .batches import shuffled_batches
from .gardener import Gardener, surprise
from .loop import Descent, Phase
from .proposals import Hierarchy

__all__ = ["GuidedGrowth"]

N_ROUTER_STEPS = 400
"""Most update steps of the encoder and the routers alone."""

SURE = 0.1
"""Mean surprise in nats about the leaves of samples at which the routers are good."""

MIN_STEPS = 150
MAX_EPOCHS = 100
"""Least update steps of the joint training, in no more epochs than this; the routers
have no more than these, either."""


class GuidedGrowth(Gardener):
    """Propose the whole tree, and train all of it together."""

    def grow(self, hierarchy: Hierarchy) -> TreeVAE:
        """Return a model of a proposal; leaves that stay too small are pruned.

        Parameters
        ----------
        hierarchy : Hierarchy
            Clusters of the training samples, and the tree over them.
        """
        self.noise = torch.zeros(len(self.samples), 1, device=self.train.device)
        # As long as the spacing, whatever the number of features.
        width = math.sqrt(self.features.shape[1])
        self.noise[self.train, 0] = hierarchy.spacing / width
        change = Topology.from_merges(hierarchy.merges.tolist())
        self.plant(change.topology)
        leaves = [change.source[leaf] for leaf in change.topology.leaves]
        position = torch.tensor(np.argsort(leaves)).to(self.train.device)
        target = torch.zeros(len(self.samples), dtype=torch.long).to(self.train.device)
        target[self.train] = position[hierarchy.cluster]
        for leaf in range(len(leaves)):
            members = self.train[target[self.train] == leaf]
            self.model.top_down.start_leaf(leaf, self.mean_of(members))
        n_batches = -(-len(self.train) // self.options.batch_size)
        if len(leaves) > 1:
            self._start_routers(target, min(N_ROUTER_STEPS, MAX_EPOCHS * n_batches))
        min_steps = min(MIN_STEPS, MAX_EPOCHS * n_batches)
        phase = Phase("joint", (0.0, 1.0), self.guidance, min_steps)
        self.train_whole(phase, target)
        self.prune()
        return self.model

    def inputs(self, index: Tensor) -> Tensor:
        """Return features, with noise while the model learns from them.

        A sample could as well lie as far away as its neighbours do. Without such noise
        encoders read the smallest differences between the samples they are trained on,
        and unseen samples lose their way (Bishop 1995).
        """
        features = super().inputs(index)
        if not torch.is_grad_enabled():
            return features
        noise = torch.empty_like(features).normal_(generator=self.generator)
        return features + self.noise[index] * noise

    def _start_routers(self, target: Tensor, n_steps: int) -> None:
        """Train the encoder and the routers alone: no latents, no decoders.

        Such steps are cheap, and the joint training then begins with samples that go
        where they should.

        Parameters
        ----------
        target : Tensor of int of shape (n_samples,)
            Position of the leaf that each sample should go to.
        n_steps : int
            Most update steps; fewer, if the mean surprise of an epoch falls to `SURE`.
        """
        routers = self.model.top_down.q_routers
        descent = Descent(
            [*self.model.bottom_up.parameters(), *routers.parameters()], self.options
        )
        done = 0
        while done < n_steps:
            batches = shuffled_batches(
                len(self.train), self.options.batch_size, self.generator
            )[: n_steps - done]
            total = torch.zeros((), device=self.train.device)
            for step, batch in enumerate(batches, start=done):
                index = self.train[batch]
                inputs = [self.inputs(index)]
                if self.contrast is not None:
                    inputs.append(self.contrast.variants(index))
                with self.options.autocast(index.device):
                    log_path = self.model.route_from(torch.cat(inputs))
                loss = surprise(log_path, target[index].repeat(len(inputs)))
                descent.step(loss, step / n_steps)
                total += loss.detach()
            done += len(batches)
            if total < SURE * len(batches):
                break
