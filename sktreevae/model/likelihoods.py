"""p(x | z): what a leaf's decoder says about the data."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .precision import full_precision

__all__ = ["Bernoulli", "Gaussian", "LIKELIHOODS", "NegativeBinomial", "Poisson"]

LARGEST_COUNT = 2**24
"""Larger counts aren't whole in single precision."""

PACE = 10.0
"""Steps of Adam are as large for a single number as for each of a network's, which
add up: a factor lets variances and dispersions keep pace with the means."""


class Bernoulli(nn.Module):
    """Data in [0, 1]; the decoder gives logits. Values between are soft targets.

    With soft targets the likelihood isn't a normalised density. Values outside, which
    unseen data may have, count as the nearest inside.

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
        with full_precision(x):
            linear = torch.linalg.vecdot(output, x.clamp(0.0, 1.0))
        return linear - F.softplus(output).sum(-1)

    def mean(self, output: Tensor) -> Tensor:
        """E[x | z], in the shape of the decoder's output."""
        return output.sigmoid()

    def sample(
        self, output: Tensor, generator: torch.Generator, leaf: Tensor | None = None
    ) -> Tensor:
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

    def __init__(self, n_leaves: int, n_features: int) -> None:
        super().__init__()
        one = math.log(math.expm1(1.0)) / PACE  # of a variance of one
        self.raw_variance = nn.Parameter(torch.full((n_leaves, 1, n_features), one))

    def output(self, mean: Tensor) -> Tensor:
        """Invert `mean`."""
        return mean

    @property
    def variance(self) -> Tensor:
        """Variance of each feature at each leaf, (n_leaves, 1, n_features)."""
        return F.softplus(PACE * self.raw_variance) + self.VARIANCE_FLOOR

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
        variance = _of_leaves(self.variance, leaf)
        with full_precision(x):
            squares = torch.linalg.vecdot((output - x).square(), 1.0 / variance)
        return -0.5 * (squares + (2 * torch.pi * variance).log().sum(-1))

    def mean(self, output: Tensor) -> Tensor:
        """E[x | z], in the shape of the decoder's output."""
        return output

    def sample(
        self, output: Tensor, generator: torch.Generator, leaf: Tensor | None = None
    ) -> Tensor:
        """Draw x from p(x | z); `output` and `leaf` as for `log_prob`."""
        noise = torch.empty_like(output).normal_(generator=generator)
        return torch.addcmul(output, _of_leaves(self.variance, leaf).sqrt(), noise)


