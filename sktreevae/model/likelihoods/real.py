"""Likelihoods of values in [0, 1] and of real numbers."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..gaussians import inverse_softplus
from ..precision import no_autocast
from ..rows import dot_rows
from .base import RAW_SCALE, Likelihood, raw_table, rows_of

MIN_PROBABILITY = 0.01
"""Minimum of the probabilities given by `link`: no value starts certain."""

PRIOR_SAMPLES = 2.0
"""Number of samples that the mean variance of all leaves counts for in the variance of
a leaf, for normal residuals."""

NORMAL_KURTOSIS = 3.0
"""Kurtosis of a normal distribution."""


class BernoulliLikelihood(Likelihood):
    """Bernoulli likelihood; the decoder gives logits.

    Values between 0 and 1 are soft targets, for which the likelihood isn't a normalized
    density. Values outside [0, 1] are clipped.
    """

    low, high = 0.0, 1.0
    allowed = "values between 0 and 1"
    remedy = "Scale X to [0, 1], or fit a model with likelihood='gaussian'."
    sharper = "gaussian"

    def link(self, mean: Tensor) -> Tensor:
        """Return the logits of the means, clipped by `MIN_PROBABILITY`."""
        return mean.clamp(MIN_PROBABILITY, 1.0 - MIN_PROBABILITY).logit()

    def newton_step(self, x: Tensor, mean: Tensor) -> Tensor:
        """Return the residual over the largest curvature of each feature."""
        return (x - mean) / self.noise_variance(mean, mean).amax(0)

    def noise_variance(self, mean: Tensor, error: Tensor) -> Tensor:
        """Return the variance of a Bernoulli distribution."""
        mean = mean.clamp(MIN_PROBABILITY, 1.0 - MIN_PROBABILITY)
        return mean * (1.0 - mean)

    def log_prob(self, output: Tensor, x: Tensor, leaf: Tensor | None = None) -> Tensor:
        """Return log p(x | z) in nats; see `Likelihood.log_prob`."""
        with no_autocast(x):
            linear = torch.linalg.vecdot(output, x.clamp(0.0, 1.0))
        return linear - F.softplus(output).sum(-1)

    def mean(self, output: Tensor) -> Tensor:
        """Return the probabilities."""
        return output.sigmoid()

    def conditional_variance(self, mean: Tensor) -> Tensor:
        """Return the variance of 0/1 values, an upper bound for soft targets."""
        return mean * (1.0 - mean)

    def sample(
        self, output: Tensor, generator: torch.Generator, leaf: Tensor | None = None
    ) -> Tensor:
        """Return the probabilities: gray levels, like the soft targets."""
        return self.mean(output)


class GaussianLikelihood(Likelihood):
    """Gaussian likelihood; the decoder gives means.

    Each leaf has a variance per feature. Variances are learned, and at least
    `MIN_VARIANCE`: a standard deviation of 3% of the scale of the feature. This bounds
    the log-density that a feature adds if it is constant in a leaf to 2.5 nats.
    """

    standardize = True
    has_scale = True

    MIN_VARIANCE: ClassVar[float] = 1e-3

    def __init__(self, n_leaves: int, n_features: int) -> None:
        super().__init__(n_leaves, n_features)
        self.raw_variance = raw_table(n_leaves, n_features, initial=1.0)

    @property
    def variance(self) -> Tensor:
        """Variance of each feature at each leaf, (n_leaves, 1, n_features)."""
        return F.softplus(RAW_SCALE * self.raw_variance) + self.MIN_VARIANCE

    def link(self, mean: Tensor) -> Tensor:
        """Return the means."""
        return mean

    def newton_step(self, x: Tensor, mean: Tensor) -> Tensor:
        """Return the residual."""
        return x - mean

    def noise_variance(self, mean: Tensor, error: Tensor) -> Tensor:
        """Return the error: variances are learned."""
        return error

    @torch.no_grad()
    def set_scale(
        self, error: Tensor, n_samples: Tensor, kurtosis: Tensor | float
    ) -> None:
        """Set the variances; see `Likelihood.set_scale`.

        They maximize the expected log-likelihood, but are shrunk toward the mean over
        leaves. The sampling variance of a variance grows with ``kurtosis - 1``, and so
        does the shrinkage: a feature that is constant in a small sample may have rare
        large values in others.
        """
        prior = PRIOR_SAMPLES * (kurtosis - 1.0) / (NORMAL_KURTOSIS - 1.0)
        mean_error = (error * n_samples).sum(0) / n_samples.sum()
        total = error * n_samples + prior * mean_error
        excess = total / (n_samples + prior) - self.MIN_VARIANCE
        excess = excess.clamp(min=self.MIN_VARIANCE)
        self.raw_variance.copy_(inverse_softplus(excess)[:, None] / RAW_SCALE)

    def log_prob(self, output: Tensor, x: Tensor, leaf: Tensor | None = None) -> Tensor:
        """Return log p(x | z) in nats; see `Likelihood.log_prob`."""
        variance = self.variance
        squares = dot_rows(1.0 / variance, (output - x).square(), leaf)
        log_det = (2 * torch.pi * variance).log().sum(-1)
        return -0.5 * (squares + rows_of(log_det, leaf))

    def mean(self, output: Tensor) -> Tensor:
        """Return the means."""
        return output

    def conditional_variance(self, mean: Tensor) -> Tensor:
        """Return the learned variances."""
        return self.variance.expand_as(mean)

    def sample(
        self, output: Tensor, generator: torch.Generator, leaf: Tensor | None = None
    ) -> Tensor:
        """Draw x from p(x | z); see `Likelihood.sample`."""
        noise = torch.empty_like(output).normal_(generator=generator)
        return torch.addcmul(output, rows_of(self.variance, leaf).sqrt(), noise)
