"""Top-down part of the model: latent variables, decisions and decoders of all nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..utils.indexing import sum_by_index
from .config import ModelConfig
from .gaussians import DiagonalGaussian
from .layers import StackedMLP
from .posterior import (
    Decisions,
    ElboTerms,
    Encoding,
    Level,
    Posterior,
    Routing,
    at_depth,
)
from .precision import to_float32
from .sparse import DenseLevel, SparseLevel, plan
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
        noise : Tensor of shape (n_nodes, batch or 1, latent_dim), default=None
            Standard normal noise that latent variables are sampled with. Without it,
            they are the posterior means.
        """
        routing = self.route(encoding.embeddings, root_log_proba)
        noises = None if noise is None else noise.split(self.index.level_sizes)
        dense = [
            DenseLevel(self.index.parents(depth))
            for depth in range(self.topology.depth + 1)
        ]
        levels = self._infer_levels(
            dense, routing, encoding.posterior_inputs, (root, root_prior), noises
        )
        leaf_z = self.index.at_leaves([level.z for level in levels])
        return Posterior(levels, routing, leaf_z)

    def _infer_levels(
        self,
        slots: Sequence[DenseLevel | SparseLevel],
        routing: Routing,
        posterior_inputs: list[Tensor],
        root: tuple[DiagonalGaussian, DiagonalGaussian],
        noises: Sequence[Tensor] | None,
    ) -> list[Level]:
        """Infer the latent variables of each level, for the samples in its slots.

        `root` is the pair of q(z_0 | x) and p(z_0); `noises` are by level.
        """
        heads = self.heads.split(self.index.level_sizes[1:])
        transformations = self.transformations.split(self.index.level_sizes[1:])
        p_routers = self.p_routers.split(self.index.split_sizes)
        q, p = (DiagonalGaussian(g.mean[None], g.variance[None]) for g in root)
        levels: list[Level] = []
        for depth, level in enumerate(slots):
            if depth > 0:
                z_parent = level.pass_down(levels[-1].z)
                p = _transform(transformations[depth - 1], z_parent)
                inputs = level.gather(at_depth(posterior_inputs, depth))
                q = DiagonalGaussian.from_raw(heads[depth - 1](inputs)).merge(p)
            z = q.mean if noises is None else q.sample(noises[depth])
            decisions = None
            if depth < self.topology.depth:
                splits = self.index.splits(depth)
                p_logit = to_float32(p_routers[depth](z.index_select(0, splits)))
                p_logit = p_logit.squeeze(-1)
                q_logit = level.select(routing.q_logits[depth], splits)
                decisions = Decisions(q_logit, p_logit)
            levels.append(Level(q, p, z, decisions))
        return levels

    def route(self, embeddings: list[Tensor], root_log_proba: Tensor) -> Routing:
        """Compute routing probabilities. The q-routers need no latent variables.

        Parameters
        ----------
        embeddings : list of Tensor of shape (batch, hidden_dim)
            Embedding of each depth.
        root_log_proba : Tensor of shape (batch,)
            Log-probability of reaching the root; see `posterior`.
        """
        # Splits that read the same embedding are a single matrix product.
        sizes = self.index.split_sizes
        n_last = len(embeddings) - 1
        shared = [*sizes[:n_last], sum(sizes[n_last:])]
        logits = [
            to_float32(router(embedding)).squeeze(-1)
            for router, embedding in zip(
                self.q_routers.split(shared), embeddings, strict=False
            )
        ]
        logit = torch.cat(logits)
        # Under autocast, it may have the dtype of the embeddings.
        log_proba = self.index.path_log_probs(logit, to_float32(root_log_proba))
        return Routing(
            list(logit.split(sizes[:-1])),
            list(log_proba.split(self.index.level_sizes)),
            log_proba.index_select(0, self.index.leaves),
        )

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
        weights = [log_proba.exp() for log_proba in routing.node_log_proba]
        all_indices = torch.arange(len(x), device=x.device)
        samples = [all_indices.expand_as(weight) for weight in weights]
        return self._elbo_terms(posterior.levels, weights, samples, reconstruction)

    def sparse_elbo(
        self,
        encoding: Encoding,
        root: DiagonalGaussian,
        routing: Routing,
        x: Tensor,
        *,
        root_prior: DiagonalGaussian,
        leaf_weight: Tensor,
        generator: torch.Generator | None = None,
    ) -> ElboTerms:
        """Compute the terms of the ELBO from a few leaves of each sample.

        Only the leaves with a weight are decoded, and latent variables are inferred
        only on the paths to them. The cost is therefore nearly independent of the
        number of leaves. The error of the terms and of their gradients is of the order
        of the probability that is left out. Routing probabilities are computed for all
        leaves, so a leaf that is skipped here can still attract samples.

        Parameters
        ----------
        encoding, root, root_prior
            As for `posterior`.
        routing : Routing
            Routing probabilities of the batch.
        x : Tensor of shape (batch, n_features)
            Data.
        leaf_weight : Tensor of shape (n_leaves, batch)
            Probabilities of the leaves that are kept; see `sparse.select_leaves`.
        generator : torch.Generator, default=None
            Source of the noise that latent variables are sampled with. Without it,
            they are the posterior means.
        """
        slots = plan(leaf_weight, self.index)
        noises = None
        if generator is not None:
            noises = self._sample_noises(slots.weights, generator)
        levels = self._infer_levels(
            slots.levels, routing, encoding.posterior_inputs, (root, root_prior), noises
        )
        z = torch.cat([level.z.flatten(0, 1) for level in levels])
        n_rows = slots.leaf.bincount(minlength=len(leaf_weight)).tolist()
        z = z.index_select(0, slots.slot)
        output = to_float32(self.decoders.forward_groups(z, n_rows))
        rows = x.index_select(0, slots.sample)
        log_prob = self.likelihood.log_prob(output, rows, slots.leaf)
        weighted = leaf_weight[slots.leaf, slots.sample] * log_prob
        reconstruction = sum_by_index(weighted, slots.sample, len(x))
        samples = [level.sample for level in slots.levels]
        return self._elbo_terms(levels, slots.weights, samples, reconstruction)

    def _sample_noises(
        self, like: Sequence[Tensor], generator: torch.Generator
    ) -> list[Tensor]:
        """Draw standard normal noise for the latent variables of slots, by level."""
        sizes = [values.numel() for values in like]
        shape = sum(sizes), self.config.latent_dim
        noise = like[0].new_empty(shape).normal_(generator=generator)
        return [
            rows.unflatten(0, values.shape)
            for rows, values in zip(noise.split(sizes), like, strict=True)
        ]

    def _elbo_terms(
        self,
        levels: list[Level],
        weights: Sequence[Tensor],
        samples: Sequence[Tensor],
        reconstruction: Tensor,
    ) -> ElboTerms:
        """Sum the divergences of each sample, of all levels at once.

        `weights` and `samples` are the probability and the index of the sample in each
        slot, (n_nodes, n_slots) for each level.
        """
        q, p = (
            DiagonalGaussian(
                torch.cat([g.mean.flatten(0, 1) for g in by_level]),
                torch.cat([g.variance.flatten(0, 1) for g in by_level]),
            )
            for by_level in ([lv.q for lv in levels], [lv.p for lv in levels])
        )
        weight = torch.cat([w.flatten() for w in weights])
        kl = weight * q.kl(p)
        n = len(reconstruction)  # the root has all samples, in their order
        sample = torch.cat([s.flatten() for s in samples])
        kl_nodes = sum_by_index(kl[n:], sample[n:], n)
        kl_decisions = torch.zeros_like(reconstruction)
        if len(levels) > 1:
            kl_decisions = self._decision_kl(levels, weights, samples, n)
        return ElboTerms(reconstruction, kl[:n], kl_nodes, kl_decisions)

    def _decision_kl(
        self,
        levels: list[Level],
        weights: Sequence[Tensor],
        samples: Sequence[Tensor],
        n_samples: int,
    ) -> Tensor:
        """Sum the divergences of each sample's decisions; see `_elbo_terms`."""
        decisions = Decisions(
            torch.cat([lv.decisions.q_logit.flatten() for lv in levels[:-1]]),
            torch.cat([lv.decisions.p_logit.flatten() for lv in levels[:-1]]),
        )
        weight, sample = (
            torch.cat(
                [
                    values.index_select(0, self.index.splits(depth)).flatten()
                    for depth, values in enumerate(by_level[:-1])
                ]
            )
            for by_level in (weights, samples)
        )
        return sum_by_index(weight * decisions.kl(), sample, n_samples)

    def leaf_log_prob(self, posterior: Posterior, x: Tensor) -> Tensor:
        """Return log p(x | z_l) in nats for every leaf, (n_leaves, batch)."""
        return self.likelihood.log_prob(to_float32(self.decoders(posterior.leaf_z)), x)

    def sample_noise(self, n_samples: int, generator: torch.Generator) -> Tensor:
        """Draw standard normal noise, (n_nodes, n_samples, latent_dim)."""
        shape = (self.topology.n_nodes, n_samples, self.config.latent_dim)
        like = next(self.parameters())
        return torch.randn(
            shape, generator=generator, device=like.device, dtype=like.dtype
        )

    def sample_latents(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Sample the latent variables of all nodes from the prior, and route them.

        Parameters
        ----------
        noise : Tensor of shape (n_nodes, batch, latent_dim)
            Standard normal noise.

        Returns
        -------
        leaf_z : Tensor of shape (n_leaves, batch, latent_dim)
            Latent variables of the leaves.
        leaf_log_proba : Tensor of shape (n_leaves, batch)
            Log-probability of each leaf, from the p-routers.
        """
        index = self.index
        transformations = self.transformations.split(index.level_sizes[1:])
        p_routers = self.p_routers.split(index.split_sizes)
        noises = noise.split(index.level_sizes)
        z, log_proba = noises[0], torch.zeros_like(noises[0][..., 0])
        latents, log_probas = [z], [log_proba]
        for depth in range(1, self.topology.depth + 1):
            z_splits = z.index_select(0, index.splits(depth - 1))
            logit = p_routers[depth - 1](z_splits).squeeze(-1)
            log_proba = index.pass_down(log_proba, depth) + index.child_log_probs(
                logit, depth - 1
            )
            p = _transform(transformations[depth - 1], index.pass_down(z, depth))
            z = p.sample(noises[depth])
            latents.append(z)
            log_probas.append(log_proba)
        return index.at_leaves(latents), index.at_leaves(log_probas)

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
        leaf, order = leaf.sort(stable=True)
        n_rows = leaf.bincount(minlength=len(leaf_z)).tolist()
        output = self.decoders.forward_groups(leaf_z[leaf, order], n_rows)
        x = self.likelihood.sample(output, generator, leaf)
        return x[order.argsort()]

    @torch.no_grad()
    def init_leaf(self, leaf: int, mean: Tensor) -> None:
        """Initialize a leaf's decoder with a mean of the data, (n_features,)."""
        self.decoders.init_output(leaf, self.likelihood.link(mean))


def _transform(network: Callable[[Tensor], Tensor], z: Tensor) -> DiagonalGaussian:
    """Return p(z_i | z_pa(i)). The network gives the difference of the means."""
    p = DiagonalGaussian.from_raw(network(z))
    return DiagonalGaussian(z + p.mean, p.variance)
