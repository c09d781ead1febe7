"""Contrastive learning: pairs of a sample and its augmentation, and their losses.

Section 2.6 of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import FeatureTable, Samples, TrainingData
from ..graph import nearest_neighbors
from ..model import FeatureMap, Routing, TreeVAE
from ..model.layers import StackedMLP
from ..model.precision import no_autocast, to_float32
from .augmentation import Augmentation

PairSampler = Callable[[Tensor, torch.Generator], Tensor]
"""Maps indices of samples to features of a random augmentation of each sample."""


@dataclass(frozen=True, eq=False)
class AugmentedPairs:
    """Pairs a sample with a random augmentation of itself.

    Parameters
    ----------
    samples : Samples
        The data, standardized.
    feature_map : FeatureMap
        Computes the features of an augmentation.
    augment : Augmentation
        Augments rows in the units of X.
    """

    samples: Samples
    feature_map: FeatureMap
    augment: Augmentation

    @torch.no_grad()
    def __call__(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Return features of augmented samples, (len(index), n_outputs)."""
        rows = self.samples.standardizer.inverse_transform(self.samples[index])
        # A user's callable may return another float type.
        augmented = self.augment(rows, generator).to(rows)
        return self.feature_map(self.samples.standardizer.transform(augmented))


@dataclass(frozen=True, eq=False)
class NeighborPairs:
    """Pairs a sample with one of its nearest neighbors.

    Parameters
    ----------
    features : FeatureTable of shape (n_samples, n_outputs)
        Features of the samples.
    neighbors : Tensor of int of shape (n_samples, n_neighbors)
        Indices of the neighbors of each sample.

    Examples
    --------
    >>> from sktreevae.data import FeatureTable
    >>> features = FeatureTable.from_tensor(torch.eye(3))
    >>> pairs = NeighborPairs(features, torch.tensor([[1], [2], [0]]))
    >>> pairs(torch.tensor([0, 2]), torch.Generator())
    tensor([[0., 1., 0.],
            [1., 0., 0.]])
    """

    features: FeatureTable
    neighbors: Tensor

    @classmethod
    def from_data(
        cls, data: TrainingData, generator: torch.Generator, n_neighbors: int = 5
    ) -> NeighborPairs:
        """Find the neighbors of the training samples.

        Held-out samples are neighbors of no sample. A sample without neighbors is its
        own pair.
        """
        n_neighbors = min(n_neighbors, len(data.train) - 1)
        all_indices = torch.arange(len(data.features), device=data.train.device)
        neighbors = all_indices[:, None].repeat(1, max(1, n_neighbors))
        if n_neighbors > 0:
            position, _ = nearest_neighbors(
                data.features.subset(data.train), n_neighbors, generator
            )
            neighbors[data.train] = data.train[position]
        return cls(data.features, neighbors)

    def __call__(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """Return features of a neighbor of each sample, (len(index), n_outputs)."""
        n_neighbors = self.neighbors.shape[1]
        column = torch.randint(
            n_neighbors, index.shape, generator=generator, device=index.device
        )
        return self.features[self.neighbors[index, column]]


@dataclass(frozen=True)
class ContrastOptions:
    """Options of the contrastive losses.

    Parameters
    ----------
    pairs : PairSampler
        Source of augmentations.
    weight : float, default=10.0
        Weight of the losses relative to the ELBO.
    temperature : float, default=0.5
        Temperature of the NT-Xent loss.
    projection_dim : int, default=64
        Width of the projections.
    """

    pairs: PairSampler
    weight: float = 10.0
    temperature: float = 0.5
    projection_dim: int = 64


class Contrast(nn.Module):
    """Contrastive losses on the embeddings and the routers of a model.

    Parameters
    ----------
    options : ContrastOptions
        Augmentations, weight and temperature.
    model : TreeVAE
        The model.
    weights, rows : torch.Generator
        Sources of the initial weights of the projections, and of the augmentations.
    """

    def __init__(
        self,
        options: ContrastOptions,
        model: TreeVAE,
        *,
        weights: torch.Generator,
        rows: torch.Generator,
    ) -> None:
        super().__init__()
        self.options = options
        self.generator = rows
        depth, width = model.config.bottom_up_depth, model.config.hidden_dim
        # A small perceptron for each depth. The loss acts on projections, so that an
        # embedding can keep information that differs between augmentations.
        self.projections = StackedMLP(
            depth + 1, (width, width, options.projection_dim), generator=weights
        )

    def sample_pairs(self, index: Tensor) -> Tensor:
        """Return features of an augmentation of each sample, (batch, n_outputs)."""
        with no_autocast(index):
            return self.options.pairs(index, self.generator)

    def forward(
        self,
        model: TreeVAE,
        embeddings: list[Tensor],
        routing: Routing,
        index: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Compare the embeddings and the routing of samples and of augmentations.

        Parameters
        ----------
        model : TreeVAE
            The model, of any tree.
        embeddings : list of Tensor of shape (batch, hidden_dim)
            Embeddings of the samples, by depth.
        routing : Routing
            Routing of the samples.
        index : Tensor of int of shape (batch,)
            Indices of the samples.

        Returns
        -------
        loss : Tensor of shape ()
            Weighted sum of the NT-Xent loss, the mean over depths, and the InfoNCE
            loss of the routers, in nats.
        leaf_log_proba : Tensor of shape (n_leaves, batch)
            Log-probability of each leaf for the augmentations.
        """
        pair_embeddings = model.bottom_up(self.sample_pairs(index))
        pair_routing = model.route(pair_embeddings)
        projected = zip(
            self.projections(torch.stack(embeddings)),
            self.projections(torch.stack(pair_embeddings)),
            strict=True,
        )
        losses = [nt_xent(a, b, self.options.temperature) for a, b in projected]
        loss = torch.stack(losses).mean()
        if len(routing.q_logit):
            loss = loss + router_contrast(
                routing.q_logit,
                pair_routing.q_logit,
                _split_proba(model, routing),
                _split_proba(model, pair_routing),
            )
        return self.options.weight * loss, pair_routing.leaf_log_proba


def _split_proba(model: TreeVAE, routing: Routing) -> Tensor:
    """Return P(i | x) of the nodes with a router, (n_splits, batch)."""
    return routing.node_log_proba.index_select(0, model.top_down.index.splits).exp()


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Return the NT-Xent loss between two views of a batch, in nats.

    The normalized, temperature-scaled cross-entropy of Chen et al. (2020): the mean
    over all 2n rows of the negative log-probability of a row's other view under a
    softmax of the cosines with all other rows, divided by the temperature. 0 for n = 1.

    Parameters
    ----------
    a, b : Tensor of shape (n, width)
        Two views of the same samples.
    temperature : float
        Divisor of the cosines. Lower values emphasize hard negatives.

    Examples
    --------
    >>> a = torch.eye(4)
    >>> bool(nt_xent(a, a, 0.5) < nt_xent(a, a.roll(1, 0), 0.5))
    True
    """
    views = F.normalize(to_float32(torch.cat([a, b])), dim=1)
    with no_autocast(views):
        logits = views @ views.T / temperature
    logits = logits.masked_fill(
        torch.eye(len(logits), dtype=torch.bool, device=logits.device), -math.inf
    )
    positive = torch.arange(len(logits), device=logits.device).roll(len(a))
    return F.cross_entropy(logits, positive)


def router_contrast(
    logit_a: Tensor,
    logit_b: Tensor,
    weight_a: Tensor,
    weight_b: Tensor,
    *,
    n_powers: int = 9,
) -> Tensor:
    r"""Return the InfoNCE loss of the routers between two views of a batch, in nats.

    The loss of every router (section 2.6 of the paper), with temperature 1. The
    similarity of two rows at a router is the inner product of their (p, 1 - p), the
    probability that both go to the same side. With the similarities s, and the
    probabilities w that rows reach the router, row i, whose other view is j, has the
    loss

    .. math:: \log(e^{s_{ij}} + \sum_{k \neq i, j} w_k e^{s_{ik}}) - s_{ij}.

    The loss asks a router for the same decision on both views, and for decisions that
    are spread over both sides among the samples that reach it. The result is the mean
    over all rows of all routers, weighted by the probability that both views reach the
    router: the root's loss doesn't grow with the tree, and a router that few samples
    reach has a small weight. The loss is 0 if no sample reaches any router, or for
    n = 1.

    Parameters
    ----------
    logit_a, logit_b : Tensor of shape (n_routers, n)
        Log-odds of the decisions for two views of the same samples.
    weight_a, weight_b : Tensor of shape (n_routers, n)
        Probability P(i | x) that each view reaches each router. No gradient passes.
    n_powers : int, default=9
        Terms of the exponential series, exact in float32 for arguments up to 0.5.

    Examples
    --------
    >>> logit, reach = torch.tensor([[5.0, -5.0]]), torch.ones(1, 2)
    >>> bool(router_contrast(logit, logit, reach, reach) <
    ...      router_contrast(logit, -logit, reach, reach))
    True
    """
    # With t = 2 p - 1, s = (1 + t t') / 2. As |t t' / 2| <= 1 / 2, a few terms of the
    # exponential series give the sum over all rows from sums of powers of t: linear in
    # n, where the matrix of similarities of every router would be quadratic. The factor
    # exp(1 / 2) is common to all terms, and left out.
    t = (torch.cat([logit_a, logit_b], 1) / 2).tanh()
    weight = torch.cat([weight_a, weight_b], 1).detach()
    n = logit_a.shape[1]
    order = torch.arange(n_powers, device=t.device)
    powers = t[..., None] ** order
    sums = (weight[..., None] * powers).sum(1, keepdim=True)
    factors = torch.exp(-torch.lgamma(order + 1.0)) / 2**order
    all_rows = (powers * sums * factors).sum(2)
    agreement = t * t.roll(n, 1) / 2
    other_weight = weight.roll(n, 1)
    negatives = (
        all_rows - weight * (t.square() / 2).exp() - other_weight * agreement.exp()
    )
    loss = torch.log1p(negatives.clamp(min=0) * (-agreement).exp())
    both = weight * other_weight
    tiny = torch.finfo(both.dtype).tiny
    return (both * loss).sum() / both.sum().clamp(min=tiny)
