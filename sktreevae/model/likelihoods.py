"""p(x | z): what a leaf's decoder says about the data."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Bernoulli", "Gaussian", "LIKELIHOODS"]


class Bernoulli(nn.Module):
    """Data in [0, 1]; the decoder gives logits. Values between are soft targets.

    Parameters
    ----------
    n_leaves, n_features : int
        Unused: this likelihood has no parameters of its own.
    """

    def __init__(self, n_leaves: int, n_features: int) -> None:
        super().__init__()

    def output(self, mean: Tensor) -> Tensor:
        """Invert `mean`, short of certainty."""
        return mean.clamp(0.01, 0.99).logit()

    def log_prob(self, output: Tensor, x: Tensor, leaf: Tensor | None = None) -> Tensor:
        """Log p(x | z) in nats; arguments as for `Gaussian.log_prob`."""
        linear = torch.linalg.vecdot(output, x)
        return linear - F.softplus(output).sum(-1)

    def mean(self, output: Tensor) -> Tensor:
        """E[x | z], in the shape of the decoder's output."""
        return output.sigmoid()

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Return the probabilities: grey levels, as the soft targets are."""
        return self.mean(output)


class Gaussian(nn.Module):
    """Real values; the decoder gives means, each leaf has a variance per feature.

    The variances are learned, and never below `VARIANCE_FLOOR`, a standard deviation
    of a tenth of the feature's own: a feature that is constant in a leaf adds 1.4 nats
    at most, and can't drown the others.

    Parameters
    ----------
    n_leaves, n_features : int
        Shape of the table of variances.
    """

    VARIANCE_FLOOR = 1e-2

    PACE = 10.0
    """Steps of Adam are as large for a single number as for each of a network's, which
    add up: a factor lets the variances keep pace with the means."""

    def __init__(self, n_leaves: int, n_features: int) -> None:
        super().__init__()
        one = math.log(math.expm1(1.0)) / self.PACE  # of a variance of one
        self.raw_variance = nn.Parameter(torch.full((n_leaves, 1, n_features), one))

    def output(self, mean: Tensor) -> Tensor:
        """Invert `mean`."""
        return mean

    @property
    def variance(self) -> Tensor:
        """Variance of each feature at each leaf, (n_leaves, 1, n_features)."""
        return F.softplus(self.PACE * self.raw_variance) + self.VARIANCE_FLOOR

    def log_prob(self, output: Tensor, x: Tensor, leaf: Tensor | None = None) -> Tensor:
        """Log p(x | z) in nats.

        Parameters
        ----------
        output : Tensor of shape (n_leaves, batch, n_features) or (batch, n_features)
            What the decoders give; the latter if each row has a leaf of its own.
        x : Tensor of shape (batch, n_features)
            Data.
        leaf : Tensor of int of shape (batch,), default=None
            Leaves of the rows in the latter case.
        """
        variance = self.variance
        if leaf is not None:
            variance = variance.squeeze(1).index_select(0, leaf)
        squares = torch.linalg.vecdot((output - x).square(), 1.0 / variance)
        return -0.5 * (squares + (2 * torch.pi * variance).log().sum(-1))

    def mean(self, output: Tensor) -> Tensor:
        """E[x | z], in the shape of the decoder's output."""
        return output

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Draw x from p(x | z)."""
        noise = torch.empty_like(output).normal_(generator=generator)
        return torch.addcmul(output, self.variance.sqrt(), noise)


LIKELIHOODS: dict[str, type[nn.Module]] = {"bernoulli": Bernoulli, "gaussian": Gaussian}
"""The likelihoods by the names that a user gives."""
