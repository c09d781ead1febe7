"""Diagonal Gaussians: the distribution of every latent variable."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .precision import full

__all__ = ["VARIANCE_FLOOR", "Gaussian"]

VARIANCE_FLOOR = 1e-4
"""Smallest variance of a latent variable; keeps every divergence finite."""


@dataclass(frozen=True)
class Gaussian:
    """Independent normal distributions, one for each entry of the arrays."""

    mean: Tensor
    variance: Tensor

    @classmethod
    def from_raw(cls, raw: Tensor) -> Gaussian:
        """Read a network's output: means, then variances before the softplus."""
        mean, raw_variance = full(raw).chunk(2, dim=-1)
        return cls(mean, F.softplus(raw_variance) + VARIANCE_FLOOR)

    def merge(self, other: Gaussian) -> Gaussian:
        """Return the precision-weighted product of the two (Sonderby et al. 2016)."""
        total = self.variance + other.variance
        # Equal to 1 / (1 / a + 1 / b) and its mean, with a single division.
        share = other.variance / total
        mean = torch.lerp(other.mean, self.mean, share)
        return Gaussian(mean, share * self.variance)

    def sample(self, noise: Tensor) -> Tensor:
        """Move standard normal noise to this distribution (reparameterisation)."""
        return torch.addcmul(self.mean, self.variance.sqrt(), noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density in nats, summed over the last dimension."""
        squares = (z - self.mean).square() / self.variance
        return -0.5 * (squares + (2 * torch.pi * self.variance).log()).sum(-1)

    def kl(self, prior: Gaussian) -> Tensor:
        """KL(self || prior) in nats, summed over the last dimension."""
        ratio = self.variance / prior.variance
        squares = (self.mean - prior.mean).square() / prior.variance
        return 0.5 * (ratio + squares - ratio.log() - 1.0).sum(-1)

    @classmethod
    def standard(cls, like: Tensor) -> Gaussian:
        """Return N(0, I) in the shape, type and place of `like`."""
        return cls(torch.zeros_like(like), torch.ones_like(like))
