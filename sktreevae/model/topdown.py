"""The stochastic, top-down side: latents, decisions and decoders of every node."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .decoders import LeafDecoders
from .gaussians import Gaussian
from .layers import StackedMLP, StackedModules
from .likelihoods import LIKELIHOODS
from .placement import Everyone, Slots, allocate
from .posterior import Decisions, ElboTerms, Level, Posterior, Routing
from .precision import full, full_precision
from .topology import Restructuring, Topology

__all__ = ["TopDown"]

NEGLIGIBLE = 0.01
"""Probability of a leaf, beside the most probable one, that a sample leaves out."""

SHARED = "decoders.readout"
"""Prefix of the parameters that don't belong to a node."""

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
    router_dim : int, default=0
        Width of the hidden layer of each q-router; 0 for none.
    likelihood : {"bernoulli", "gaussian", "poisson", "negative_binomial"}
        Distribution of the data given a leaf's latent.
    decoder : callable, default=None
        Makes the decoders of some leaves, with their number and `generator`: a
        `LeafDecoders` or a `StackedModules`. Perceptrons by default.
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
        router_dim: int = 0,
        likelihood: str,
        decoder: Callable[..., LeafDecoders | StackedModules] | None = None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.topology = topology
        self.config = {
            "n_features": n_features,
            "hidden_dim": hidden_dim,
            "latent_dim": latent_dim,
            "router_dim": router_dim,
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
        hidden = (router_dim,) if router_dim else ()
        self.q_routers = StackedMLP(n_branchings, (hidden_dim, *hidden, 1), **new)
        self.p_routers = StackedMLP(n_branchings, (latent_dim, narrow, 1), **new)
        # The leaves.
        if decoder is None:
            decoder = partial(LeafDecoders, n_features, latent_dim, hidden_dim)
        self.decoders = decoder(n_leaves, **new)
        self.likelihood = LIKELIHOODS[likelihood](n_leaves, n_features)
        self._register_steps()

    def _register_steps(self) -> None:
        """Store where the nodes of each level find what they need, as positions.

        They are derived from the topology, so they are not saved.
        """
        tree = self.topology
        self._level_sizes = [len(level) for level in tree.levels]
        self._branching_sizes = []
        ancestry = torch.zeros(tree.n_nodes, len(tree.leaves))
        for position, leaf in enumerate(tree.leaves):
            ancestry[list(tree.path(leaf)), position] = 1.0
        self.register_buffer("_ancestry", ancestry, persistent=False)

        def register(name: str, positions: Sequence[int]) -> None:
            tensor = torch.tensor(positions, dtype=torch.long)
            self.register_buffer(name, tensor, persistent=False)

        for depth, level in enumerate(tree.levels):
            branchings = [i for i in level if len(tree.children[i]) == 2]
            self._branching_sizes.append(len(branchings))
            register(f"_branching_{depth}", [level.index(i) for i in branchings])
            above = tree.levels[max(depth - 1, 0)]
            parents = [above.index(tree.parent[i]) for i in level if i > 0]
            register(f"_parent_{depth}", parents)
            if depth == tree.depth:
                break
            below = tree.levels[depth + 1]
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
        register("_parent", [0, *tree.parent[1:]])

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
        routing = self.route(embeddings, root_log_path)
        noises = None if noise is None else noise.split(self._level_sizes)
        levels = self._descend(
            self._everyone, routing, evidence, root, root_prior, noises
        )
        leaf_z = self.at_leaves([level.z for level in levels])
        return Posterior(levels, routing, leaf_z)

    @property
    def _everyone(self) -> list[Everyone]:
        """All nodes, evaluated for all samples."""
        depths = range(self.topology.depth + 1)
        return [Everyone(getattr(self, f"_parent_{depth}")) for depth in depths]

    def _descend(
        self,
        places: Sequence[Everyone | Slots],
        routing: Routing,
        evidence: list[Tensor],
        root: Gaussian,
        root_prior: Gaussian,
        noises: Sequence[Tensor] | None,
    ) -> list[Level]:
        """Infer the latents of each level, at the places that its samples have."""
        heads = self.heads.split(self._level_sizes[1:])
        transformations = self.transformations.split(self._level_sizes[1:])
        p_routers = self.p_routers.split(self._branching_sizes)
        levels: list[Level] = []
        q = Gaussian(root.mean[None], root.variance[None])
        p = Gaussian(root_prior.mean[None], root_prior.variance[None])
        for depth, place in enumerate(places):
            if depth > 0:
                above = place.pass_down(levels[-1].z)
                p = _transform(transformations[depth - 1], above)
                head = heads[depth - 1](place.of(_at(evidence, depth)))
                q = Gaussian.from_raw(head).merge(p)
            z = q.mean if noises is None else q.sample(noises[depth])
            decisions = None
            if depth < self.topology.depth:
                branchings = self.branchings(depth)
                p_logit = full(p_routers[depth](z.index_select(0, branchings)))
                p_logit = p_logit.squeeze(-1)
                q_logit = place.pick(routing.q_logits[depth], branchings)
                decisions = Decisions(q_logit, p_logit)
            levels.append(Level(q, p, z, decisions))
        return levels

    def route(self, embeddings: list[Tensor], root_log_path: Tensor) -> Routing:
        """Go down the tree by the decisions of the q-routers: these need no latents.

        Parameters
        ----------
        embeddings, root_log_path
            As for `infer`.
        """
        q_routers = self.q_routers.split(self._branching_sizes)
        q_logits: list[Tensor] = []
        log_paths = [root_log_path[None]]
        for depth in range(self.topology.depth):
            logit = full(q_routers[depth](_at(embeddings, depth))).squeeze(-1)
            above = self.pass_down(log_paths[-1], depth + 1)
            q_logits.append(logit)
            log_paths.append(above + self.routes(logit, depth))
        return Routing(q_logits, log_paths, self.at_leaves(log_paths))

    def elbo(self, posterior: Posterior, x: Tensor) -> ElboTerms:
        """Compute the terms of the bound, weighted by the P(i | x) of their nodes.

        Parameters
        ----------
        posterior : Posterior
            What `infer` returns for x.
        x : Tensor of shape (batch, n_features)
            Data.
        """
        log_prob = self.leaf_log_prob(posterior, x)
        reconstruction = (posterior.leaf_log_path.exp() * log_prob).sum(0)
        weights = [log_path.exp() for log_path in posterior.routing.log_paths]
        everyone = torch.arange(len(x), device=x.device)
        samples = [everyone.expand_as(weight) for weight in weights]
        return self._terms(posterior.levels, weights, samples, reconstruction)

    def sparse_elbo(
        self,
        routing: Routing,
        evidence: list[Tensor],
        root: Gaussian,
        x: Tensor,
        *,
        root_prior: Gaussian,
        n_leaves: int,
        generator: torch.Generator | None = None,
    ) -> ElboTerms:
        """Compute the terms of the bound from the leaves that matter to each sample.

        These are the most probable ones, none of which is `NEGLIGIBLE` beside the
        first; their probabilities are scaled to sum to 1. Only they decode, and only
        on the way to them are latents inferred. So the cost hardly grows with the
        number of leaves; terms, and gradients, are off by the share of the
        probability that is left out. All routers were heard in `routing`: a leaf that
        decodes nothing can still win a sample.

        Parameters
        ----------
        routing : Routing
            What `route` returns for x.
        evidence, root, root_prior
            As for `infer`.
        x : Tensor of shape (batch, n_features)
            Data.
        n_leaves : int
            Most leaves of a sample.
        generator : torch.Generator, default=None
            Draws the latents; without it they are the posterior means.
        """
        kept = _keep_probable(routing.leaf_log_path, n_leaves)
        with full_precision(kept):
            reach = self._ancestry @ kept
        places = allocate(reach, self._level_sizes, self._parent, self._leaves)
        noises = None
        if generator is not None:
            noises = self._draw_noises(places.weights, generator)
        levels = self._descend(
            places.levels, routing, evidence, root, root_prior, noises
        )
        z = torch.cat([level.z.flatten(0, 1) for level in levels])
        z = z.index_select(0, places.slot)
        n_of_leaf = places.leaf.bincount(minlength=len(self._leaves)).tolist()
        output = full(self.decoders.forward_groups(z, n_of_leaf))
        rows = x.index_select(0, places.sample)
        log_prob = self.likelihood.log_prob(output, rows, places.leaf)
        weighted = kept[places.leaf, places.sample] * log_prob
        reconstruction = weighted.new_zeros(len(x)).index_add(
            0, places.sample, weighted
        )
        samples = [place.sample for place in places.levels]
        return self._terms(levels, places.weights, samples, reconstruction)

    def _draw_noises(
        self, like: Sequence[Tensor], generator: torch.Generator
    ) -> list[Tensor]:
        """Draw standard normal noise for the latents of slots, by level."""
        sizes = [values.numel() for values in like]
        shape = sum(sizes), self.config["latent_dim"]
        noise = like[0].new_empty(shape).normal_(generator=generator)
        return [
            rows.unflatten(0, values.shape)
            for rows, values in zip(noise.split(sizes), like, strict=True)
        ]

    def _terms(
        self,
        levels: list[Level],
        weights: Sequence[Tensor],
        samples: Sequence[Tensor],
        reconstruction: Tensor,
    ) -> ElboTerms:
        """Sum the divergences of each sample's way down the tree.

        They are computed for all levels at once. `samples` says whose `weights` are.
        """
        q, p = (
            Gaussian(
                torch.cat([g.mean.flatten(0, 1) for g in by_level]),
                torch.cat([g.variance.flatten(0, 1) for g in by_level]),
            )
            for by_level in ([lv.q for lv in levels], [lv.p for lv in levels])
        )
        weight = torch.cat([w.flatten() for w in weights])
        kl = weight * q.kl(p)
        zeros = torch.zeros_like(reconstruction)
        n = len(zeros)  # the root has all samples, in their order
        below = torch.cat([s.flatten() for s in samples])[n:]
        kl_nodes = zeros.index_add(0, below, kl[n:])
        kl_decisions = zeros
        if len(levels) > 1:
            decisions = Decisions(
                torch.cat([lv.decisions.q_logit.flatten() for lv in levels[:-1]]),
                torch.cat([lv.decisions.p_logit.flatten() for lv in levels[:-1]]),
            )
            weight, sample = (
                torch.cat(
                    [
                        values.index_select(0, self.branchings(depth)).flatten()
                        for depth, values in enumerate(by_level[:-1])
                    ]
                )
                for by_level in (weights, samples)
            )
            kl_decisions = zeros.index_add(0, sample, weight * decisions.kl())
        return ElboTerms(reconstruction, kl[:n], kl_nodes, kl_decisions)

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
        return self.likelihood.log_prob(full(self.decoders(posterior.leaf_z)), x)

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

    def sprout(self, generator: torch.Generator) -> TopDown:
        """Return a root and two leaves, to be trained alone and then grafted.

        What all leaves share, they take from this tree, as it is.
        """
        cherry = Topology.single_leaf().split(0).topology
        children = TopDown(cherry, **self.config, generator=generator)
        children.to(next(self.parameters()))
        if isinstance(self.decoders, LeafDecoders):
            readout = copy.deepcopy(self.decoders.readout)
            children.decoders.readout = readout.requires_grad_(False)
        return children

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
            name: value
            if name.startswith(SHARED)
            else torch.cat([value, added[name]])[rows[name.partition(".")[0]]]
            for name, value in self.state_dict().items()
        }
        result.to(next(self.parameters()))
        result.load_state_dict(state)
        return result


def _keep_probable(log_path: Tensor, n_leaves: int) -> Tensor:
    """Keep the most probable leaves of each sample, and let them sum to 1.

    Parameters
    ----------
    log_path : Tensor of shape (n_leaves, batch)
        log P(l | x).
    n_leaves : int
        Most that are kept. Others, and negligible ones, have 0 in the result.
    """
    best, leaves = log_path.topk(min(n_leaves, len(log_path)), dim=0)
    negligible = best < best[0] + math.log(NEGLIGIBLE)
    proba = best.masked_fill(negligible, -torch.inf).softmax(0)
    return torch.zeros_like(log_path).scatter(0, leaves, proba)


def _at(embeddings: list[Tensor], depth: int) -> Tensor:
    """Return the embedding that nodes at a depth read."""
    return embeddings[min(depth, len(embeddings) - 1)]


def _transform(network: Callable[[Tensor], Tensor], z: Tensor) -> Gaussian:
    """p(z_i | z_pa(i)): the parent's latent moved by the node's transformation."""
    p = Gaussian.from_raw(network(z))
    return Gaussian(z + p.mean, p.variance)
