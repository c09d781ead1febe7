"""Initial values of the posterior heads and decoders, from principal components.

With random weights, most update steps of a short training would be spent on finding the
principal components of each leaf, which linear algebra gives at once (Tipping and
Bishop 1999).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..data import TrainingData
from ..model import (
    NORMAL_KURTOSIS,
    DiagonalGaussian,
    Encoding,
    LeafDecoders,
    TreeVAE,
    at_depth,
    ridge_regression,
    select_leaves,
)
from ..utils.indexing import sum_by_index
from ..utils.limits import BLOCK_ROWS, MAX_MODEL_ROWS, ROUNDING
from .objectives import MAX_ACTIVE_LEAVES, noisy_features
from .state import FitState

ROWS_PER_LEAF = 50, 500
"""Minimum and maximum number of samples of a leaf, if it has them."""

TRANSITION_VARIANCE = 0.69
"""Initial variance of p(z_i | z_pa(i)): the softplus of 0."""

MIN_LOADING_RIDGE = 0.1
"""L2 penalty of the ridge regressions on latents, in samples."""

EXPLAINED_RANGE = 0.02, 0.9995
"""Range of the fraction of variance that a posterior head is taken to explain."""


@dataclass(frozen=True, eq=False)
class Initializer:
    """Initializes the networks of a tree for target leaves.

    Parameters
    ----------
    data : TrainingData
        Samples and features.
    state : FitState
        State of the fit: the model, which is changed in place, and the leaves. The
        constants of leaves are the means of their samples.
    """

    data: TrainingData
    state: FitState

    @property
    def model(self) -> TreeVAE:
        """The model."""
        return self.state.model

    @torch.no_grad()
    def init_routers(self) -> None:
        """Initialize the routers from the sides of the leaves."""
        model, topology = self.model, self.model.topology
        leaf, _, features = self._draw_samples()
        embeddings = model.bottom_up(features)
        is_below = model.top_down.index.ancestry[:, leaf] > 0
        for position, split in enumerate(topology.splits):
            rows = is_below[split]
            is_left = is_below[topology.children[split][0], rows]
            inputs = at_depth(embeddings, topology.node_depths[split])[rows]
            model.top_down.q_routers.fit(position, inputs, is_left)

    @torch.no_grad()
    def init_latents(self) -> None:
        """Initialize posterior heads, the decoders' readout and the scale of leaves.

        The latent of a leaf is to be the principal components of its samples. Its head,
        and the heads of the nodes above, predict them by ridge regression. The variance
        of a head is the variance that it doesn't explain, plus the variance of the
        transitions from the node to the leaf: the message that an exact inference in a
        linear Gaussian chain passes upward. A linear readout is then the ridge
        regression of the samples on the hidden units of their leaves.
        """
        model, likelihood = self.model, self.model.top_down.likelihood
        n_leaves = len(model.topology.leaves)
        leaf, x, features = self._draw_samples()
        mean = _group_means(x, leaf, n_leaves)
        residual = x - mean[leaf]
        sizes = leaf.bincount(minlength=n_leaves).tolist()
        groups = zip(residual.split(sizes), mean, strict=True)
        latents = torch.cat([_latents(rows, center, model) for rows, center in groups])
        encoding = model.encode(x, features)
        self._init_heads(encoding, latents, leaf)
        error = residual.square()
        if isinstance(getattr(model.top_down.decoders, "readout", None), nn.Linear):
            step = likelihood.newton_step(x, mean[leaf])
            z = self._leaf_latents(x, features, leaf)
            output = self._init_readout(z, step, leaf, sizes)
            error = (step - output).square()
        log_proba = model.route(encoding.embeddings).leaf_log_proba
        weight = torch.zeros_like(log_proba).scatter(
            0, *select_leaves(log_proba, MAX_ACTIVE_LEAVES)
        )
        error, n_samples = _expected_errors(weight, x, mean, error, leaf)
        likelihood.set_scale(error, n_samples, NORMAL_KURTOSIS)

    def _draw_samples(self) -> tuple[Tensor, Tensor, Tensor]:
        """Draw training samples of each leaf from all processes.

        Returns
        -------
        leaf : Tensor of int of shape (n_drawn,)
            Their leaves, in ascending order.
        x : Tensor of shape (n_drawn, n_features)
            The samples.
        features : Tensor of shape (n_drawn, n_outputs)
            Their features with noise.
        """
        data, n_leaves = self.data, len(self.model.topology.leaves)
        low, high = ROWS_PER_LEAF
        n_per_leaf = min(max(MAX_MODEL_ROWS // n_leaves, low), high)
        leaf, generator = self.state.leaf[data.train], self.state.generators.rows
        members = [data.train[leaf == i] for i in range(n_leaves)]
        drawn = [data.draw(n_per_leaf, index, generator) for index in members]
        index = torch.cat(drawn)
        leaf = data.gather(self.state.leaf[index])
        x = data.gather(data.samples[index])
        features = data.gather(noisy_features(data, self.state, index))
        order = leaf.argsort(stable=True)
        return leaf[order], x[order], features[order]

    def _init_heads(self, encoding: Encoding, latents: Tensor, leaf: Tensor) -> None:
        """Initialize the posterior heads to give the latents of the leaves."""
        model, depths = self.model, self.model.topology.node_depths
        leaf_depth = torch.tensor(
            [depths[i] for i in model.topology.leaves],
            dtype=torch.float32,
            device=leaf.device,
        )
        prior_variance = (1.0 + TRANSITION_VARIANCE * leaf_depth)[leaf]
        latents = latents * prior_variance.sqrt()[:, None]
        is_below = model.top_down.index.ancestry[:, leaf] > 0
        for node, depth in enumerate(depths):
            rows = is_below[node]
            if rows.sum() < 2:
                continue
            inputs = at_depth(encoding.posterior_inputs, depth)[rows]
            weight, bias, error = ridge_regression(inputs, latents[rows])
            prior = prior_variance[rows].mean()
            explained = (latents[rows].var(0) - error) / prior
            explained = explained.clamp(*EXPLAINED_RANGE)
            variance = prior * (1.0 - explained) / explained
            n_transitions = (leaf_depth[leaf[rows]] - depth).mean()
            variance = variance + TRANSITION_VARIANCE * n_transitions
            # The regression shrinks; the mean of a message is unbiased.
            weight, bias = weight / explained, bias / explained
            model.init_head(node, weight, DiagonalGaussian(bias, variance))

    def _leaf_latents(self, x: Tensor, features: Tensor, leaf: Tensor) -> Tensor:
        """Draw the latent variables of the leaves of samples, (n_samples, latent_dim).

        The latents of all nodes are in memory for one block of samples at a time.
        """
        model = self.model

        def draw(x: Tensor, features: Tensor, leaf: Tensor, noise: Tensor) -> Tensor:
            posterior = model.posterior(model.encode(x, features), noise)
            return posterior.leaf_z[leaf, torch.arange(len(leaf), device=leaf.device)]

        noise = model.sample_noise(len(leaf), self.state.generators.rows)
        blocks = (tensor.split(BLOCK_ROWS) for tensor in (x, features, leaf))
        return torch.cat(list(map(draw, *blocks, noise.split(BLOCK_ROWS, dim=1))))

    def _init_readout(
        self, z: Tensor, step: Tensor, leaf: Tensor, sizes: list[int]
    ) -> Tensor:
        """Initialize the decoders' linear part; return the change of their output.

        It is the loadings, or the readout and the constants if there are none. `z` are
        the latent variables of the leaves, `step` is the change of the output that each
        sample asks for, and `sizes` the numbers of samples of the leaves.
        """
        decoders = self.model.top_down.decoders
        if decoders.loadings is not None:
            return _init_loadings(decoders, z, step, sizes)
        hidden = decoders.hidden_units(z, leaf)
        mean = _group_means(hidden, leaf, len(sizes))
        weight, _, _ = ridge_regression(hidden - mean[leaf], step)
        decoders.readout.weight.copy_(weight.T)
        decoders.readout.bias.zero_()
        decoders.constant -= (mean @ weight)[:, None]
        return (hidden - mean[leaf]) @ weight


@torch.no_grad()
def update_scale(
    model: TreeVAE, data: TrainingData, generator: torch.Generator
) -> None:
    """Set the scale of leaves to its optimum for the other parameters.

    Update steps alone would take longer to reach it than the rest of the model.
    """
    likelihood = model.top_down.likelihood

    def errors(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return sums of squared errors, of their squares, and of probabilities."""
        x = data.samples[rows]
        encoding = model.encode(x, data.features[rows])
        noise = model.sample_noise(len(rows), generator)
        posterior = model.posterior(encoding, noise)
        error = (
            likelihood.mean(model.top_down.decoders(posterior.leaf_z)) - x
        ).square()
        weight = posterior.routing.leaf_log_proba.exp()[:, None]
        fourth = (weight @ error.square()).sum((0, 1))
        return (weight @ error).squeeze(1), fourth, weight.sum(2)

    rows = data.draw(MAX_MODEL_ROWS, data.train, generator)
    square, fourth, n_samples = data.sum(errors, rows, block_size=BLOCK_ROWS)
    total = n_samples.sum()
    variance = (square.sum(0) / total).clamp(min=ROUNDING**2)
    kurtosis = (fourth / total / variance.square()).clamp(min=NORMAL_KURTOSIS)
    error = square / n_samples.clamp(min=ROUNDING)
    likelihood.set_scale(error, n_samples, kurtosis)


