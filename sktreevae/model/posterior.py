"""What a model infers from a batch, and the bound that follows, as typed results."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from .gaussians import Gaussian

__all__ = ["Decisions", "ElboTerms", "Level", "Posterior", "Routing"]


@dataclass(frozen=True)
class Decisions:
    """The Bernoulli decisions of a level's branching nodes, as logits of "left".

    Parameters
    ----------
    q_logit : Tensor of shape (n_branchings, n_slots)
        The inference model's, q(c_i | x).
    p_logit : Tensor of shape (n_branchings, n_slots)
        The generative model's, p(c_i | z_i).
    """

    q_logit: Tensor
    p_logit: Tensor

    def kl(self) -> Tensor:
        """KL(q(c) || p(c)) in nats, from logits: nothing saturates."""
        # With s the logistic function, log (1 - s(x)) = log s(x) - x joins the terms.
        log_ratio = F.softplus(-self.p_logit) - F.softplus(-self.q_logit)
        right = (-self.q_logit).sigmoid()
        return log_ratio + right * (self.p_logit - self.q_logit)


@dataclass(frozen=True)
class Routing:
    """Where samples go, by the q-routers alone.

    Parameters
    ----------
    q_logits : list of Tensor of shape (n_branchings, batch)
        Logits of "left" at each level but the deepest.
    log_paths : list of Tensor of shape (n_nodes, batch)
        log P(i | x), the log-probabilities of reaching the nodes of each level.
    leaf_log_path : Tensor of shape (n_leaves, batch)
        log P(l | x), those of the leaves.
    """

    q_logits: list[Tensor]
    log_paths: list[Tensor]
    leaf_log_path: Tensor


@dataclass(frozen=True)
class Level:
    """What is inferred at the nodes of one depth, stacked on the first dimension.

    The second has all samples or, in a sparse bound, as many slots as a node needs.

    Parameters
    ----------
    q, p : Gaussian
        q(z_i | x, z_pa(i)) and p(z_i | z_pa(i)), (n_nodes, n_slots, latent_dim).
    z : Tensor of shape (n_nodes, n_slots, latent_dim)
        The latents drawn from q.
    decisions : Decisions or None
        Those of the level's branching nodes; None on the deepest level.
    """

    q: Gaussian
    p: Gaussian
    z: Tensor
    decisions: Decisions | None


@dataclass(frozen=True)
class Posterior:
    """What is inferred in a whole tree.

    Parameters
    ----------
    levels : list of Level
        Latents and decisions at each depth.
    routing : Routing
        Ways down the tree.
    leaf_z : Tensor of shape (n_leaves, batch, latent_dim)
        Latents of the leaves.
    """

    levels: list[Level]
    routing: Routing
    leaf_z: Tensor

    @property
    def leaf_log_path(self) -> Tensor:
        """Log P(l | x), the log-probabilities of the leaves, (n_leaves, batch)."""
        return self.routing.leaf_log_path


@dataclass(frozen=True)
class ElboTerms:
    """The terms of the evidence lower bound in nats, (batch,) each (section 2.4).

    Parameters
    ----------
    reconstruction : Tensor
        sum_l P(l | x) E[log p(x | z_l)].
    kl_root : Tensor
        KL(q(z_0 | x) || p(z_0)).
    kl_nodes : Tensor
        sum_i P(i | x) E[KL(q(z_i | x, z_pa(i)) || p(z_i | z_pa(i)))], i not the root.
    kl_decisions : Tensor
        sum_i P(i | x) E[KL(q(c_i | x) || p(c_i | z_i))], i branching.
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
        """Return the bound or, with a weight below 1, what annealing maximises."""
        return self.reconstruction - kl_weight * self.kl
