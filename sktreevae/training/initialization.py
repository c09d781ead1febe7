"""Initial values of the posterior heads and decoders, from principal components.

With random weights, most update steps of a short training would be spent on finding the
principal components of each leaf, which linear algebra gives at once (Tipping and
Bishop 1999).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..data import TrainingData
from ..model import DiagonalGaussian, Encoding, TreeVAE, at_depth
from .objectives import NoisyFeatures

__all__ = ["init_latents"]

MAX_ROWS = 5000
"""Number of samples that the values are computed from, if leaves are large enough."""

ROWS_PER_LEAF = 50, 500
"""Minimum and maximum number of samples of a leaf, if it has them."""

RIDGE = 0.03
"""L2 penalty of the ridge regressions, relative to the number of samples."""

MIN_RIDGE = 5.0
"""Minimum L2 penalty, in samples."""

TRANSITION_VARIANCE = 0.69
"""Initial variance of p(z_i | z_pa(i)): the softplus of 0."""

EXPLAINED_RANGE = 0.02, 0.98
"""Range of the fraction of variance that a posterior head is taken to explain."""

MIN_EIGENVALUE = 1e-6
"""Components with a smaller eigenvalue, relative to the largest, are left out."""


@torch.no_grad()
def init_latents(
    model: TreeVAE,
    data: TrainingData,
    target: Tensor,
    noisy_features: NoisyFeatures,
    generator: torch.Generator,
) -> None:
    """Initialize posterior heads, the decoders' readout and the scale of leaves.

    The latent of a leaf is to be the principal components of its samples. Its head, and
    the heads of the nodes above, predict them by ridge regression. The variance of a
    head is the variance that it doesn't explain, plus the variance of the transitions
    from the node to the leaf: the message that an exact inference in a linear Gaussian
    chain passes upward. A linear readout is then the ridge regression of the samples on
    the hidden units of their leaves.

    Parameters
    ----------
    model : TreeVAE
        The model, changed in place. Its routers may be trained already; constants of
        leaves are the means of their samples.
    data : TrainingData
        Samples and features.
    target : Tensor of int of shape (n_samples,)
        Target leaf of each sample.
    noisy_features : NoisyFeatures
        Features that the encoder reads in training.
    generator : torch.Generator
        Draws the samples and the latents.
    """
    n_leaves = len(model.topology.leaves)
    index = _draw_samples(data.train, target, n_leaves, generator)
    leaf = target[index]
    x, features = data.samples[index], noisy_features(index, training=True)
    mean = _group_means(x, leaf, n_leaves)
    residual = x - mean[leaf]
    likelihood = model.top_down.likelihood
    counts = leaf.bincount(minlength=n_leaves)
    likelihood.init_scale(
        _group_means(residual.square(), leaf, n_leaves), counts[:, None]
    )
    scores = torch.cat(
        [
            _principal_components(rows, model.config.latent_dim)
            for rows in residual.split(counts.tolist())
        ]
    )
    encoding = model.encode(x, features)
    _init_heads(model, encoding, scores, leaf)
    readout = getattr(model.top_down.decoders, "readout", None)
    step = likelihood.newton_step(x, mean[leaf])
    if isinstance(readout, nn.Linear) and step is not None:
        output = _init_readout(model, encoding, step, leaf, generator)
        error = _group_means((step - output).square(), leaf, n_leaves)
        likelihood.init_scale(error, counts[:, None])


def _draw_samples(
    train: Tensor, target: Tensor, n_leaves: int, generator: torch.Generator
) -> Tensor:
    """Draw training samples of each leaf; return their indices, sorted by leaf."""
    low, high = ROWS_PER_LEAF
    n_per_leaf = min(max(MAX_ROWS // n_leaves, low), high)
    order = torch.randperm(len(train), generator=generator, device=train.device)
    shuffled = train[order]
    leaf, order = target[shuffled].sort(stable=True)
    count = leaf.bincount(minlength=n_leaves)
    start = count.cumsum(0) - count
    rank = torch.arange(len(leaf), device=leaf.device) - start[leaf]
    return shuffled[order[rank < n_per_leaf]]


def _group_means(values: Tensor, group: Tensor, n_groups: int) -> Tensor:
    """Return the mean of the rows of each group, (n_groups, n_columns).

    Rows are sorted by group. Without rows, the mean is 0.
    """
    counts = group.bincount(minlength=n_groups)
    sums = [rows.sum(0) for rows in values.split(counts.tolist())]
    return torch.stack(sums) / counts.clamp(min=1)[:, None]


def _principal_components(rows: Tensor, n_components: int) -> Tensor:
    """Return principal components of centered rows, scaled to unit variance."""
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    components = rows.new_zeros(len(rows), n_components)
    n_kept = min(n_components, max(len(rows) - 1, 0))
    if n_kept:
        values, vectors = values[-n_kept:].flip(0), vectors[:, -n_kept:].flip(1)
        is_kept = values > MIN_EIGENVALUE * values[0]
        components[:, :n_kept] = is_kept * vectors * len(rows) ** 0.5
    return components


def _init_heads(
    model: TreeVAE, encoding: Encoding, scores: Tensor, leaf: Tensor
) -> None:
    """Initialize the posterior heads; `scores` are the aims of the leaves' latents."""
    depths = model.topology.node_depths
    leaf_depth = torch.tensor([depths[i] for i in model.topology.leaves]).to(leaf)
    prior_variance = 1.0 + TRANSITION_VARIANCE * leaf_depth
    latents = scores * prior_variance.sqrt()[leaf][:, None]
    is_below = model.top_down.index.ancestry[:, leaf] > 0
    for node, depth in enumerate(depths):
        rows = is_below[node]
        if rows.sum() < 2:
            continue
        inputs, z = at_depth(encoding.posterior_inputs, depth)[rows], latents[rows]
        weight, bias, explained = _ridge(inputs, z)
        variance = prior_variance[leaf[rows]].mean() * (1.0 - explained) / explained
        n_transitions = (leaf_depth[leaf[rows]] - depth).float().mean()
        variance = variance + TRANSITION_VARIANCE * n_transitions
        # The regression shrinks; the mean of a message is unbiased.
        weight, bias = weight / explained, bias / explained
        model.init_head(node, weight, DiagonalGaussian(bias, variance))


