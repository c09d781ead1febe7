"""The tree variational autoencoder (Manduchi et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .decoders import LeafDecoders
from .features import FeatureMap
from .gaussians import Gaussian
from .layers import StackedModules, linear
from .networks import BottomUp, Factory
from .posterior import ElboTerms, Posterior, Routing
from .topdown import TopDown
from .topology import Topology

__all__ = ["TreeVAE"]

SAMPLE_BLOCK = 1024
"""Samples drawn at a time: latents are drawn at all nodes."""


class TreeVAE(nn.Module):
    r"""A generative model whose latent variables form a learned binary tree.

    .. math::
        p(x, z, c) = p(z_0) \prod_{i \in path} p(c_{pa(i)} | z_{pa(i)})
        p(z_i | z_{pa(i)}) \; p(x | z_{leaf})

    Parameters
    ----------
    topology : Topology
        The tree.
    n_features : int
        Features of the data.
    hidden_dim : int, default=128
        Width of the bottom-up embeddings.
    latent_dim : int, default=8
        Width of the latent of each node.
    router_dim : int, default=0
        Width of the hidden layer of each q-router; 0 for none: they are linear in the
        embeddings.
    n_steps : int, default=4
        Steps of the bottom-up chain; nodes at depth k read embedding min(k, n_steps).
    likelihood : str, default="gaussian"
        Distribution of the data given the latent of a leaf: "bernoulli", "gaussian",
        "poisson" or "negative_binomial".
    feature_map : FeatureMap, default=None
        Features of the data that the bottom-up side sees; the data by default.
    encoder : Factory, default=None
        Makes a network from (batch, n_features) to (batch, hidden_dim). Its output for
        the data is added to the embeddings that latents are inferred from; the routers
        do with those of the features, which tell neighbours.
    decoder : callable, default=None
        Makes the decoders of some leaves; see `TopDown`.
    generator : torch.Generator
        Source of the initial weights.

    Examples
    --------
    >>> tree = Topology.single_leaf().split(0).topology
    >>> model = TreeVAE(tree, n_features=5, generator=torch.Generator())
    >>> x = torch.zeros(3, 5)
    >>> model.infer(x).leaf_log_path.exp().sum(0)
    tensor([1., 1., 1.], grad_fn=<SumBackward1>)
    >>> model.elbo(x).elbo().shape
    torch.Size([3])
    """

    def __init__(
        self,
        topology: Topology,
        n_features: int,
        *,
        hidden_dim: int = 128,
        latent_dim: int = 8,
        router_dim: int = 0,
        n_steps: int = 4,
        likelihood: str = "gaussian",
        feature_map: FeatureMap | None = None,
        encoder: Factory | None = None,
        decoder: Callable[..., LeafDecoders | StackedModules] | None = None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.feature_map = (
            FeatureMap(n_features) if feature_map is None else feature_map
        )
        self._encoder = encoder
        self.encoder = None if encoder is None else encoder(generator=generator)
        self.bottom_up = BottomUp(
            self.feature_map.n_outputs,
            hidden_dim=hidden_dim,
            n_steps=n_steps,
            generator=generator,
        )
        self.root_head = linear(hidden_dim, 2 * latent_dim, generator=generator)
        self.top_down = TopDown(
            topology,
            n_features,
            hidden_dim=hidden_dim,
            latent_dim=latent_dim,
            router_dim=router_dim,
            likelihood=likelihood,
            decoder=decoder,
            generator=generator,
        )

    @property
    def topology(self) -> Topology:
        """The tree."""
        return self.top_down.topology

    @property
    def config(self) -> dict[str, object]:
        """Arguments that make a model of the same shape, but for the generator."""
        return {
            "topology": self.topology,
            "n_steps": len(self.bottom_up.chain),
            "feature_map": self.feature_map,
            "encoder": self._encoder,
            **self.top_down.config,
        }

    def draw_noise(self, n_samples: int, generator: torch.Generator) -> Tensor:
        """Draw the noise that samples the latents: (n_nodes, n_samples, latent_dim)."""
        return self.top_down.draw_noise(n_samples, generator)

    def infer(self, x: Tensor, noise: Tensor | None = None) -> Posterior:
        """Infer latents and paths of a batch (section 2.3).

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)
            Data.
        noise : Tensor of shape (n_nodes, batch or 1, latent_dim), default=None
            Draws the latents; without it they are the posterior means.
        """
        embeddings = self.bottom_up(self.feature_map(x))
        return self.infer_with(embeddings, self.evidence(embeddings, x), noise)

    def evidence(self, embeddings: list[Tensor], x: Tensor) -> list[Tensor]:
        """Return what latents are inferred from: embeddings, plus what x says."""
        if self.encoder is None:
            return embeddings
        code = self.encoder(x)
        return [embedding + code for embedding in embeddings]

    def infer_with(
        self,
        embeddings: list[Tensor],
        evidence: list[Tensor],
        noise: Tensor | None = None,
    ) -> Posterior:
        """Infer latents and paths from embeddings and evidence of a batch."""
        root = Gaussian.from_raw(self.root_head(evidence[0]))
        return self.top_down.infer(
            embeddings,
            evidence,
            root,
            root_prior=Gaussian.standard(root.mean),
            root_log_path=root.mean.new_zeros(len(root.mean)),
            noise=noise,
        )

    def sparse_elbo(
        self,
        routing: Routing,
        evidence: list[Tensor],
        x: Tensor,
        n_leaves: int,
        generator: torch.Generator | None = None,
    ) -> ElboTerms:
        """Bound log p(x) by way of few leaves; see `TopDown.sparse_elbo`."""
        root = Gaussian.from_raw(self.root_head(evidence[0]))
        return self.top_down.sparse_elbo(
            routing,
            evidence,
            root,
            x,
            root_prior=Gaussian.standard(root.mean),
            n_leaves=n_leaves,
            generator=generator,
        )

    def route(self, x: Tensor) -> Tensor:
        """Return log P(l | x) of each leaf, (n_leaves, batch): `infer` without latents.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)
            Data.
        """
        return self.route_from(self.feature_map(x))

    def route_from(self, features: Tensor) -> Tensor:
        """Return log P(l | x) from what `feature_map` makes of a batch."""
        return self.route_with(self.bottom_up(features)).leaf_log_path

    def route_with(self, embeddings: list[Tensor]) -> Routing:
        """Return the ways down the tree that a batch of embeddings takes."""
        return self.top_down.route(
            embeddings, embeddings[0].new_zeros(len(embeddings[0]))
        )

    def elbo(self, x: Tensor, noise: Tensor | None = None) -> ElboTerms:
        """Bound log p(x) from below (section 2.4); arguments as for `infer`."""
        return self.top_down.elbo(self.infer(x, noise), x)

    def leaf_elbo(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Bound log p(x | leaf) for every leaf, (n_leaves, batch), in nats.

        This is the bound without its decision terms, had x gone to that leaf.
        """
        posterior = self.infer(x, noise)
        path_kls: list[Tensor] = []
        for depth, level in enumerate(posterior.levels):
            kl = level.q.kl(level.p)
            if depth > 0:
                kl = kl + self.top_down.pass_down(path_kls[-1], depth)
            path_kls.append(kl)
        log_prob = self.top_down.leaf_log_prob(posterior, x)
        return log_prob - self.top_down.at_leaves(path_kls)

    @torch.no_grad()
    def log_likelihood(
        self, x: Tensor, n_importance_samples: int, generator: torch.Generator
    ) -> Tensor:
        """Estimate log p(x) in nats by importance sampling, (batch,).

        Latents are drawn from q, with the same noise for every row, and paths are
        summed over. So the likelihood itself, ``exp`` of the estimate, is unbiased.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)
            Data.
        n_importance_samples : int
            Draws of the latents. Memory doesn't grow with them.
        generator : torch.Generator
            The source of the draws.
        """
        embeddings = self.bottom_up(self.feature_map(x))
        evidence = self.evidence(embeddings, x)
        # The sum of the weights so far is `total * exp(peak)`. A running logsumexp
        # in float32 would lose what is small beside the sum.
        peak = x.new_full((len(x),), torch.finfo(x.dtype).min)
        total = torch.zeros_like(peak)
        for _ in range(n_importance_samples):
            noise = self.draw_noise(1, generator)
            posterior = self.infer_with(embeddings, evidence, noise)
            log_weight = self._log_importance_weight(posterior, x)
            higher = torch.maximum(peak, log_weight)
            total = total * (peak - higher).exp() + (log_weight - higher).exp()
            peak = higher
        return peak + (total / n_importance_samples).log()

    def _log_importance_weight(self, posterior: Posterior, x: Tensor) -> Tensor:
        """Log of sum_l p(x, z, l) / q(z | x) at the latents drawn, (batch,)."""
        log_ratios: list[Tensor] = []
        for depth, level in enumerate(posterior.levels):
            log_ratio = level.p.log_prob(level.z) - level.q.log_prob(level.z)
            if depth > 0:
                above = posterior.levels[depth - 1].decisions
                log_ratio = (
                    log_ratio
                    + self.top_down.pass_down(log_ratios[-1], depth)
                    + self.top_down.routes(above.p_logit, depth - 1)
                )
            log_ratios.append(log_ratio)
        log_prob = self.top_down.leaf_log_prob(posterior, x)
        return (log_prob + self.top_down.at_leaves(log_ratios)).logsumexp(0)

    def embed(self, x: Tensor) -> Tensor:
        """Return d_0, the embedding that the root reads, (batch, hidden_dim)."""
        return self.bottom_up(self.feature_map(x))[0]

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return sum_l P(l | x) E[x | z_l] at posterior means, (batch, n_features)."""
        posterior = self.infer(x)
        output = self.top_down.decoders(posterior.leaf_z)
        mean = self.top_down.likelihood.mean(output)
        return (posterior.leaf_log_path.exp()[..., None] * mean).sum(0)

    @torch.no_grad()
    def sample(
        self,
        n_samples: int,
        generator: torch.Generator,
        leaves: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw samples from the generative model (section 2.2).

        Parameters
        ----------
        n_samples : int
            How many.
        generator : torch.Generator
            The source of randomness.
        leaves : sequence of int, default=None
            Positions of the leaves of a subtree: the decisions above it lead there,
            whatever the routers say, and those below are drawn. The whole tree by
            default.

        Returns
        -------
        x : Tensor of shape (n_samples, n_features)
            Data.
        positions : Tensor of int of shape (n_samples,)
            Positions of their leaves.
        """
        if leaves is None:
            leaves = range(len(self.topology.leaves))
        blocks = [
            self._sample_block(min(SAMPLE_BLOCK, n_samples - start), generator, leaves)
            for start in range(0, n_samples, SAMPLE_BLOCK)
        ]
        x, positions = map(torch.cat, zip(*blocks, strict=True))
        return x, positions

    def _sample_block(
        self, n_samples: int, generator: torch.Generator, leaves: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        noise = self.draw_noise(n_samples, generator)
        leaf_z, leaf_log_path = self.top_down.generate(noise)
        leaves = torch.as_tensor(leaves, device=noise.device)
        # The way to the subtree is common to its leaves, so that the softmax drops it.
        proba = leaf_log_path[leaves].T.softmax(1)
        chosen = torch.multinomial(proba, 1, generator=generator).squeeze(1)
        positions = leaves[chosen]
        return self.top_down.draw(leaf_z, positions, generator), positions
