"""Mean and variance of the generative model at each leaf."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..utils.limits import BLOCK_ROWS
from .precision import to_float32
from .treevae import TreeVAE


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each feature at each leaf, in the units of the model.

    Parameters
    ----------
    mean, variance : Tensor of shape (n_leaves, n_features)
        E[x | leaf] and Var[x | leaf], in float64 on the CPU.
    """

    mean: Tensor
    variance: Tensor


@torch.no_grad()
def leaf_moments(model: TreeVAE, n_draws: int = 256) -> Moments:
    """Estimate the moments of the generative model at each leaf (section 2.2).

    Latent variables are drawn from the prior, in pairs of opposite noise, and each draw
    is weighted by the probability that it is routed to the leaf. The variance is the
    mean variance given the latent variables, plus the variance of the mean given them.

    Parameters
    ----------
    model : TreeVAE
        The model.
    n_draws : int, default=256
        Number of draws of the latent variables, a multiple of 2. The noise is the same
        for all models, and is drawn on the CPU whatever the model's device is.

    Returns
    -------
    moments : Moments
        Moments of each leaf.

    Examples
    --------
    >>> from sktreevae.model import ModelConfig, Topology
    >>> config = ModelConfig(n_features=5, hidden_dim=16, latent_dim=2)
    >>> model = TreeVAE(Topology.stump(), config, generator=torch.Generator())
    >>> leaf_moments(model).mean.shape
    torch.Size([2, 5])
    """
    top_down = model.top_down
    like = next(top_down.parameters())
    noise = torch.randn(
        (model.topology.depth + 1, n_draws // 2, model.config.latent_dim),
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float32,
    )
    noise = torch.cat([noise, -noise], dim=1).to(like)
    leaf_z, log_proba = top_down.sample_latents(noise)
    weight = log_proba.cpu().double().softmax(1)[..., None]
    mean = square = noise_variance = 0.0
    size = max(1, BLOCK_ROWS // len(leaf_z))
    for z, share in zip(leaf_z.split(size, 1), weight.split(size, 1), strict=True):
        decoded = top_down.likelihood.mean(to_float32(top_down.decoders(z)))
        variance = top_down.likelihood.conditional_variance(decoded)
        # Not all devices have float64.
        decoded, variance = decoded.cpu().double(), variance.cpu().double()
        mean = mean + (share * decoded).sum(1)
        square = square + (share * decoded.square()).sum(1)
        noise_variance = noise_variance + (share * variance).sum(1)
    # Rounding errors may let the difference fall below 0.
    return Moments(mean, noise_variance + (square - mean.square()).clamp(min=0.0))
