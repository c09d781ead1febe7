"""Results of inference and the terms of the ELBO, as frozen dataclasses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .gaussians import DiagonalGaussian


@dataclass(frozen=True)
class Encoding:
    """Deterministic encoding of a batch, one tensor for each depth of the tree.

    Nodes that are deeper than the last tensor read the last tensor.

    Parameters
    ----------
    embeddings : list of Tensor of shape (batch, hidden_dim)
        Bottom-up embeddings d_0, d_1, ...; the input of the q-routers.
    posterior_inputs : list of Tensor of shape (batch, head_dim)
        Input of the posterior heads: the embeddings, plus the encoder's output if the
        model has an encoder, or followed by the data if it has linear paths.
    """

    embeddings: list[Tensor]
    posterior_inputs: list[Tensor]


def at_depth(by_depth: list[Tensor], depth: int) -> Tensor:
    """Return the tensor that nodes at a depth read, from tensors of an `Encoding`."""
    return by_depth[min(depth, len(by_depth) - 1)]


@dataclass(frozen=True)
class Decisions:
    """Bernoulli decisions at the splits, as logits of "left".

    Parameters
    ----------
    q_logit : Tensor of shape (n_splits, batch)
        Logits of q(c_i | x), from the inference model.
    p_logit : Tensor of shape (n_splits, batch)
        Logits of p(c_i | z_i), from the generative model.
    """

    q_logit: Tensor
    p_logit: Tensor

    def kl(self) -> Tensor:
        """Return KL(q(c) || p(c)) in nats, from logits: nothing saturates."""
        # With s the logistic function, log (1 - s(x)) = log s(x) - x joins the terms.
        log_ratio = F.softplus(-self.p_logit) - F.softplus(-self.q_logit)
        right = (-self.q_logit).sigmoid()
        return log_ratio + right * (self.p_logit - self.q_logit)


@dataclass(frozen=True)
class Routing:
    """Routing probabilities of a batch, computed by the q-routers.

    Parameters
    ----------
    q_logit : Tensor of shape (n_splits, batch)
        Logits of "left" at the splits.
    node_log_proba : Tensor of shape (n_nodes, batch)
        log P(i | x), the log-probability of reaching each node.
    leaf_log_proba : Tensor of shape (n_leaves, batch)
        log P(l | x), the log-probability of each leaf.
    """

    q_logit: Tensor
    node_log_proba: Tensor
    leaf_log_proba: Tensor


def select_leaves(
    leaf_log_proba: Tensor, max_leaves: int, min_leaf_prob: float = 0.01
) -> tuple[Tensor, Tensor]:
    """Return the most probable leaves of each sample, and their probabilities.

    Parameters
    ----------
    leaf_log_proba : Tensor of shape (n_leaves, batch)
        log P(l | x).
    max_leaves : int
        Number of leaves per sample, if there are as many.
    min_leaf_prob : float, default=0.01
        Leaves with a smaller probability are skipped, relative to the sample's most
        probable leaf.

    Returns
    -------
    leaf : Tensor of int of shape (n_kept, batch)
        Leaves of each sample, the most probable one first.
    weight : Tensor of shape (n_kept, batch)
        Probabilities that sum to 1 for each sample; 0 for the leaves that are skipped.
    """
    n_kept = min(max_leaves, len(leaf_log_proba))
    best, leaf = leaf_log_proba.topk(n_kept, dim=0)
    skipped = best < best[0] + math.log(min_leaf_prob)
    return leaf, best.masked_fill(skipped, -torch.inf).softmax(0)


@dataclass(frozen=True)
class Posterior:
    """Inferred latent variables, decisions and routing probabilities of a batch.

    Parameters
    ----------
    q, p : DiagonalGaussian of shape (n_nodes, batch, latent_dim)
        q(z_i | x, z_pa(i)) and p(z_i | z_pa(i)).
    z : Tensor of shape (n_nodes, batch, latent_dim)
        Samples of q, or its means.
    leaf_z : Tensor of shape (n_leaves, batch, latent_dim)
        Those of the leaves.
    decisions : Decisions
        Decisions at the splits.
    routing : Routing
        Routing probabilities.
    """

    q: DiagonalGaussian
    p: DiagonalGaussian
    z: Tensor
    leaf_z: Tensor
    decisions: Decisions
    routing: Routing


@dataclass(frozen=True)
class ElboTerms:
    """Terms of the evidence lower bound in nats, (batch,) each (section 2.4).

    Parameters
    ----------
    reconstruction : Tensor
        sum_l P(l | x) E[log p(x | z_l)].
    kl_root : Tensor
        KL(q(z_0 | x) || p(z_0)).
    kl_nodes : Tensor
        sum_i P(i | x) E[KL(q(z_i | x, z_pa(i)) || p(z_i | z_pa(i)))], over all nodes i
        but the root.
    kl_decisions : Tensor
        sum_i P(i | x) E[KL(q(c_i | x) || p(c_i | z_i))], over all splits i.
    """

    reconstruction: Tensor
    kl_root: Tensor
    kl_nodes: Tensor
    kl_decisions: Tensor

    @property
    def kl(self) -> Tensor:
        """The sum of the three divergences."""
        return self.kl_root + self.kl_nodes + self.kl_decisions

    def elbo(self, kl_weight: float = 1.0) -> Tensor:
        """Return the ELBO; with a weight below 1, the objective of KL annealing."""
        return self.reconstruction - kl_weight * self.kl