class Poisson(nn.Module):
    """Counts; the decoder gives the logarithms of their rates.

    Rates are kept between 1e-6 and twice the `LARGEST_COUNT` of 2**24, so that no
    exponential overflows and no count is impossible.

    Parameters
    ----------
    n_leaves, n_features : int
        Unused: this likelihood has no parameters of its own.
    """

    LOG_RATE_RANGE = math.log(1e-6), math.log(2.0 * LARGEST_COUNT)

    START_FLOOR = 1e-3
    """Least rate that a leaf starts from: gradients vanish with the rate."""

    def __init__(self, n_leaves: int, n_features: int) -> None:
        super().__init__()

    def output(self, mean: Tensor) -> Tensor:
        """Invert `mean`, short of rates of zero."""
        return mean.clamp(min=self.START_FLOOR).log()

    def log_prob(self, output: Tensor, x: Tensor, leaf: Tensor | None = None) -> Tensor:
        """Log p(x | z) in nats; arguments as for `Gaussian.log_prob`.

        In the form of Loader (2000): a deviance, and what Stirling's formula leaves.
        The terms of the plain form cancel, and single precision with them, where
        counts are large.
        """
        base, log_ratio = self._compare(output, x)
        excess = (x - base) - base * log_ratio.expm1()  # x - rate
        return (x * log_ratio + excess - _stirling_rest(x)).sum(-1)

    def mean(self, output: Tensor) -> Tensor:
        """E[x | z], in the shape of the decoder's output."""
        return output.clamp(*self.LOG_RATE_RANGE).exp()

    def sample(
        self, output: Tensor, generator: torch.Generator, leaf: Tensor | None = None
    ) -> Tensor:
        """Draw x from p(x | z): whole numbers."""
        return torch.poisson(self.mean(output), generator=generator)

    def _compare(self, output: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return counts, or one instead of zero, and log(rate / count) for these."""
        base = torch.where(x > 0, x, 1.0)
        return base, output.clamp(*self.LOG_RATE_RANGE) - base.log()


class NegativeBinomial(Poisson):
    """Counts that vary more than Poisson's: the rate itself is gamma distributed.

    The variance is ``rate + dispersion * rate**2``. The decoder gives the logarithms
    of the rates, within the same bounds as for `Poisson`; each leaf has a dispersion
    per feature. Dispersions are learned, and never below `DISPERSION_FLOOR`, which
    means rates that vary by 1%: for rates far below 1e4 this is as good as Poisson.

    Parameters
    ----------
    n_leaves, n_features : int
        Shape of the table of dispersions.
    """

    DISPERSION_FLOOR = 1e-4

    START_DISPERSION = 0.3

    def __init__(self, n_leaves: int, n_features: int) -> None:
        super().__init__(n_leaves, n_features)
        start = math.log(math.expm1(self.START_DISPERSION)) / PACE
        self.raw_dispersion = nn.Parameter(torch.full((n_leaves, 1, n_features), start))

    @property
    def dispersion(self) -> Tensor:
        """Dispersion of each feature at each leaf, (n_leaves, 1, n_features)."""
        return F.softplus(PACE * self.raw_dispersion) + self.DISPERSION_FLOOR

    def log_prob(self, output: Tensor, x: Tensor, leaf: Tensor | None = None) -> Tensor:
        """Log p(x | z) in nats; arguments as for `Gaussian.log_prob`.

        In Loader's form, as that of `Poisson`.
        """
        size = 1.0 / _of_leaves(self.dispersion, leaf)
        base, log_ratio = self._compare(output, x)
        total = x + size
        log_share = (total / (size + base * log_ratio.exp())).log()
        rest = _stirling_rest(total) - _stirling_rest(x)
        terms = x * log_ratio + total * log_share + rest - total.log()
        return (terms + (size.log() - _stirling_rest(size))).sum(-1)

    def sample(
        self, output: Tensor, generator: torch.Generator, leaf: Tensor | None = None
    ) -> Tensor:
        """Draw x from p(x | z): whole numbers.

        They are drawn by numpy, seeded from the generator: torch has no public gamma
        sampler that takes one.
        """
        largest = torch.iinfo(torch.int64).max
        seed = torch.randint(largest, (), generator=generator, device=output.device)
        rng = np.random.default_rng(seed.item())
        rate, size = (
            t.cpu().double().numpy(force=True)
            for t in (self.mean(output), 1.0 / _of_leaves(self.dispersion, leaf))
        )
        counts = rng.negative_binomial(size, size / (size + rate))
        return torch.from_numpy(counts).to(output)


def _of_leaves(table: Tensor, leaf: Tensor | None) -> Tensor:
    """Rows of (n_leaves, 1, n_features) for the leaves named; the table, if none is."""
    # Indexing, unlike `index_select`, has gradients that CUDA sums in a fixed order.
    return table if leaf is None else table.squeeze(1)[leaf]


def _stirling_rest(x: Tensor) -> Tensor:
    """log(x!) - x log(x) + x for x >= 0, whose terms nearly cancel if x is large.

    Three terms of the series are exact in single precision from 8 on.
    """
    small, large = x.clamp(max=8.0), x.clamp(min=8.0)
    exact = torch.lgamma(small + 1.0) - torch.xlogy(small, small) + small
    square = large.square()
    series = (1.0 / 12.0 - 1.0 / (360.0 * square)) / large
    return torch.where(x < 8.0, exact, 0.5 * (2 * torch.pi * large).log() + series)


LIKELIHOODS: dict[str, type[nn.Module]] = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
}
"""The likelihoods by the names that a user gives."""
