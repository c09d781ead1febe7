"""Diagonal Gaussian distributions of the latent variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .precision import to_float32

MIN_VARIANCE = 1e-4
"""Lower bound of the variance of a latent variable. It keeps divergences finite."""


def inverse_softplus(x: Tensor) -> Tensor:
    """Return log(exp(x) - 1) for x > 0, without overflow."""
    return x + (-torch.expm1(-x)).log()


@dataclass(frozen=True)
class DiagonalGaussian:
    """A batch of Gaussian distributions with diagonal covariance.

    Parameters
    ----------
    mean, variance : Tensor of shape (..., n_dims)
        Mean and variance of each coordinate.

    Examples
    --------
    >>> prior = DiagonalGaussian.standard(torch.zeros(3, 2))
    >>> prior.kl(prior)
    tensor([0., 0., 0.])
    """

    mean: Tensor
    variance: Tensor

    @classmethod
    def from_raw(cls, raw: Tensor) -> DiagonalGaussian:
        """Build from a network output: means, then variances before the softplus."""
        halves = to_float32(raw).unflatten(-1, (2, -1)).movedim(-2, 0)
        # Elementwise operations on slices of the last dimension would be slow.
        mean, raw_variance = halves.contiguous()
        return cls(mean, F.softplus(raw_variance) + MIN_VARIANCE)

    @classmethod
    def cat(cls, parts: Sequence[DiagonalGaussian]) -> DiagonalGaussian:
        """Concatenate distributions along the first dimension."""
        return cls(
            torch.cat([part.mean for part in parts]),
            torch.cat([part.variance for part in parts]),
        )

    def split(self, sizes: Sequence[int]) -> list[DiagonalGaussian]:
        """Split along the first dimension; the inverse of `cat`."""
        parts = self.mean.split(list(sizes)), self.variance.split(list(sizes))
        return list(map(DiagonalGaussian, *parts))

    def to_raw(self) -> Tensor:
        """Return the network output that `from_raw` maps to this distribution."""
        excess = (self.variance - MIN_VARIANCE).clamp(min=MIN_VARIANCE)
        return torch.cat([self.mean, inverse_softplus(excess)], dim=-1)

    @classmethod
    def standard(cls, like: Tensor) -> DiagonalGaussian:
        """Return N(0, I) with the shape, dtype and device of `like`."""
        return cls(torch.zeros_like(like), torch.ones_like(like))

    def merge(self, other: DiagonalGaussian) -> DiagonalGaussian:
        """Return the precision-weighted product of the two (Sonderby et al. 2016)."""
        total = self.variance + other.variance
        # Equal to 1 / (1 / a + 1 / b) and its mean, with a single division.
        share = other.variance / total
        mean = torch.lerp(other.mean, self.mean, share)
        return DiagonalGaussian(mean, share * self.variance)

    def sample(self, noise: Tensor) -> Tensor:
        """Transform standard normal noise into a sample (reparameterization trick)."""
        return torch.addcmul(self.mean, self.variance.sqrt(), noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-density in nats, summed over the last dimension."""
        squares = (z - self.mean).square() / self.variance
        return -0.5 * (squares + (2 * torch.pi * self.variance).log()).sum(-1)

    def kl(self, prior: DiagonalGaussian) -> Tensor:
        """Return KL(self || prior) in nats, summed over the last dimension."""
        ratio = self.variance / prior.variance
        squares = (self.mean - prior.mean).square() / prior.variance
        return 0.5 * (ratio + squares - ratio.log() - 1.0).sum(-1)
