"""The growth as published: random routers that the ELBO alone trains (section 2.5)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..model import TopDown, Topology, TreeVAE
from ..model.layers import Routers
from ..utils.limits import MAX_STATISTICS_ROWS
from .iterative import IterativeGrowth
from .trainer import Phase, TrainingOptions


@dataclass(frozen=True)
class PublishedPhase(Phase):
    """Phase with the schedules of the published procedure.

    Parameters
    ----------
    annealing : float, default=1.0
        Fraction of the phase in which the weight of the divergences rises.
    high_rate : float, default=2/3
        Fraction of the phase after which the learning rate is ten times lower.
    """

    annealing: float = 1.0
    high_rate: float = 2 / 3

    def kl_weight_at(self, progress: float) -> float:
        """Return the weight of the divergences after a fraction of the phase."""
        return self.kl_weights[1] * min(1.0, progress / self.annealing)

    def learning_rate_at(self, options: TrainingOptions, progress: float) -> float:
        """Return the learning rate after a fraction of the phase."""
        is_high = progress < self.high_rate
        return options.learning_rate * (1.0 if is_high else 0.1)


class CenteredRouter(nn.Module):
    """Router of one split whose logits have mean 0 in each batch.

    The published routers have batch normalization, which moves the logits of all
    samples together only slowly. Without it, one leaf receives all samples in a few
    steps: the leaf whose decoder is better at the start. Centering is the part of batch
    normalization that prevents this. It ends with the training of the split, so that
    the routing of a sample doesn't depend on other samples.

    Parameters
    ----------
    router : Routers
        The router.
    momentum : float, default=0.1
        Weight of a batch in the moving average of the logits' mean, as in torch.
    """

    def __init__(self, router: Routers, momentum: float = 0.1) -> None:
        super().__init__()
        self.router = router
        self._momentum = momentum
        zero = torch.zeros((), dtype=torch.float32, device=router.weights[-1].device)
        self.register_buffer("mean", zero)

    @torch.no_grad()
    def standardize(self, embedding: Tensor) -> None:
        """Give the logits of some inputs, (batch, n_in), mean 0 and deviation 1."""
        deviation = self.router(embedding).std()
        self.router.weights[-1].div_(torch.where(deviation > 0, deviation, 1.0))
        self.mean.copy_(self.router(embedding).mean())

    def split(self, sizes: Sequence[int]) -> list[Callable[[Tensor], Tensor]]:
        """Return the router of each level, as `Routers.split`."""
        first, *others = self.router.split(sizes)
        return [lambda x: self._center(first(x)), *others]

    def _center(self, logit: Tensor) -> Tensor:
        if not self.training:
            return logit - self.mean
        mean = logit.mean()
        self.mean.lerp_(mean.detach().to(self.mean.dtype), self._momentum)
        return logit - mean

    @torch.no_grad()
    def fold(self, embedding: Tensor) -> Routers:
        """Return the router with a constant bias, which centers the logits of inputs.

        Parameters
        ----------
        embedding : Tensor of shape (batch, n_in)
            Inputs of the router.
        """
        self.router.biases[-1].sub_(self.router(embedding).mean())
        return self.router


class PublishedGrowth(IterativeGrowth):
    """Splits leaves by random routers, with the schedule of the paper.

    Samples may change leaves at every step, and nothing but the ELBO decides where they
    go. All leaves that a sample may well reach decode it.
    """

    learning_rate = 1e-3
    router_dims = (128, 128)
    fields = ("target",)
    min_epochs: ClassVar[dict[str, int]] = {
        "initial": 150,
        "split": 150,
        "refresh": 80,
        "finetune": 200,
    }
    """Epochs of each phase with ``max_iter="auto"``."""
    max_active_leaves = sys.maxsize

    def _phase(self, name: str) -> PublishedPhase:
        """Return the schedules of a phase."""
        is_last = name == "finetune"
        return PublishedPhase(
            name,
            kl_weights=(0.0, 1.0 if is_last else self.growth_kl_weight),
            routing_weights=(0.0, 0.0),
            min_epochs=self.min_epochs[name],
            stops_early=False,
            annealing=0.5 if is_last else 1.0,
        )

    def new_model(self, topology: Topology) -> TreeVAE:
        """Return a model with random weights; that of the first split is centered."""
        model = super().new_model(topology)
        if topology.splits and not self.state.done:
            model.top_down.q_routers = CenteredRouter(model.top_down.q_routers)
        return model

    def new_split(self) -> TopDown:
        """Return a root with a centered router, and two leaves."""
        split = super().new_split()
        split.q_routers = CenteredRouter(split.q_routers)
        return split

    def _init_split(self, split: TopDown, depth: int, train: Tensor) -> Tensor:
        """Initialize a root and two leaves without any knowledge of sides."""
        mean = self.mean_of(train)
        for leaf in range(2):
            split.init_leaf(leaf, mean)
        split.q_routers.standardize(self._embed_some(depth, train))
        # The weight of the routing loss is 0.
        return torch.full((len(self.data.samples), 2), 0.5, device=train.device)

    def _finish_split(self, split: TopDown, depth: int, train: Tensor) -> None:
        """Make the routing of a sample independent of the other samples."""
        # After an interrupt, it may be so already.
        if isinstance(split.q_routers, CenteredRouter):
            split.q_routers = split.q_routers.fold(self._embed_some(depth, train))

    def _embed_some(self, depth: int, train: Tensor) -> Tensor:
        """Return embeddings of random samples, (n, hidden_dim)."""
        rows = self.draw(MAX_STATISTICS_ROWS, train)
        return self.data.gather(self._embed(rows, depth))
