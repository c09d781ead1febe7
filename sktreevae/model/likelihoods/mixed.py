"""Likelihood of tables of real and discrete columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .real import MIN_PROBABILITY, GaussianLikelihood


class MixedLikelihood(GaussianLikelihood):
    """Gaussian likelihood of real columns, and probabilities of discrete ones.

    All columns are independent given the latent variable of the leaf. The decoder gives
    means of real columns and logits of discrete ones, whose values are 0 and 1.

    Parameters
    ----------
    n_leaves, n_features : int
        Number of leaves, and of all columns.
    discrete : sequence of sequences of int, default=()
        Discrete columns. A single one has a Bernoulli distribution. Several are a
        one-hot encoding and have a categorical distribution.

    Attributes
    ----------
    real, binary : Tensor of int
        Indices of the real columns, and of the single discrete ones.
    one_hot : list of lists of int
        Indices of the columns of each one-hot encoding.
    """

    has_discrete = True

    def __init__(
        self,
        n_leaves: int,
        n_features: int,
        discrete: Sequence[Sequence[int]] = (),
    ) -> None:
        columns = {column for group in discrete for column in group}
        real = [column for column in range(n_features) if column not in columns]
        super().__init__(n_leaves, len(real))
        self.n_features = n_features
        self.one_hot = [list(group) for group in discrete if len(group) > 1]
        binary = [group[0] for group in discrete if len(group) == 1]
        # Not in the state: the configuration of the model has the columns.
        for name, index in (("real", real), ("binary", binary)):
            self.register_buffer(name, torch.tensor(index).long(), persistent=False)

    def link(self, mean: Tensor) -> Tensor:
        """Return means, logits, and logarithms of the probabilities of categories."""
        output = mean.clone()
        low, high = MIN_PROBABILITY, 1.0 - MIN_PROBABILITY
        output[..., self.binary] = mean[..., self.binary].clamp(low, high).logit()
        for group in self.one_hot:
            output[..., group] = mean[..., group].clamp(min=low).log()
        return output

    def newton_step(self, x: Tensor, mean: Tensor) -> Tensor:
        """Return the residual, of logits over the largest curvature of each feature."""
        curvature = self.noise_variance(mean, torch.ones_like(mean))
        return (x - mean) / curvature.amax(0)

    def noise_variance(self, mean: Tensor, error: Tensor) -> Tensor:
        """Return the error of Gaussian columns, and the variance of the others."""
        mean = mean.clamp(MIN_PROBABILITY, 1.0 - MIN_PROBABILITY)
        variance = mean * (1.0 - mean)
        variance[..., self.real] = error[..., self.real]
        return variance

    def set_scale(
        self, error: Tensor, n_samples: Tensor, kurtosis: Tensor | float
    ) -> None:
        """Set the variances of the Gaussian columns; see `Likelihood.set_scale`."""
        if isinstance(kurtosis, Tensor):
            kurtosis = kurtosis[self.real]
        super().set_scale(error[:, self.real], n_samples, kurtosis)

    def log_prob(self, output: Tensor, x: Tensor, leaf: Tensor | None = None) -> Tensor:
        """Return log p(x | z) in nats; see `Likelihood.log_prob`.

        A row with none of the categories of a one-hot encoding counts as the least
        probable category.
        """
        log_prob = super().log_prob(output[..., self.real], x[..., self.real], leaf)
        logit = output[..., self.binary]
        log_prob = log_prob + (x[..., self.binary] * logit - F.softplus(logit)).sum(-1)
        for group in self.one_hot:
            log_proba = F.log_softmax(output[..., group], dim=-1)
            one_hot = x[..., group]
            rest = (1.0 - one_hot.sum(-1)).clamp(min=0.0)
            log_prob = log_prob + (one_hot * log_proba).sum(-1)
            log_prob = log_prob + rest * log_proba.amin(-1)
        return log_prob

    def mean(self, output: Tensor) -> Tensor:
        """Return means and probabilities."""
        mean = output.clone()
        mean[..., self.binary] = output[..., self.binary].sigmoid()
        for group in self.one_hot:
            mean[..., group] = output[..., group].softmax(-1)
        return mean

    def conditional_variance(self, mean: Tensor) -> Tensor:
        """Return the learned variances, and those of the discrete columns."""
        variance = mean * (1.0 - mean)
        variance[..., self.real] = super().conditional_variance(mean[..., self.real])
        return variance

    def sample(
        self, output: Tensor, generator: torch.Generator, leaf: Tensor | None = None
    ) -> Tensor:
        """Draw x from p(x | z); see `Likelihood.sample`. Discrete values are 0 or 1."""
        x = torch.empty_like(output)
        x[..., self.real] = super().sample(output[..., self.real], generator, leaf)
        probability = output[..., self.binary].sigmoid()
        x[..., self.binary] = torch.bernoulli(probability, generator=generator)
        for group in self.one_hot:
            probability = output[..., group].softmax(-1)
            category = probability.flatten(0, -2).multinomial(1, generator=generator)
            one_hot = F.one_hot(category.squeeze(1), len(group)).to(output)
            x[..., group] = one_hot.view_as(probability)
        return x
