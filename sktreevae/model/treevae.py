"""The tree variational autoencoder (Manduchi et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from ..utils.limits import BLOCK_ROWS
from .config import ModelConfig
from .feature_map import FeatureMap
from .gaussians import DiagonalGaussian
from .layers import linear
from .networks import BottomUp
from .noise import row_noise
from .posterior import ElboTerms, Encoding, Posterior, Routing, select_leaves
from .topdown import TopDown
from .topology import Topology


class TreeVAE(nn.Module):
    r"""A generative model whose latent variables form a learned binary tree.

    .. math::
        p(x, z, c) = p(z_0) \prod_{i \in path} p(c_{pa(i)} | z_{pa(i)})
        p(z_i | z_{pa(i)}) \; p(x | z_{leaf})

    Parameters
    ----------
    topology : Topology
        The tree.
    config : ModelConfig
        Settings of the model.
    feature_map : FeatureMap, default=None
        Features of the data that the bottom-up chain reads; the data by default.
    generator : torch.Generator
        Source of the initial weights.

    Attributes
    ----------
    encoder : Module or None
        Network whose output for the data is added to the embeddings that the posterior
        heads read. Routers read the embeddings of the features only.
    bottom_up : BottomUp
        Network from features to an embedding per depth.
    root_head : Linear
        Posterior head of the root.
    top_down : TopDown
        Networks of the nodes.

    Examples
    --------
    >>> config = ModelConfig(n_features=5, hidden_dim=16, latent_dim=2)
    >>> model = TreeVAE(Topology.stump(), config, generator=torch.Generator())
    >>> print(model)
    TreeVAE(
      (feature_map): FeatureMap(n_features=5, kind='plain')
      (bottom_up): BottomUp(
        n_inputs=5, hidden_dim=16, depth=4
        (perceptron): MLP(widths=(10, 32, 16))
        (chain): ModuleList(
          (0-3): 4 x MLP(widths=(16, 16))
        )
      )
      (root_head): Linear(in_features=21, out_features=4, bias=True)
      (top_down): TopDown(
        (index): TreeIndex(n_nodes=3, n_leaves=2, depth=1)
        (heads): StackedMLP(n_nodes=2, widths=(21, 4))
        (transformations): StackedMLP(n_nodes=2, widths=(2, 8, 4))
        (q_routers): Routers(n_nodes=1, widths=(16, 1))
        (p_routers): StackedMLP(n_nodes=1, widths=(2, 8, 1))
        (decoders): LeafDecoders(
          (hidden): StackedMLP(n_nodes=2, widths=(2, 16, 32))
          (readout): Linear(in_features=32, out_features=5, bias=True)
        )
        (likelihood): GaussianLikelihood(n_leaves=2, n_features=5)
      )
    )
    >>> x = torch.zeros(3, 5)
    >>> model.elbo(x).elbo().shape
    torch.Size([3])
    >>> model.leaf_log_proba(model.feature_map(x)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        topology: Topology,
        config: ModelConfig,
        *,
        feature_map: FeatureMap | None = None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if feature_map is None:
            feature_map = FeatureMap(config.n_features)
        self.config = config
        self.feature_map = feature_map
        self.encoder = config.build_encoder(generator)
        self.bottom_up = BottomUp(
            feature_map.n_outputs,
            hidden_dim=config.hidden_dim,
            perceptron_depth=config.perceptron_depth,
            depth=config.bottom_up_depth,
            generator=generator,
        )
        self.root_head = linear(
            config.head_dim, 2 * config.latent_dim, generator=generator
        )
        self.top_down = TopDown(topology, config, generator=generator)

    @property
    def topology(self) -> Topology:
        """The tree."""
        return self.top_down.topology

    def encode(self, x: Tensor, features: Tensor | None = None) -> Encoding:
        """Encode a batch.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)
            Data.
        features : Tensor of shape (batch, n_outputs), default=None
            Features of x; computed by `feature_map` by default.
        """
        embeddings = self.bottom_up(
            self.feature_map(x) if features is None else features
        )
        if self.config.has_linear_paths:
            inputs = [torch.cat([embedding, x], dim=1) for embedding in embeddings]
            return Encoding(embeddings, inputs)
        if self.encoder is None:
            return Encoding(embeddings, embeddings)
        code = self.encoder(x)
        return Encoding(embeddings, [embedding + code for embedding in embeddings])

    def route(self, embeddings: list[Tensor]) -> Routing:
        """Compute routing probabilities from the embeddings of a batch."""
        root_log_proba = embeddings[0].new_zeros(len(embeddings[0]))
        return self.top_down.route(embeddings, root_log_proba)

    def leaf_log_proba(self, features: Tensor) -> Tensor:
        """Return log P(l | x), (batch, n_leaves), from the features of a batch."""
        return self.route(self.bottom_up(features)).leaf_log_proba.T

    def leaf_proba(self, features: Tensor) -> Tensor:
        """Return P(l | x), (batch, n_leaves), from the features of a batch."""
        return self.leaf_log_proba(features).exp()

    def assign_leaves(self, features: Tensor) -> Tensor:
        """Return the most probable leaf, (batch,), from the features of a batch."""
        return self.leaf_log_proba(features).argmax(1)

    def posterior(self, encoding: Encoding, noise: Tensor | None = None) -> Posterior:
        """Infer the latent variables and routing probabilities (section 2.3).

        Parameters
        ----------
        encoding : Encoding
            Encoding of the batch.
        noise : Tensor of shape (n_levels, batch or 1, latent_dim), default=None
            Standard normal noise that latent variables are sampled with. Without it,
            they are the posterior means.
        """
        root = DiagonalGaussian.from_raw(self.root_head(encoding.posterior_inputs[0]))
        return self.top_down.posterior(
            encoding,
            root,
            root_prior=DiagonalGaussian.standard(root.mean),
            root_log_proba=root.mean.new_zeros(len(root.mean)),
            noise=noise,
        )

    @torch.no_grad()
    def init_head(self, node: int, weight: Tensor, constant: DiagonalGaussian) -> None:
        """Initialize a posterior head by linear regression of z on its input.

        Heads of other nodes than the root are multiplied by p(z_i | z_pa(i)), so they
        are likelihoods of z. The head of the root is the posterior itself.

        Parameters
        ----------
        node : int
            The node.
        weight : Tensor of shape (head_dim, latent_dim)
            Weights of the mean.
        constant : DiagonalGaussian of shape (latent_dim,)
            Mean without input, and variance.
        """
        # The variance doesn't depend on the input.
        if node > 0:
            weight = torch.cat([weight, torch.zeros_like(weight)], dim=1)
            self.top_down.heads.set(node - 1, weight, constant.to_raw())
            return
        posterior = constant.merge(DiagonalGaussian.standard(constant.mean))
        weight = weight * (posterior.variance / constant.variance)
        weight = torch.cat([weight, torch.zeros_like(weight)], dim=1)
        self.root_head.weight.copy_(weight.T)
        self.root_head.bias.copy_(posterior.to_raw())

    def elbo(self, x: Tensor, noise: Tensor | None = None) -> ElboTerms:
        """Compute the terms of the ELBO (section 2.4); `noise` as for `posterior`."""
        return self.top_down.elbo(self.posterior(self.encode(x), noise), x)

    def mean_elbo(self, x: Tensor, noises: Iterable[Tensor]) -> Tensor:
        """Return the mean of the ELBO over draws of the latent variables, (batch,).

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)
            Data.
        noises : iterable of Tensor of shape (n_levels, batch or 1, latent_dim)
            Standard normal noise of each draw.
        """
        encoding = self.encode(x)
        elbos = [
            self.top_down.elbo(self.posterior(encoding, noise), x).elbo()
            for noise in noises
        ]
        return sum(elbos) / len(elbos)

    def sparse_elbo(
        self, posterior: Posterior, x: Tensor, max_leaves: int
    ) -> ElboTerms:
        """Compute the terms of the ELBO from the most probable leaves of each sample.

        Parameters
        ----------
        posterior : Posterior
            Posterior given x.
        x : Tensor of shape (batch, n_features)
            Data.
        max_leaves : int
            Maximum number of leaves per sample. Their probabilities are scaled to sum
            to 1; see `select_leaves`.
        """
        leaf, weight = select_leaves(posterior.routing.leaf_log_proba, max_leaves)
        return self.top_down.sparse_elbo(posterior, x, leaf, weight)

    def leaf_elbo(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the ELBO of log p(x | leaf) in nats, (batch, n_leaves).

        It is the ELBO without its decision terms, if x were routed to that leaf.
        """
        posterior = self.posterior(self.encode(x), noise)
        path_kl = self.top_down.index.path_sums(posterior.q.kl(posterior.p))
        return (self.top_down.leaf_log_prob(posterior, x) - path_kl).T

    def leaf_reconstruction(self, x: Tensor) -> Tensor:
        """Return log p(x | z_l) in nats at posterior means, (batch, n_leaves)."""
        return self.top_down.leaf_log_prob(self.posterior(self.encode(x)), x).T

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, noises: Iterable[Tensor]) -> Tensor:
        """Estimate log p(x) in nats by importance sampling, (batch,).

        Latent variables are sampled from q, and leaves are summed over. The estimate of
        p(x) itself is unbiased.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features)
            Data.
        noises : iterable of Tensor of shape (n_levels, batch or 1, latent_dim)
            Standard normal noise of each draw. Memory doesn't grow with their number.
        """
        encoding = self.encode(x)
        # The sum of the weights so far is `total * exp(peak)`. A running logsumexp
        # in float32 would lose terms that are small beside the sum.
        peak = x.new_full((len(x),), torch.finfo(x.dtype).min)
        total = torch.zeros_like(peak)
        n_draws = 0
        for noise in noises:
            log_weight = self._log_importance_weight(self.posterior(encoding, noise), x)
            higher = torch.maximum(peak, log_weight)
            total = total * (peak - higher).exp() + (log_weight - higher).exp()
            peak = higher
            n_draws += 1
        return peak + (total / n_draws).log()

    def _log_importance_weight(self, posterior: Posterior, x: Tensor) -> Tensor:
        """Return log of sum_l p(x, z, l) / q(z | x) at the sampled z, (batch,)."""
        index, z = self.top_down.index, posterior.z
        log_ratio = index.path_sums(posterior.p.log_prob(z) - posterior.q.log_prob(z))
        log_proba = index.path_log_probs(
            posterior.decisions.p_logit, z.new_zeros(z.shape[1])
        ).index_select(0, index.leaves)
        log_prob = self.top_down.leaf_log_prob(posterior, x)
        return (log_prob + log_ratio + log_proba).logsumexp(0)

    def embed(self, x: Tensor) -> Tensor:
        """Return d_0, the embedding of the root's router, (batch, hidden_dim)."""
        return self.bottom_up(self.feature_map(x))[0]

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return sum_l P(l | x) E[x | z_l] at posterior means, (batch, n_features)."""
        posterior = self.posterior(self.encode(x))
        output = self.top_down.decoders(posterior.leaf_z)
        mean = self.top_down.likelihood.mean(output)
        proba = posterior.routing.leaf_log_proba.exp()
        return (proba[..., None] * mean).sum(0)

    def sample_noise(self, n_samples: int, generator: torch.Generator) -> Tensor:
        """Draw standard normal noise; see `TopDown.sample_noise`."""
        return self.top_down.sample_noise(n_samples, generator)

    def row_noise(self, x: Tensor, n_draws: int, seed: int = 0) -> Iterator[Tensor]:
        """Yield noise of each row, (n_levels, batch, latent_dim); see `row_noise`."""
        shape = self.topology.depth + 1, self.config.latent_dim
        for noise in row_noise(x, n_draws, math.prod(shape), seed):
            yield noise.unflatten(1, shape).transpose(0, 1)

    @torch.no_grad()
    def sample(
        self,
        n_samples: int,
        generator: torch.Generator,
        leaves: Sequence[int] | None = None,
        *,
        block_size: int = BLOCK_ROWS,
    ) -> tuple[Tensor, Tensor]:
        """Sample from the generative model (section 2.2).

        Parameters
        ----------
        n_samples : int
            Number of samples.
        generator : torch.Generator
            Source of randomness.
        leaves : sequence of int, default=None
            Positions of the leaves of a subtree. Samples are conditioned on reaching
            the subtree, however improbable it is. The whole tree by default.
        block_size : int, default=BLOCK_ROWS
            Number of samples generated at a time.

        Returns
        -------
        x : Tensor of shape (n_samples, n_features)
            Data.
        leaf : Tensor of int of shape (n_samples,)
            Position of the leaf of each sample.
        """
        if leaves is None:
            leaves = range(len(self.topology.leaves))
        blocks = [
            self._sample_block(min(block_size, n_samples - start), generator, leaves)
            for start in range(0, n_samples, block_size)
        ]
        x, leaf = map(torch.cat, zip(*blocks, strict=True))
        return x, leaf

    def _sample_block(
        self, n_samples: int, generator: torch.Generator, leaves: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        noise = self.sample_noise(n_samples, generator)
        leaf_z, leaf_log_proba = self.top_down.sample_latents(noise)
        leaves = torch.as_tensor(leaves, device=noise.device)
        # The path to the subtree is common to its leaves, so the softmax cancels it.
        proba = leaf_log_proba[leaves].T.softmax(1)
        choice = torch.multinomial(proba, 1, generator=generator).squeeze(1)
        leaf = leaves[choice]
        return self.top_down.sample_data(leaf_z, leaf, generator), leaf
