"""The contrastive extension: a model that treats variants of a sample alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..model import Routing, TreeVAE
from ..model.layers import StackedMLP
from ..model.precision import full, full_precision
from .views import Views

__all__ = ["Contrast", "ContrastOptions", "Projections", "nt_xent", "router_contrast"]

WIDTH = 64
"""Of the projections."""

N_POWERS = 9
"""Terms of the exponential series, exact in float32 for arguments up to a half."""


@dataclass(frozen=True)
class ContrastOptions:
    """What variants there are, and how much they matter; see `TreeVAEClustering`."""

    views: Views
    weight: float
    temperature: float


class Contrast(nn.Module):
    """The losses that ask a model to treat variants of a sample alike (section 2.6).

    Parameters
    ----------
    options : ContrastOptions
        Variants, and the weight of the losses.
    model : TreeVAE
        The model.
    generator : torch.Generator
        Source of the initial weights of the projections, and of the variants.
    """

    def __init__(
        self, options: ContrastOptions, model: TreeVAE, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.options = options
        self.generator = generator
        hidden_dim = model.config["hidden_dim"]
        self.project = Projections(
            model.config["n_steps"] + 1, hidden_dim, WIDTH, generator
        )

    def variants(self, index: Tensor) -> Tensor:
        """Return features of a variant of each sample, (len(index), n_outputs)."""
        with full_precision(self.project.nets.biases[0]):
            return self.options.views(index, self.generator)

    def forward(
        self,
        model: TreeVAE,
        embeddings: list[Tensor],
        routing: Routing,
        index: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Compare what a model makes of samples and of a variant of each.

        Parameters
        ----------
        model : TreeVAE
            The model, of any tree.
        embeddings, routing : list of Tensor, Routing
            What it makes of the samples.
        index : Tensor of int of shape (batch,)
            Which samples these are.

        Returns
        -------
        loss : Tensor of shape ()
            NT-Xent, the mean over depths, and the routers' InfoNCE; weighted, in nats.
        leaf_log_path : Tensor of shape (n_leaves, batch)
            log P(l | variant).
        """
        others = model.bottom_up(self.variants(index))
        other_routing = model.route_with(others)
        pairs = zip(self.project(embeddings), self.project(others), strict=True)
        losses = [nt_xent(a, b, self.options.temperature) for a, b in pairs]
        loss = torch.stack(losses).mean()
        if routing.q_logits:
            loss = loss + router_contrast(
                torch.cat(routing.q_logits),
                torch.cat(other_routing.q_logits),
                self._reach(model, routing.log_paths),
                self._reach(model, other_routing.log_paths),
            )
        return self.options.weight * loss, other_routing.leaf_log_path

    @staticmethod
    def _reach(model: TreeVAE, log_paths: list[Tensor]) -> Tensor:
        """P(i | x) of the branching nodes, (n_branchings, batch)."""
        branching = [
            log_path.index_select(0, model.top_down.branchings(depth))
            for depth, log_path in enumerate(log_paths[:-1])
        ]
        return torch.cat(branching).exp()


