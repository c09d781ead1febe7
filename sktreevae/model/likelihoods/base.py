"""Base class of the likelihoods p(x | z): distributions given a decoder's output."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

RAW_SCALE = 10.0
"""Scale of raw variances and dispersions. Adam moves every scalar by about the same
step; the factor lets variances move as fast as network outputs."""


class Likelihood(nn.Module, ABC):
    """Base class of the likelihoods.

    Parameters
    ----------
    n_leaves, n_features : int
        Shape of the tables of parameters, in subclasses that have any.

    Attributes
    ----------
    low, high : float
        Ends of the range of the data.
    is_count : bool
        Whether the data are whole numbers. They have no known scale, so log-densities
        of different data can't be compared.
    allowed, remedy : str
        What the data may be, and what helps if they aren't, for error messages.
    standardize : bool
        Whether the data are standardized before they are modeled.
    has_scale : bool
        Whether `set_scale` sets parameters.
    has_discrete : bool
        Whether columns can be discrete.
    sharper : str or None
        Name of a likelihood that tells values apart more sharply, if there is one.
    """

    low: ClassVar[float] = -math.inf
    high: ClassVar[float] = math.inf
    is_count: ClassVar[bool] = False
    allowed: ClassVar[str] = "any values"
    remedy: ClassVar[str] = ""
    standardize: ClassVar[bool] = False
    has_scale: ClassVar[bool] = False
    has_discrete: ClassVar[bool] = False
    sharper: ClassVar[str | None] = None

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


def raw_table(n_leaves: int, n_features: int, initial: float) -> nn.Parameter:
    """Return raw parameters whose scaled softplus is `initial`."""
    raw = math.log(math.expm1(initial)) / RAW_SCALE
    return nn.Parameter(torch.full((n_leaves, 1, n_features), raw, dtype=torch.float32))


def rows_of(table: Tensor, leaf: Tensor | None) -> Tensor:
    """Select rows of (n_leaves, 1, n_features) by leaf, or return the whole table."""
    # Indexing, unlike `index_select`, has gradients that CUDA sums in a fixed order.
    return table if leaf is None else table.squeeze(1)[leaf]
