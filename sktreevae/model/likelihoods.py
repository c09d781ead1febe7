"""Likelihoods p(x | z): distributions of the data given a decoder's output."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._random import draw_seed
from .gaussians import inverse_softplus
from .precision import no_autocast
from .rows import add_rows, dot_rows
from .stirling import StirlingRemainder

__all__ = [
    "LIKELIHOODS",
    "MAX_COUNT",
    "NORMAL_KURTOSIS",
    "BernoulliLikelihood",
    "GaussianLikelihood",
    "Likelihood",
    "NegativeBinomialLikelihood",
    "PoissonLikelihood",
]

MAX_COUNT = 2**24
"""Maximum count. Single precision can't represent all larger whole numbers."""

RAW_SCALE = 10.0
"""Scale of raw variances and dispersions. Adam moves every scalar by about the same
step; the factor lets variances move as fast as network outputs."""

PRIOR_SAMPLES = 2.0
"""Number of samples that the mean variance of all leaves counts for in the variance of
a leaf, for normal residuals."""

NORMAL_KURTOSIS = 3.0
"""Kurtosis of a normal distribution."""


class Likelihood(nn.Module, ABC):
    """Base class of the likelihoods.

    Parameters
    ----------
    n_leaves, n_features : int
        Shape of the tables of parameters, in subclasses that have any.

    Attributes
    ----------
    support : {"unit_interval", "real", "counts"}
        Values that the data may have.
    standardize : bool
        Whether the data are standardized before they are modeled.
    has_scale : bool
        Whether `set_scale` sets parameters.
    """

    support: ClassVar[str]
    standardize: ClassVar[bool] = False
    has_scale: ClassVar[bool] = False

    def __init__(self, n_leaves: int, n_features: int) -> None:
        super().__init__()
        self.n_leaves = n_leaves
        self.n_features = n_features

    def extra_repr(self) -> str:
        """Describe the likelihood in one line."""
        return f"n_leaves={self.n_leaves}, n_features={self.n_features}"

    @abstractmethod
    def link(self, mean: Tensor) -> Tensor:
        """Return the decoder output that has the given mean."""

    def newton_step(self, x: Tensor, mean: Tensor) -> Tensor:
        """Return the change of the decoder output that moves a mean toward the data.

        It is a step of Newton's method, or shorter. Likelihoods of counts have none.

        Parameters
        ----------
        x, mean : Tensor of shape (batch, n_features)
            Data, and the mean that each row has so far.
        """
        raise NotImplementedError

    def noise_variance(self, mean: Tensor, error: Tensor) -> Tensor:
        """Return the variance of the features given their mean.

        Likelihoods of counts don't need it.

        Parameters
        ----------
        mean : Tensor of shape (n_features,)
            Mean of the data.
        error : Tensor of shape (n_features,)
            Mean squared error of predictions, which is the variance of a likelihood
            that learns it.
        """
        raise NotImplementedError

    def set_scale(
        self, error: Tensor, n_samples: Tensor, kurtosis: Tensor | float
    ) -> None:
        """Set the parameters of the leaves' scale, if there are any.

        Parameters
        ----------
        error : Tensor of shape (n_leaves, n_features)
            Mean squared error of each leaf.
        n_samples : Tensor of shape (n_leaves, 1)
            Number of samples of each leaf.
        kurtosis : float or Tensor of shape (n_features,)
            Kurtosis of the errors, over all leaves.
        """

    @abstractmethod
    def log_prob(self, output: Tensor, x: Tensor, leaf: Tensor | None = None) -> Tensor:
        """Return log p(x | z) in nats, summed over the features.

        Parameters
        ----------
        output : Tensor of shape (n_leaves, batch, n_features) or (batch, n_features)
            Output of the decoders of all leaves, or of one leaf for each row.
        x : Tensor of shape (batch, n_features)
            Data.
        leaf : Tensor of int of shape (batch,), default=None
            Leaf of each row, if there is one leaf for each row.
        """

    @abstractmethod
    def mean(self, output: Tensor) -> Tensor:
        """Return E[x | z], with the shape of the decoder output."""

    @abstractmethod
    def conditional_variance(self, mean: Tensor) -> Tensor:
        """Return Var[x | z] of each feature from E[x | z], for all leaves.

        Both have the shape (n_leaves, batch, n_features).
        """

    @abstractmethod
    def sample(
        self, output: Tensor, generator: torch.Generator, leaf: Tensor | None = None
    ) -> Tensor:
        """Draw x from p(x | z); `output` and `leaf` as for `log_prob`."""


class BernoulliLikelihood(Likelihood):
    """Bernoulli likelihood; the decoder gives logits.

    Values between 0 and 1 are soft targets, for which the likelihood isn't a normalized
    density. Values outside [0, 1] are clipped.
    """

    support = "unit_interval"

    def link(self, mean: Tensor) -> Tensor:
        """Return the logits of the means, clipped to [0.01, 0.99]."""
        return mean.clamp(0.01, 0.99).logit()

    def newton_step(self, x: Tensor, mean: Tensor) -> Tensor:
        """Return the residual over the largest curvature of each feature."""
        return (x - mean) / self.noise_variance(mean, mean).amax(0)

    def noise_variance(self, mean: Tensor, error: Tensor) -> Tensor:
        """Return the variance of a Bernoulli distribution."""
        mean = mean.clamp(0.01, 0.99)
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
    `MIN_VARIANCE`: a standard deviation of 3% of the feature's own. This bounds the
    log-density that a feature adds if it is constant in a leaf to 2.5 nats.
    """

    support = "real"
    standardize = True
    has_scale = True

    MIN_VARIANCE: ClassVar[float] = 1e-3

    def __init__(self, n_leaves: int, n_features: int) -> None:
        super().__init__(n_leaves, n_features)
        self.raw_variance = _raw_table(n_leaves, n_features, initial=1.0)

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
        return -0.5 * (squares + _rows_of(log_det, leaf))

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
        return torch.addcmul(output, _rows_of(self.variance, leaf).sqrt(), noise)


class PoissonLikelihood(Likelihood):
    """Poisson likelihood of counts; the decoder gives the logarithms of the rates.

    Rates are clipped to [1e-6, 2 * MAX_COUNT], so that exponentials don't overflow and
    no count has probability 0.
    """

    support = "counts"

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
        return x * (log_ratio - log_ratio.expm1()) - StirlingRemainder.apply(x)


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
        self.raw_dispersion = _raw_table(
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
            for values in (self.mean(output), 1.0 / _rows_of(self.dispersion, leaf))
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
        remainder = StirlingRemainder.apply(total) - StirlingRemainder.apply(size)
        return deviance + remainder - StirlingRemainder.apply(x) + (size / total).log()


def _raw_table(n_leaves: int, n_features: int, initial: float) -> nn.Parameter:
    """Return raw parameters whose scaled softplus is `initial`."""
    raw = math.log(math.expm1(initial)) / RAW_SCALE
    return nn.Parameter(torch.full((n_leaves, 1, n_features), raw, dtype=torch.float32))


def _rows_of(table: Tensor, leaf: Tensor | None) -> Tensor:
    """Select rows of (n_leaves, 1, n_features) by leaf, or return the whole table."""
    # Indexing, unlike `index_select`, has gradients that CUDA sums in a fixed order.
    return table if leaf is None else table.squeeze(1)[leaf]


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


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "gaussian": GaussianLikelihood,
    "poisson": PoissonLikelihood,
    "negative_binomial": NegativeBinomialLikelihood,
}
"""Likelihoods by the values of the estimator's parameter."""
