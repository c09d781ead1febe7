"""Rule that ends a phase of training early."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class StoppingRule:
    """Counts epochs without improvement, and keeps the best parameters.

    Parameters
    ----------
    parameters : list of Parameter
        Parameters that are trained.
    n_iter_no_change : int
        Epochs without improvement after which a phase ends.
    tol : float
        Minimum improvement of the bound, in nats per sample.
    goal : float, default=inf
        Bound that ends a phase at once.
    keep_best : bool, default=False
        Whether to keep the best parameters.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        n_iter_no_change: int,
        tol: float,
        *,
        goal: float = math.inf,
        keep_best: bool = False,
    ) -> None:
        self._parameters = parameters
        self._n_iter_no_change = n_iter_no_change
        self._tol = tol
        self._goal = goal
        self._keep_best = keep_best
        self._best = -math.inf
        self._best_values: list[Tensor] = []
        self._n_epochs_no_improvement = 0

    @property
    def has_converged(self) -> bool:
        """Whether the phase is to end."""
        is_flat = self._n_epochs_no_improvement >= self._n_iter_no_change
        return is_flat or self._best > self._goal

    def update(self, bound: float) -> None:
        """Receive the bound of an epoch, such as its ELBO."""
        improved = bound > self._best + self._tol
        self._n_epochs_no_improvement = (
            0 if improved else self._n_epochs_no_improvement + 1
        )
        if bound > self._best:
            self._best = bound
            if self._keep_best:
                self._best_values = [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def restore_best(self, copies: Mapping[int, Tensor] | None = None) -> None:
        """Set the best parameters, if they are kept and any epoch was received.

        Parameters
        ----------
        copies : dict, default=None
            Sets copies of the parameters instead, by the `id` of a parameter. Those
            without a copy are left out.
        """
        if not self._best_values:
            return
        for parameter, value in zip(self._parameters, self._best_values, strict=True):
            target = parameter if copies is None else copies.get(id(parameter))
            if target is not None:
                target.copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the best bound, the count of epochs and the best parameters."""
        return {
            "best": torch.tensor(self._best, dtype=torch.float64),
            "n_epochs": torch.tensor(self._n_epochs_no_improvement),
            **{str(i): value for i, value in enumerate(self._best_values)},
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Set what `state_dict` has returned."""
        self._best = state["best"].item()
        self._n_epochs_no_improvement = state["n_epochs"].item()
        self._best_values = [state[str(i)] for i in range(len(state) - 2)]