def _ridge(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a ridge regression of y on x: weights, biases and explained variance.

    The fraction of the variance that is explained is corrected for the number of
    effective parameters, as in generalized cross-validation.
    """
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x
    penalty = max(RIDGE * len(x), MIN_RIDGE)
    eye = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    inverse = torch.linalg.inv(gram + penalty * eye)
    weight = inverse @ (x.T @ y)
    n_parameters = (inverse * gram).sum()
    correction = (1.0 - n_parameters / len(x)).clamp(min=0.1).square()
    tiny = torch.finfo(y.dtype).tiny
    unexplained = (y - x @ weight).square().mean(0) / y.square().mean(0).clamp(min=tiny)
    explained = (1.0 - unexplained / correction).clamp(*EXPLAINED_RANGE)
    return weight, y_mean - x_mean @ weight, explained


def _init_readout(
    model: TreeVAE,
    encoding: Encoding,
    step: Tensor,
    leaf: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Initialize the readout and the constants; return the change of the output.

    `step` is the change of the decoders' output that each sample asks for.
    """
    decoders = model.top_down.decoders
    n_leaves = len(model.topology.leaves)
    posterior = model.posterior(encoding, model.sample_noise(len(leaf), generator))
    z = posterior.leaf_z[leaf, torch.arange(len(leaf), device=leaf.device)]
    hidden = decoders.hidden_units(z, leaf.bincount(minlength=n_leaves).tolist())
    mean = _group_means(hidden, leaf, n_leaves)
    weight, _, _ = _ridge(hidden - mean[leaf], step)
    decoders.readout.weight.copy_(weight.T)
    decoders.readout.bias.zero_()
    decoders.constant -= (mean @ weight)[:, None]
    return (hidden - mean[leaf]) @ weight
