"""Likelihoods of counts."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from ...utils.random import draw_seed
from ..rows import add_rows, dot_rows
from .base import RAW_SCALE, Likelihood, raw_table, rows_of

MAX_COUNT = 2**24
"""Maximum count. Single precision can't represent all larger whole numbers."""


class PoissonLikelihood(Likelihood):
    """Poisson likelihood of counts; the decoder gives the logarithms of the rates.

    Rates are clipped to [1e-6, 2 * MAX_COUNT], so that exponentials don't overflow and
    no count has probability 0.
    """

    low, high = 0.0, float(MAX_COUNT)
    is_count = True
    allowed = f"counts, whole numbers from 0 to {MAX_COUNT}"
    remedy = (
        "Pass counts that aren't normalized or transformed, or fit a model with "
        "likelihood='gaussian'."
    )

    LOG_RATE_RANGE: ClassVar[tuple[float, float]] = (
        math.log(1e-6),
        math.log(2.0 * MAX_COUNT),
    )

    MIN_INITIAL_RATE: ClassVar[float] = 1e-3
    """Minimum rate given by `link`. Gradients vanish with the rate."""

    def link(self, mean: Tensor) -> Tensor:
        """Return the logarithms of the rates, clipped to be at least 1e-3."""
        return mean.clamp(min=self.MIN_INITIAL_RATE).log()

    def log_prob(self, output: Tensor, x: Tensor, leaf: Tensor | None = None) -> Tensor:
        """Return log p(x | z) in nats; see `Likelihood.log_prob`.

        Most counts of wide data are 0, which has a short formula.
        """
        position = _positions(x)
        log_rate = self._log_rate(output)
        entries = self._log_prob_of_positive(
            _select(log_rate, position), _select(x, position)
        )
        return _replace(-log_rate.exp(), position, entries).sum(-1)

    def mean(self, output: Tensor) -> Tensor:
        """Return the rates."""
        return output.clamp(*self.LOG_RATE_RANGE).exp()

    def conditional_variance(self, mean: Tensor) -> Tensor:
        """Return the rates: they are also the variances."""
        return mean

    def sample(
        self, output: Tensor, generator: torch.Generator, leaf: Tensor | None = None
    ) -> Tensor:
        """Draw counts from p(x | z); see `Likelihood.sample`."""
        return torch.poisson(self.mean(output), generator=generator)

    def _log_rate(self, output: Tensor) -> Tensor:
        """Return the logarithms of the rates."""
        # The gradient of `clamp` takes several passes over the output.
        return F.hardtanh(output, *self.LOG_RATE_RANGE)

    @staticmethod
    def _log_prob_of_positive(log_rate: Tensor, x: Tensor) -> Tensor:
        """Return log p(x) of positive counts.

        The formula is Loader's (2000): a deviance, and the remainder of Stirling's
        formula. For large counts, the terms of the textbook formula nearly cancel,
        which costs most digits in single precision.
        """
        log_ratio = log_rate - x.log()
        return x * (log_ratio - log_ratio.expm1()) - _StirlingRemainder.apply(x)


