"""Likelihoods p(x | z): distributions of the data given a decoder's output."""

from .base import Likelihood
from .counts import MAX_COUNT, NegativeBinomialLikelihood, PoissonLikelihood
from .mixed import MixedLikelihood
from .real import NORMAL_KURTOSIS, BernoulliLikelihood, GaussianLikelihood

__all__ = [
    "LIKELIHOODS",
    "MAX_COUNT",
    "NORMAL_KURTOSIS",
    "BernoulliLikelihood",
    "GaussianLikelihood",
    "Likelihood",
    "MixedLikelihood",
    "NegativeBinomialLikelihood",
    "PoissonLikelihood",
]

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "gaussian": GaussianLikelihood,
    "mixed": MixedLikelihood,
    "poisson": PoissonLikelihood,
    "negative_binomial": NegativeBinomialLikelihood,
}
"""Likelihoods by the values of the estimator's parameter."""