def _group_means(values: Tensor, group: Tensor, n_groups: int) -> Tensor:
    """Return the mean of the rows of each group, (n_groups, n_columns).

    Without rows, the mean is 0.
    """
    counts = group.bincount(minlength=n_groups).clamp(min=1)
    return sum_by_index(values, group, n_groups) / counts[:, None]


def _latents(rows: Tensor, mean: Tensor, model: TreeVAE) -> Tensor:
    """Return the posterior means of the latents of a leaf, for a prior of variance 1.

    Probabilistic principal components, (n_rows, latent_dim). Components that noise
    alone may have are left out: their variance is below the edge of the distribution of
    Marchenko and Pastur (1967).

    Parameters
    ----------
    rows : Tensor of shape (n_rows, n_features)
        Differences of the samples from their mean.
    mean : Tensor of shape (n_features,)
        The mean.
    model : TreeVAE
        The model.
    """
    n_rows, n_features = len(rows), model.config.n_features
    latents = rows.new_zeros(n_rows, model.config.latent_dim)
    # At least one component is noise.
    n_components = min(model.config.latent_dim, n_rows - 1, n_features - 1)
    if n_components < 1:
        return latents
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    variance = values[-n_components:].flip(0).clamp(min=ROUNDING**2) / n_rows
    scores = vectors[:, -n_components:].flip(1)
    projected = scores.T @ rows
    loadings = projected / (n_rows * variance[:, None]).sqrt()
    error = (rows - scores @ projected).square().sum(0)
    error = error / max(n_rows - 1 - n_components, 1)
    noise = model.top_down.likelihood.noise_variance(mean, error)
    noise = loadings.square() @ noise
    edge = noise * (1.0 + (n_features / n_rows) ** 0.5) ** 2
    reliability = torch.where(variance > edge, 1.0 - noise / variance, 0.0)
    latents[:, :n_components] = scores * (n_rows * reliability).sqrt()
    return latents


