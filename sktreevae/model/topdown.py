"""The stochastic, top-down side: latents, decisions and decoders of every node."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .gaussians import Gaussian
from .layers import StackedMLP, StackedModules
from .likelihoods import LIKELIHOODS
from .networks import Factory
from .posterior import Decisions, ElboTerms, Level, Posterior
from .topology import Restructuring, Topology

__all__ = ["TopDown"]

NEGLIGIBLE = 0.01
"""Probability of a leaf, relative to the most probable one, that isn't decoded."""

START_LOGIT = 3.0
"""Logit of the way to its leaf that a sample starts from."""


class TopDown(nn.Module):
    """Transformations, posterior heads, routers and decoders of a tree.

    The tree may be a whole one or the new part of one, two children below a leaf that
    is split: what lies above enters as the root's distribution and log-probability.

    Parameters
    ----------
    topology : Topology
        The tree.
    n_features : int
        Features of the data.
    hidden_dim, latent_dim : int
        Widths of the bottom-up embeddings and of a node's latent.
    likelihood : {"bernoulli", "gaussian", "poisson", "negative_binomial"}
        Distribution of the data given a leaf's latent.
    decoder : Factory, default=None
        Makes a leaf's network from (batch, latent_dim) to (batch, n_features); a
        perceptron by default.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(
        self,
        topology: Topology,
        n_features: int,
        *,
        hidden_dim: int,
        latent_dim: int,
        likelihood: str,
        decoder: Factory | None = None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.topology = topology
        self.config = {
            "n_features": n_features,
            "hidden_dim": hidden_dim,
            "latent_dim": latent_dim,
            "likelihood": likelihood,
            "decoder": decoder,
        }
        narrow = 4 * latent_dim
        n_nodes, n_leaves = topology.n_nodes - 1, len(topology.leaves)
        n_branchings = len(topology.branchings)
        new = {"generator": generator}
        # All nodes but the root.
        self.heads = StackedMLP(n_nodes, (hidden_dim, 2 * latent_dim), **new)
        self.transformations = StackedMLP(
            n_nodes, (latent_dim, narrow, 2 * latent_dim), gain=0.1, **new
        )
        # The branching nodes.
        self.q_routers = StackedMLP(n_branchings, (hidden_dim, hidden_dim, 1), **new)
        self.p_routers = StackedMLP(n_branchings, (latent_dim, narrow, 1), **new)
        # The leaves.
        if decoder is None:
            widths = (latent_dim, hidden_dim, 2 * hidden_dim, n_features)
            self.decoders = StackedMLP(n_leaves, widths, gain=0.1, **new)
        else:
            self.decoders = StackedModules(n_leaves, n_features, decoder, **new)
        self.likelihood = LIKELIHOODS[likelihood](n_leaves, n_features)
        self._register_steps()

    def _register_steps(self) -> None:
        """Store where the nodes of each level find what they need, as positions.

        They are derived from the topology, so they are not saved.
        """
        tree = self.topology
        self._level_sizes = [len(level) for level in tree.levels]
        self._branching_sizes = []

        def register(name: str, positions: Sequence[int]) -> None:
            tensor = torch.tensor(positions, dtype=torch.long)
            self.register_buffer(name, tensor, persistent=False)

        for depth, level in enumerate(tree.levels):
            branchings = [i for i in level if len(tree.children[i]) == 2]
            self._branching_sizes.append(len(branchings))
            register(f"_branching_{depth}", [level.index(i) for i in branchings])
            if depth == tree.depth:
                break
            below = tree.levels[depth + 1]
            register(
                f"_parent_{depth + 1}", [level.index(tree.parent[i]) for i in below]
            )
            # Rows of [left at each branching, right at each branching, sure].
            routes = []
            for node in below:
                parent = tree.parent[node]
                row = 2 * len(branchings)
                if parent in branchings:
                    right = node == tree.children[parent][1]
                    row = branchings.index(parent) + right * len(branchings)
                routes.append(row)
            register(f"_route_{depth}", routes)
        register("_leaves", tree.leaves)

    def infer(
        self,
        embeddings: list[Tensor],
        evidence: list[Tensor],
        root: Gaussian,
        *,
        root_prior: Gaussian,
        root_log_path: Tensor,
        noise: Tensor | None = None,
    ) -> Posterior:
        """Go down the tree and infer the latents and decisions of each level.

        Parameters
        ----------
        embeddings : list of Tensor
            d_k for each depth, (batch, hidden_dim), which the q-routers read; deeper
            levels read the last one.
        evidence : list of Tensor
            Likewise, what the posterior heads read.
        root, root_prior : Gaussian
            q(z_0 | x) and p(z_0), (batch, latent_dim).
        root_log_path : Tensor of shape (batch,)
            Log-probability of reaching the root: zeros, but for a part of a tree.
        noise : Tensor of shape (n_nodes, batch or 1, latent_dim), default=None
            Standard normal noise that draws the latents. Without it, they are the
            posterior means.
        """
        heads = self.heads.split(self._level_sizes[1:])
        transformations = self.transformations.split(self._level_sizes[1:])
        p_routers = self.p_routers.split(self._branching_sizes)
        noises = None if noise is None else noise.split(self._level_sizes)

        q_logits, log_paths = self.route(embeddings, root_log_path)
        levels: list[Level] = []
        q = Gaussian(root.mean[None], root.variance[None])
        p = Gaussian(root_prior.mean[None], root_prior.variance[None])
        for depth, log_path in enumerate(log_paths):
            if depth > 0:
                above = self.pass_down(levels[-1].z, depth)
                p = _transform(transformations[depth - 1], above)
                q = Gaussian.from_raw(heads[depth - 1](_at(evidence, depth))).merge(p)
            z = q.mean if noises is None else q.sample(noises[depth])
            decisions = None
            if depth < self.topology.depth:
                z_branching = z.index_select(0, self.branchings(depth))
                decisions = Decisions(
                    q_logits[depth], p_routers[depth](z_branching).squeeze(-1)
                )
            levels.append(Level(q, p, z, log_path, decisions))
        return Posterior(
            levels,
            self.at_leaves([level.z for level in levels]),
            self.at_leaves(log_paths),
        )

    def route(
        self, embeddings: list[Tensor], root_log_path: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Go down the tree by the decisions of the q-routers: these need no latents.

        Parameters
        ----------
        embeddings, root_log_path
            As for `infer`.

        Returns
        -------
        q_logits : list of Tensor of shape (n_branchings, batch)
            Logits of "left" at each level but the deepest.
        log_paths : list of Tensor of shape (n_nodes, batch)
            log P(i | x) of the nodes of each level.
        """
        q_routers = self.q_routers.split(self._branching_sizes)
        q_logits: list[Tensor] = []
        log_paths = [root_log_path[None]]
        for depth in range(self.topology.depth):
            logit = q_routers[depth](_at(embeddings, depth)).squeeze(-1)
            above = self.pass_down(log_paths[-1], depth + 1)
            q_logits.append(logit)
            log_paths.append(above + self.routes(logit, depth))
        return q_logits, log_paths

    def elbo(
        self, posterior: Posterior, x: Tensor, n_decoded: int | None = None
    ) -> ElboTerms:
        """Compute the terms of the bound, weighted by the P(i | x) of their nodes.

        Parameters
        ----------
        posterior : Posterior
            What `infer` returns for x.
        x : Tensor of shape (batch, n_features)
            Data.
        n_decoded : int, default=None
            Most leaves that decode a sample: the most probable ones, and none that
            is `NEGLIGIBLE` beside the first, with probabilities that sum to 1. This
            makes the reconstruction an approximation whose cost doesn't grow with the
            number of leaves. All decode, exactly, by default.
        """
        if n_decoded is None:
            log_prob = self.leaf_log_prob(posterior, x)
            reconstruction = (posterior.leaf_log_path.exp() * log_prob).sum(0)
        else:
            reconstruction = self._sparse_reconstruction(posterior, x, n_decoded)
        kl_nodes = torch.zeros_like(reconstruction)
        kl_decisions = torch.zeros_like(reconstruction)
        for depth, level in enumerate(posterior.levels):
            path = level.log_path.exp()
            kl = (path * level.q.kl(level.p)).sum(0)
            if depth == 0:
                kl_root = kl
            else:
                kl_nodes = kl_nodes + kl
            if level.decisions is not None:
                path = path.index_select(0, self.branchings(depth))
                kl_decisions = kl_decisions + (path * level.decisions.kl()).sum(0)
        return ElboTerms(reconstruction, kl_root, kl_nodes, kl_decisions)

    def generate(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Draw the latents of all nodes from the prior, and route them.

        Parameters
        ----------
        noise : Tensor of shape (n_nodes, batch, latent_dim)
            Standard normal noise.

        Returns
        -------
        leaf_z : Tensor of shape (n_leaves, batch, latent_dim)
            Latents of the leaves.
        leaf_log_path : Tensor of shape (n_leaves, batch)
            Log-probability that the generative routers lead there.
        """
        transformations = self.transformations.split(self._level_sizes[1:])
        p_routers = self.p_routers.split(self._branching_sizes)
        noises = noise.split(self._level_sizes)
        z, log_path = noises[0], torch.zeros_like(noises[0][..., 0])
        latents, log_paths = [z], [log_path]
        for depth in range(1, self.topology.depth + 1):
            z_branching = z.index_select(0, self.branchings(depth - 1))
            logit = p_routers[depth - 1](z_branching).squeeze(-1)
            log_path = self.pass_down(log_path, depth) + self.routes(logit, depth - 1)
            p = _transform(transformations[depth - 1], self.pass_down(z, depth))
            z = p.sample(noises[depth])
            latents.append(z)
            log_paths.append(log_path)
        return self.at_leaves(latents), self.at_leaves(log_paths)

    def leaf_log_prob(self, posterior: Posterior, x: Tensor) -> Tensor:
        """Log p(x | z_l) in nats for every leaf, (n_leaves, batch)."""
        return self.likelihood.log_prob(self.decoders(posterior.leaf_z), x)

    def _sparse_reconstruction(
        self, posterior: Posterior, x: Tensor, n_decoded: int
    ) -> Tensor:
        """Mean of log p(x | z_l) over the leaves that matter to each sample."""
        n_leaves = len(self.topology.leaves)
        log_path, leaves = posterior.leaf_log_path.topk(min(n_decoded, n_leaves), dim=0)
        matters = log_path > log_path[0] + math.log(NEGLIGIBLE)
        log_path = log_path.masked_fill(~matters, -torch.inf)
        rank, sample = matters.nonzero(as_tuple=True)
        leaf, order = leaves[rank, sample].sort(stable=True)
        rank, sample = rank[order], sample[order]
        z = posterior.leaf_z.flatten(0, 1).index_select(0, leaf * len(x) + sample)
        n_of_leaf = leaf.bincount(minlength=n_leaves).tolist()
        output = self.decoders.forward_groups(z, n_of_leaf)
        log_prob = self.likelihood.log_prob(output, x.index_select(0, sample), leaf)
        weighted = log_path.softmax(0)[rank, sample] * log_prob
        return torch.zeros_like(log_path[0]).index_add(0, sample, weighted)

    def draw(self, leaf_z: Tensor, leaf: Tensor, generator: torch.Generator) -> Tensor:
        """Draw x from p(x | z_l), (batch, n_features).

        Parameters
        ----------
        leaf_z : Tensor of shape (n_leaves, batch, latent_dim)
            Latents of all leaves.
        leaf : Tensor of int of shape (batch,)
            Position of the only leaf that decodes each row.
        generator : torch.Generator
            The source of randomness.
        """
        leaf, order = leaf.sort(stable=True)
        n_of_leaf = leaf.bincount(minlength=len(leaf_z)).tolist()
        output = self.decoders.forward_groups(leaf_z[leaf, order], n_of_leaf)
        drawn = self.likelihood.sample(output, generator, leaf)
        return drawn[order.argsort()]

    def pass_down(self, values: Tensor, depth: int) -> Tensor:
        """Hand the values of the level above to each of its children at `depth`."""
        return values.index_select(0, getattr(self, f"_parent_{depth}"))

    def routes(self, logit: Tensor, depth: int) -> Tensor:
        """Log-probability of the way from a level to each of the nodes below it."""
        sure = logit.new_zeros(1, logit.shape[1])
        ways = torch.cat([F.logsigmoid(logit), F.logsigmoid(-logit), sure])
        return ways.index_select(0, getattr(self, f"_route_{depth}"))

    def branchings(self, depth: int) -> Tensor:
        """Positions of the branching nodes among those of their level."""
        return getattr(self, f"_branching_{depth}")

    def at_leaves(self, by_level: list[Tensor]) -> Tensor:
        """Pick the leaves' rows from arrays over the nodes of each level."""
        return torch.cat(by_level).index_select(0, self._leaves)

    @torch.no_grad()
    def start_leaf(self, leaf: int, mean: Tensor) -> None:
        """Let a leaf's decoder begin with a given mean, (n_features,)."""
        self.decoders.start(leaf, self.likelihood.output(mean))

    @torch.no_grad()
    def start_router(self, embedding: Tensor, leaf: Tensor) -> None:
        """Let the q-router of a root with two leaves begin with given decisions.

        Parameters
        ----------
        embedding : Tensor of shape (batch, hidden_dim)
            What the router reads.
        leaf : Tensor of int of shape (batch,)
            0 for the left leaf, 1 for the right one.
        """
        logit = START_LOGIT * (1.0 - 2.0 * leaf.to(embedding))
        self.q_routers.fit_last_layer(embedding, logit[:, None])

    def draw_noise(self, n_samples: int, generator: torch.Generator) -> Tensor:
        """Draw standard normal noise for all latents of `n_samples` samples."""
        shape = (self.topology.n_nodes, n_samples, self.config["latent_dim"])
        like = self.heads.biases[0]
        return torch.randn(
            shape, generator=generator, device=like.device, dtype=like.dtype
        )

    def graft(self, leaf: int, cherry: TopDown) -> TopDown:
        """Return the tree with `cherry`, a root and two leaves, in the place of a leaf.

        The leaf keeps its latent and loses its decoder; its router, and all that
        belongs to its children, come from `cherry`.
        """
        return self._restructure(self.topology.split(leaf), cherry)

    def prune(self, leaf: int) -> TopDown:
        """Return the tree without a leaf, its decoder and its parent's decision."""
        return self._restructure(self.topology.prune(leaf), self)

    def _restructure(self, change: Restructuring, new: TopDown) -> TopDown:
        """Gather the stacked parameters of this tree and a new part in a new order."""
        old, tree = self.topology, change.topology
        new_nodes = iter(range(old.n_nodes - 1, old.n_nodes + 1))
        new_leaves = iter(range(len(old.leaves), len(old.leaves) + 2))
        nodes = [s - 1 if s >= 0 else next(new_nodes) for s in change.source[1:]]
        leaves = [
            old.leaves.index(change.source[i])
            if change.source[i] >= 0
            else next(new_leaves)
            for i in tree.leaves
        ]
        branchings = [
            old.branchings.index(change.source[i])
            if change.source[i] in old.branchings
            else len(old.branchings)
            for i in tree.branchings
        ]
        rows = {
            "heads": nodes,
            "transformations": nodes,
            "q_routers": branchings,
            "p_routers": branchings,
            "decoders": leaves,
            "likelihood": leaves,
        }
        added = new.state_dict()
        result = TopDown(tree, **self.config, generator=torch.Generator())
        state = {
            name: torch.cat([value, added[name]])[rows[name.partition(".")[0]]]
            for name, value in self.state_dict().items()
        }
        result.to(next(self.parameters()))
        result.load_state_dict(state)
        return result


def _at(embeddings: list[Tensor], depth: int) -> Tensor:
    """Return the embedding that nodes at a depth read."""
    return embeddings[min(depth, len(embeddings) - 1)]


def _transform(network: Callable[[Tensor], Tensor], z: Tensor) -> Gaussian:
    """p(z_i | z_pa(i)): the parent's latent moved by the node's transformation."""
    p = Gaussian.from_raw(network(z))
    return Gaussian(z + p.mean, p.variance)