class Projections(nn.Module):
    """One small perceptron for each depth's embedding, to contrast what it gives.

    An embedding can so keep what differs between views. Used in training only.

    Parameters
    ----------
    n_embeddings : int
        Number of embeddings.
    hidden_dim : int
        Width of every embedding, and of the hidden layer.
    width : int
        Width of the projections.
    generator : torch.Generator
        Source of the initial weights.

    Examples
    --------
    >>> project = Projections(3, 128, 64, generator=torch.Generator())
    >>> [d.shape for d in project([torch.zeros(10, 128)] * 3)]
    [torch.Size([10, 64]), torch.Size([10, 64]), torch.Size([10, 64])]
    """

    def __init__(
        self,
        n_embeddings: int,
        hidden_dim: int,
        width: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        widths = (hidden_dim, hidden_dim, width)
        self.nets = StackedMLP(n_embeddings, widths, generator=generator)

    def forward(self, embeddings: Sequence[Tensor]) -> list[Tensor]:
        """Return the projections, each (batch, width), of embeddings d_0, ..., d_D."""
        return list(self.nets(torch.stack(list(embeddings))).unbind())


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Return how badly rows are told by the direction of their other view, in nats.

    The normalised, temperature-scaled cross-entropy of Chen et al. (2020): the mean
    over all 2n rows of the negative log-probability of a row's other view under a
    softmax of the cosines with all other rows, divided by the temperature. 0 for n = 1.

    Parameters
    ----------
    a, b : Tensor of shape (n, width)
        Two views of the same samples.
    temperature : float
        Unit of the cosines: the smaller, the more the nearest negatives matter.

    Examples
    --------
    >>> a = torch.eye(4)
    >>> bool(nt_xent(a, a, 0.5) < nt_xent(a, a.roll(1, 0), 0.5))
    True
    """
    views = F.normalize(full(torch.cat([a, b])), dim=1)
    with full_precision(views):
        logits = views @ views.T / temperature
    logits = logits.masked_fill(
        torch.eye(len(logits), dtype=torch.bool, device=logits.device), -math.inf
    )
    other = torch.arange(len(logits), device=logits.device).roll(len(a))
    return F.cross_entropy(logits, other)


def router_contrast(
    logit_a: Tensor, logit_b: Tensor, weight_a: Tensor, weight_b: Tensor
) -> Tensor:
    r"""Return how badly samples are told by their other view's decisions, in nats.

    The InfoNCE of every router (section 2.6 of the paper) with temperature 1. The
    similarity of two rows at a router is the inner product of their (p, 1 - p): the
    probability that they go the same way. With the similarities s, and w the
    probabilities that rows reach the router, row i, whose other view is j, loses

    .. math:: \log(e^{s_{ij}} + \sum_{k \neq i, j} w_k e^{s_{ik}}) - s_{ij}.

    So a router is asked for decisions that are the same for both views and that are
    otherwise spread over both sides, among the samples that reach it; others are
    no evidence. The result is the mean over all rows of all routers, weighted by the
    probability that both views reach the router: the root's loss doesn't grow with
    the tree, and a router with few samples has little say. It is 0 where no sample
    reaches any router, or for n = 1.

    Parameters
    ----------
    logit_a, logit_b : Tensor of shape (n_routers, n)
        Log-odds of the decisions for two views of the same samples.
    weight_a, weight_b : Tensor of shape (n_routers, n)
        Probability of each view to reach each router, P(i|x). No gradient passes.

    Examples
    --------
    >>> logit, reach = torch.tensor([[5.0, -5.0]]), torch.ones(1, 2)
    >>> bool(router_contrast(logit, logit, reach, reach) <
    ...      router_contrast(logit, -logit, reach, reach))
    True
    """
    # With t = 2 p - 1, s = (1 + t t') / 2. As |t t' / 2| <= 1 / 2, a few terms of the
    # exponential series give the sum over all rows by the powers' sums over rows:
    # linear in n, where the matrix of similarities of every router would be quadratic.
    # The factor exp(1 / 2) is common to all terms, and left out.
    t = (torch.cat([logit_a, logit_b], 1) / 2).tanh()
    weight = torch.cat([weight_a, weight_b], 1).detach()
    n = logit_a.shape[1]
    order = torch.arange(N_POWERS, device=t.device)
    powers = t[..., None] ** order
    sums = (weight[..., None] * powers).sum(1, keepdim=True)
    factors = torch.exp(-torch.lgamma(order + 1.0)) / 2**order
    everyone = (powers * sums * factors).sum(2)
    agreement = t * t.roll(n, 1) / 2
    other_weight = weight.roll(n, 1)
    negatives = (
        everyone - weight * (t.square() / 2).exp() - other_weight * agreement.exp()
    )
    loss = torch.log1p(negatives.clamp(min=0) * (-agreement).exp())
    both = weight * other_weight
    tiny = torch.finfo(both.dtype).tiny
    return (both * loss).sum() / both.sum().clamp(min=tiny)
