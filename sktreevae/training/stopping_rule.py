"""Rule that ends a phase of training early."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["StoppingRule"]


class StoppingRule:
    """Counts epochs without improvement, and keeps the best parameters.

    Parameters
    ----------
    parameters : list of Parameter
        Parameters that are trained.
    n_iter_no_change : int
        Epochs without improvement after which a phase ends.
    tol : float
        Minimum improvement of the ELBO, in nats per sample.
    keep_best : bool
        Whether to keep the best parameters.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        n_iter_no_change: int,
        tol: float,
        *,
        keep_best: bool,
    ) -> None:
        self._parameters = parameters
        self._n_iter_no_change = n_iter_no_change
        self._tol = tol
        self._keep_best = keep_best
        self._best = -math.inf
        self._best_values: list[Tensor] = []
        self._n_epochs_no_improvement = 0

    def should_stop(self, elbo: float) -> bool:
        """Receive the ELBO of an epoch; return whether the phase has converged."""
        improved = elbo > self._best + self._tol
        self._n_epochs_no_improvement = (
            0 if improved else self._n_epochs_no_improvement + 1
        )
        if elbo > self._best:
            self._best = elbo
            if self._keep_best:
                self._best_values = [p.detach().clone() for p in self._parameters]
        return self._n_epochs_no_improvement >= self._n_iter_no_change

    def restore_best(self) -> None:
        """Set the best parameters, if they are kept and any epoch was received."""
        if self._best_values:
            self._set(self._best_values)

    @contextmanager
    def best_parameters(self) -> Iterator[None]:
        """Set the best parameters for a while."""
        if not self._best_values:
            yield
            return
        present = [p.detach().clone() for p in self._parameters]
        self.restore_best()
        try:
            yield
        finally:
            self._set(present)

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)