def _init_loadings(
    decoders: LeafDecoders, z: Tensor, step: Tensor, sizes: list[int]
) -> Tensor:
    """Initialize the loadings by ridge regressions; return the change of the output.

    The readout starts at 0: it learns what is not linear.
    """
    decoders.readout.weight.zero_()
    decoders.readout.bias.zero_()
    penalty = MIN_LOADING_RIDGE * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    changes = []
    for leaf, rows in enumerate(z.split(sizes)):
        target = step.split(sizes)[leaf]
        loading = torch.linalg.solve(rows.T @ rows + penalty, rows.T @ target)
        decoders.loadings[leaf] = loading
        changes.append(rows @ loading)
    return torch.cat(changes)


def _expected_errors(
    weight: Tensor, x: Tensor, mean: Tensor, error: Tensor, leaf: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the mean squared errors of the leaves, and the samples that they have.

    Samples count for all leaves that they may reach, as in the ELBO: routers are not
    yet certain, and a scale for the samples of the leaf alone would make all others
    very improbable.

    Parameters
    ----------
    weight : Tensor of shape (n_leaves, batch)
        Probability of each leaf.
    x : Tensor of shape (batch, n_features)
        Data.
    mean : Tensor of shape (n_leaves, n_features)
        Mean of each leaf, the prediction for samples of other leaves.
    error : Tensor of shape (batch, n_features)
        Squared errors of the samples in their own leaves.
    leaf : Tensor of int of shape (batch,)
        Own leaf of each sample.
    """
    own = weight.gather(0, leaf[None])
    others = weight.scatter(0, leaf[None], 0.0)
    mass = others.sum(1, keepdim=True)
    total = others @ x.square() - 2.0 * mean * (others @ x) + mean.square() * mass
    total = total + sum_by_index(own.T * error, leaf, len(mean))
    mass = mass + sum_by_index(own.T, leaf, len(mean))
    return total / mass.clamp(min=ROUNDING), mass
