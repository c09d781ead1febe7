"""Top-down part of the model: latent variables, decisions and decoders of all nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..utils.devices import may_read
from ..utils.indexing import sum_by_index
from .config import ModelConfig
from .gaussians import DiagonalGaussian
from .layers import StackedMLP
from .posterior import (
    Decisions,
    ElboTerms,
    Encoding,
    Posterior,
    Routing,
)
from .precision import no_autocast, to_float32
from .topology import Topology
from .tree_index import TreeIndex


class TopDown(nn.Module):
    """Posterior heads, transformations, routers and decoders of a tree.

    The tree is a whole tree, or the split of a leaf that is trained alone. In the
    latter case the rest of the tree determines the root's distribution and
    log-probability, which are arguments.

    Parameters
    ----------
    topology : Topology
        The tree.
    config : ModelConfig
        Settings of the model.
    generator : torch.Generator
        Source of the initial weights.

    Attributes
    ----------
    index : TreeIndex
        Index tensors of the tree.
    heads, transformations : StackedMLP
        Networks of all nodes but the root.
    q_routers : Routers
        Routers of the inference model.
    p_routers : StackedMLP
        Routers of the generative model.
    decoders : LeafDecoders or LeafNetworks
        Networks of the leaves.
    likelihood : Likelihood
        Likelihood, with parameters of the leaves.
    """

    def __init__(
        self, topology: Topology, config: ModelConfig, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.topology = topology
        self.config = config
        self.index = TreeIndex(topology)
        latent_dim, hidden_width = config.latent_dim, 4 * config.latent_dim
        n_nodes, n_leaves = topology.n_nodes - 1, len(topology.leaves)
        n_splits = len(topology.splits)
        new = {"generator": generator}
        head_widths = (config.head_dim, 2 * latent_dim)
        self.heads = StackedMLP(n_nodes, head_widths, **new)
        self.transformations = StackedMLP(
            n_nodes, (latent_dim, hidden_width, 2 * latent_dim), gain=0.1, **new
        )
        self.q_routers = config.build_routers(n_splits, **new)
        self.p_routers = StackedMLP(n_splits, (latent_dim, hidden_width, 1), **new)
        self.decoders = config.build_decoders(n_leaves, **new)
        self.likelihood = config.build_likelihood(n_leaves)

    def posterior(
        self,
        encoding: Encoding,
        root: DiagonalGaussian,
        *,
        root_prior: DiagonalGaussian,
        root_log_proba: Tensor,
        noise: Tensor | None = None,
    ) -> Posterior:
        """Infer latent variables and decisions, from the root down.

        Parameters
        ----------
        encoding : Encoding
            Encoding of the batch.
        root, root_prior : DiagonalGaussian of shape (batch, latent_dim)
            q(z_0 | x) and p(z_0).
        root_log_proba : Tensor of shape (batch,)
            Log-probability of reaching the root: zeros, except for a split of a leaf.
        noise : Tensor of shape (n_levels, batch or 1, latent_dim), default=None
            Standard normal noise that latent variables are sampled with; see
            `sample_noise`. Without it, they are the posterior means.
        """
        index, sizes = self.index, self.index.level_sizes[1:]
        routing = self.route(encoding.embeddings, root_log_proba)
        if noise is None:
            noise = root.mean.new_zeros(1, self.config.latent_dim)
            noise = noise.expand(len(sizes) + 1, 1, -1)
        inputs = encoding.posterior_inputs
        heads = _apply_by_depth(self.heads, inputs[1:] or inputs, sizes)
        q, p = (
            [DiagonalGaussian(g.mean[None], g.variance[None])]
            for g in (root, root_prior)
        )
        z = [q[0].sample(noise[0])]
        for head, transform, parents, level_noise in zip(
            DiagonalGaussian.from_raw(heads).split(sizes),
            self.transformations.split(sizes),
            index.parents,
            noise[1:],
            strict=True,
        ):
            p.append(_transform(transform, z[-1].index_select(0, parents)))
            q.append(head.merge(p[-1]))
            z.append(q[-1].sample(level_noise))
        z = torch.cat(z)
        return Posterior(
            DiagonalGaussian.cat(q),
            DiagonalGaussian.cat(p),
            z,
            z.index_select(0, index.leaves),
            Decisions(routing.q_logit, self._p_logit(z)),
            routing,
        )

    def _p_logit(self, z: Tensor) -> Tensor:
        """Return the logits of the p-routers, (n_splits, batch)."""
        logit = self.p_routers(z.index_select(0, self.index.splits))
        return to_float32(logit).squeeze(-1)

    def route(self, embeddings: list[Tensor], root_log_proba: Tensor) -> Routing:
        """Compute routing probabilities. The q-routers need no latent variables.

        Parameters
        ----------
        embeddings : list of Tensor of shape (batch, hidden_dim)
            Embedding of each depth.
        root_log_proba : Tensor of shape (batch,)
            Log-probability of reaching the root; see `posterior`.
        """
        logit = _apply_by_depth(self.q_routers, embeddings, self.index.split_sizes)
        logit = to_float32(logit).squeeze(-1)
        # Under autocast, it may have the dtype of the embeddings.
        log_proba = self.index.path_log_probs(logit, to_float32(root_log_proba))
        return Routing(logit, log_proba, log_proba.index_select(0, self.index.leaves))

    def elbo(self, posterior: Posterior, x: Tensor) -> ElboTerms:
        """Compute the terms of the ELBO.

        Parameters
        ----------
        posterior : Posterior
            Posterior given x.
        x : Tensor of shape (batch, n_features)
            Data.
        """
        routing = posterior.routing
        log_prob = self.leaf_log_prob(posterior, x)
        reconstruction = (routing.leaf_log_proba.exp() * log_prob).sum(0)
        return self._elbo_terms(posterior, routing.node_log_proba.exp(), reconstruction)

    def sparse_elbo(
        self, posterior: Posterior, x: Tensor, leaf: Tensor, weight: Tensor
    ) -> ElboTerms:
        """Compute the terms of the ELBO from a few leaves of each sample.

        Only these leaves are decoded. Decoders have nearly all the cost of a step,
        which is therefore nearly independent of the number of leaves. The error of the
        terms and of their gradients is of the order of the probability that is left
        out. Routing probabilities are computed for all leaves, so a leaf that is
        skipped here can still attract samples.

        Parameters
        ----------
        posterior, x
            As for `elbo`.
        leaf, weight : Tensor of shape (n_kept, batch)
            Leaves of each sample, and their probabilities; see `select_leaves`.
        """
        reconstruction = self._reconstruction(posterior, x, leaf, weight)
        leaf_weight = torch.zeros_like(posterior.routing.leaf_log_proba)
        with no_autocast(x):
            node_weight = self.index.ancestry @ leaf_weight.scatter(0, leaf, weight)
        return self._elbo_terms(posterior, node_weight, reconstruction)

    def _reconstruction(
        self, posterior: Posterior, x: Tensor, leaf: Tensor, weight: Tensor
    ) -> Tensor:
        """Return the mean of log p(x | z_l) over some leaves; see `sparse_elbo`."""
        sample = torch.arange(len(x), device=x.device).repeat(len(leaf))
        leaf, weight = leaf.flatten(), weight.flatten()
        if may_read():
            pairs = weight.nonzero().squeeze(1)
            sample, leaf, weight = (v[pairs] for v in (sample, leaf, weight))
        z = posterior.leaf_z.flatten(0, 1).index_select(0, leaf * len(x) + sample)
        output = to_float32(self.decoders.decode(z, leaf))
        log_prob = self.likelihood.log_prob(output, x.index_select(0, sample), leaf)
        return sum_by_index(weight * log_prob, sample, len(x))

    def _elbo_terms(
        self, posterior: Posterior, node_weight: Tensor, reconstruction: Tensor
    ) -> ElboTerms:
        """Sum the divergences of each sample, weighted by (n_nodes, batch)."""
        kl = posterior.q.kl(posterior.p)
        split_weight = node_weight.index_select(0, self.index.splits)
        return ElboTerms(
            reconstruction,
            kl[0],
            (node_weight[1:] * kl[1:]).sum(0),
            (split_weight * posterior.decisions.kl()).sum(0),
        )

    def leaf_log_prob(self, posterior: Posterior, x: Tensor) -> Tensor:
        """Return log p(x | z_l) in nats for every leaf, (n_leaves, batch)."""
        return self.likelihood.log_prob(to_float32(self.decoders(posterior.leaf_z)), x)

    def sample_noise(self, n_samples: int, generator: torch.Generator) -> Tensor:
        """Draw standard normal noise, (n_levels, n_samples, latent_dim).

        The nodes of a level share their noise: no path has two of them, and all results
        are means over paths.
        """
        shape = (self.topology.depth + 1, n_samples, self.config.latent_dim)
        like = next(self.parameters())
        return torch.randn(
            shape, generator=generator, device=like.device, dtype=like.dtype
        )

    def sample_latents(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Sample the latent variables of all nodes from the prior, and route them.

        Parameters
        ----------
        noise : Tensor of shape (n_levels, batch, latent_dim)
            Standard normal noise; see `sample_noise`.

        Returns
        -------
        leaf_z : Tensor of shape (n_leaves, batch, latent_dim)
            Latent variables of the leaves.
        leaf_log_proba : Tensor of shape (n_leaves, batch)
            Log-probability of each leaf, from the p-routers.
        """
        z = self._sample_prior(noise)
        log_proba = self.index.path_log_probs(self._p_logit(z), z.new_zeros(z.shape[1]))
        return tuple(v.index_select(0, self.index.leaves) for v in (z, log_proba))

    def prior_logits(self, noise: Tensor) -> Tensor:
        """Return the logits of the p-routers for generated samples, (n_splits, batch).

        Parameters
        ----------
        noise : Tensor of shape (n_levels, batch, latent_dim)
            Standard normal noise; see `sample_noise`.
        """
        return self._p_logit(self._sample_prior(noise))

    def _sample_prior(self, noise: Tensor) -> Tensor:
        """Sample the latent variables of all nodes, (n_nodes, batch, latent_dim)."""
        index = self.index
        transformations = self.transformations.split(index.level_sizes[1:])
        z = [noise[:1]]
        for transform, parents, level_noise in zip(
            transformations, index.parents, noise[1:], strict=True
        ):
            p = _transform(transform, z[-1].index_select(0, parents))
            z.append(p.sample(level_noise))
        return torch.cat(z)

    def sample_data(
        self, leaf_z: Tensor, leaf: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Sample x from p(x | z_l), (batch, n_features).

        Parameters
        ----------
        leaf_z : Tensor of shape (n_leaves, batch, latent_dim)
            Latent variables of all leaves.
        leaf : Tensor of int of shape (batch,)
            Leaf that decodes each row.
        generator : torch.Generator
            Source of randomness.
        """
        z = leaf_z[leaf, torch.arange(len(leaf), device=leaf.device)]
        return self.likelihood.sample(self.decoders.decode(z, leaf), generator, leaf)

    @torch.no_grad()
    def init_leaf(self, leaf: int, mean: Tensor) -> None:
        """Initialize a leaf's decoder with a mean of the data, (n_features,)."""
        self.decoders.constant[leaf] = self.likelihood.link(mean)


def _transform(network: Callable[[Tensor], Tensor], z: Tensor) -> DiagonalGaussian:
    """Return p(z_i | z_pa(i)). The network gives the difference of the means."""
    p = DiagonalGaussian.from_raw(network(z))
    return DiagonalGaussian(z + p.mean, p.variance)


def _apply_by_depth(
    networks: StackedMLP, inputs: Sequence[Tensor], sizes: Sequence[int]
) -> Tensor:
    """Apply the networks of nodes to the inputs of their depths, (n_nodes, batch, ...).

    Parameters
    ----------
    networks : StackedMLP
        A network for each node, level by level.
    inputs : sequence of Tensor of shape (batch, n_in)
        Input of each level; deeper levels read the last one.
    sizes : sequence of int
        Number of nodes of each level.
    """
    # Nodes that read the same input are a single matrix product.
    n_last = len(inputs) - 1
    shared = [*sizes[:n_last], sum(sizes[n_last:])]
    return torch.cat(
        [network(x) for network, x in zip(networks.split(shared), inputs, strict=False)]
    )