class NegativeBinomialLikelihood(PoissonLikelihood):
    """Negative binomial likelihood of overdispersed counts.

    The variance is ``rate + dispersion * rate**2``. The decoder gives the logarithms of
    the rates, clipped as for `PoissonLikelihood`; each leaf has a dispersion per
    feature. Dispersions are learned, and at least `MIN_DISPERSION`, which means rates
    that vary by 1%. For rates far below 1e4, this is close to a Poisson distribution.
    """

    MIN_DISPERSION: ClassVar[float] = 1e-4

    INITIAL_DISPERSION: ClassVar[float] = 0.3

    def __init__(self, n_leaves: int, n_features: int) -> None:
        super().__init__(n_leaves, n_features)
        self.raw_dispersion = raw_table(
            n_leaves, n_features, initial=self.INITIAL_DISPERSION
        )

    @property
    def dispersion(self) -> Tensor:
        """Dispersion of each feature at each leaf, (n_leaves, 1, n_features)."""
        return F.softplus(RAW_SCALE * self.raw_dispersion) + self.MIN_DISPERSION

    def conditional_variance(self, mean: Tensor) -> Tensor:
        """Return the variances ``rate + dispersion * rate**2``."""
        return mean + self.dispersion * mean.square()

    def log_prob(self, output: Tensor, x: Tensor, leaf: Tensor | None = None) -> Tensor:
        """Return log p(x | z) in nats; see `Likelihood.log_prob`.

        The log-probability of 0 is ``size * log(size / (size + rate))``.
        """
        position = _positions(x)
        log_rate, size = self._log_rate(output), 1.0 / self.dispersion
        node = ... if leaf is None else leaf[position // self.n_features]
        # Not by `index_select`, whose gradients CUDA sums in any order.
        entry_size = size.squeeze(1)[node, position % self.n_features]
        entries = self._log_prob_of_positive(
            _select(log_rate, position), _select(x, position), entry_size
        )
        terms = F.logsigmoid(add_rows(size.log(), log_rate, leaf, alpha=-1.0))
        return dot_rows(size, _replace(terms, position, entries / entry_size), leaf)

    def sample(
        self, output: Tensor, generator: torch.Generator, leaf: Tensor | None = None
    ) -> Tensor:
        """Draw counts from p(x | z); see `Likelihood.sample`.

        They are drawn by a numpy generator, seeded from the torch generator: torch has
        no public gamma sampler that accepts a generator.
        """
        rng = np.random.default_rng(
            draw_seed(generator, high=torch.iinfo(torch.int64).max)
        )
        rate, size = (
            values.double().numpy(force=True)
            for values in (self.mean(output), 1.0 / rows_of(self.dispersion, leaf))
        )
        counts = rng.negative_binomial(size, size / (size + rate))
        return torch.from_numpy(counts).to(output)

    @staticmethod
    def _log_prob_of_positive(log_rate: Tensor, x: Tensor, size: Tensor) -> Tensor:
        """Return log p(x) of positive counts, by Loader's formula."""
        log_ratio = log_rate - x.log()
        total = x + size
        log_share = (total / (size + x * log_ratio.exp())).log()
        deviance = x * log_ratio + total * log_share
        remainder = _StirlingRemainder.apply(total) - _StirlingRemainder.apply(size)
        return deviance + remainder - _StirlingRemainder.apply(x) + (size / total).log()


def _positions(x: Tensor) -> Tensor:
    """Return the positions of the entries of (batch, n_features) that aren't 0."""
    return x.flatten().nonzero().squeeze(1)


def _select(values: Tensor, position: Tensor) -> Tensor:
    """Select entries of (..., batch, n_features), (..., n_positions)."""
    return values.flatten(-2).index_select(-1, position)


def _replace(values: Tensor, position: Tensor, entries: Tensor) -> Tensor:
    """Return (..., batch, n_features) with other values of some entries."""
    flat = values.flatten(-2).index_copy(-1, position, entries)
    return flat.unflatten(-1, values.shape[-2:])


class _StirlingRemainder(torch.autograd.Function):
    """Maps x > 0 to log(x!) - x log(x) + x.

    The terms nearly cancel if x is large. From 8 on, the first terms of the asymptotic
    series are exact in single precision.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        """Return the remainders."""
        ctx.save_for_backward(x)
        small, large = x.clamp(max=8.0), x.clamp(min=8.0)
        exact = torch.lgamma(small + 1.0) - small * (small.log() - 1.0)
        series = (1.0 / 12.0 - 1.0 / (360.0 * large.square())) / large
        return torch.where(x < 8.0, exact, 0.5 * (2 * torch.pi * large).log() + series)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        """Return the gradient."""
        (x,) = ctx.saved_tensors
        small, large = x.clamp(max=8.0), x.clamp(min=8.0)
        exact = torch.digamma(small + 1.0) - small.log()
        series = (1.0 / 120.0 / large.square() - 1.0 / 12.0) / large.square()
        return grad * torch.where(x < 8.0, exact, 0.5 / large + series)
