"""Update steps, and the rule that ends them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from ..utils.processes import ONE_PROCESS, Processes

MOMENTS = "mean", "mean_square", "n_steps"
"""Names of what is stored for each parameter."""


class AdamW:
    """AdamW (Loshchilov and Hutter 2019), with weight decay for matrices only.

    The first `torch.optim.AdamW` of a process imports torch's compiler, which takes a
    second. The function that both call does not.

    Parameters
    ----------
    parameters : iterable of Parameter
        Parameters to train. Empty ones, of nodes that a tree lacks, are left out.
    weight_decay : float
        Weight decay of matrices. Biases and the constants of leaves, which are
        initialized from data, have none.
    processes : Processes, default=ONE_PROCESS
        Processes that share each batch.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        weight_decay: float,
        processes: Processes = ONE_PROCESS,
    ) -> None:
        self._processes = processes
        self.parameters = [p for p in parameters if p.numel()]
        self._weight_decay = weight_decay
        # Moving averages of the gradient and of its square, and the number of steps.
        self._moments = [
            (zeros, zeros.clone(), zeros.new_zeros((), dtype=torch.float32))
            for zeros in map(torch.zeros_like, (p.detach() for p in self.parameters))
        ]

    def step(
        self,
        loss: Tensor | None,
        learning_rate: float | Tensor,
        n_samples: int = 1,
    ) -> None:
        """Take a step down the gradient of a loss.

        Parameters
        ----------
        loss : Tensor of shape () or None
            Mean loss of the samples of this process; None if it has none.
        learning_rate : float or Tensor of shape ()
            Learning rate.
        n_samples : int, default=1
            Number of these samples. The gradient is that of the mean over the samples
            of all processes.
        """
        for parameter in self.parameters:
            parameter.grad = None
        if loss is not None:
            loss.backward()
        gradients = self._processes.gradients(self.parameters, n_samples)
        # Parameters without a gradient stay.
        rows = [
            (parameter, gradient, *moments)
            for parameter, gradient, moments in zip(
                self.parameters, gradients, self._moments, strict=True
            )
            if gradient is not None
        ]
        matrices = [row for row in rows if _is_matrix(row[0])]
        vectors = [row for row in rows if not _is_matrix(row[0])]
        _update(matrices, learning_rate, self._weight_decay)
        _update(vectors, learning_rate, 0.0)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the moments of all parameters."""
        return {
            f"{i}.{name}": tensor
            for i, moments in enumerate(self._moments)
            for name, tensor in zip(MOMENTS, moments, strict=True)
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Set the moments, of the same parameters in the same order."""
        for name, tensor in self.state_dict().items():
            if state[name].shape != tensor.shape:
                raise ValueError(
                    f"Moments {name} must have the shape {tuple(tensor.shape)}, got "
                    f"{tuple(state[name].shape)}."
                )
            tensor.copy_(state[name])


@torch.no_grad()
def _update(
    rows: list[tuple[Tensor, ...]], learning_rate: float | Tensor, weight_decay: float
) -> None:
    """Update parameters and their moments."""
    if not rows:
        return
    parameters, gradients, means, mean_squares, n_steps = map(
        list, zip(*rows, strict=True)
    )
    adamw(
        parameters,
        gradients,
        means,
        mean_squares,
        [],
        n_steps,
        fused=True,
        amsgrad=False,
        lr=learning_rate,
        weight_decay=weight_decay,
        # The defaults of `torch.optim.AdamW`.
        beta1=0.9,
        beta2=0.999,
        eps=1e-8,
        maximize=False,
    )


def _is_matrix(parameter: Tensor) -> bool:
    """Tell a matrix, or a stack of them, from a vector: a stacked bias has one row."""
    return parameter.ndim > 1 and parameter.shape[-2] > 1


@dataclass(eq=False)
class StoppingRule:
    """Ends a phase: counts epochs without improvement, and keeps the best parameters.

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

    parameters: list[nn.Parameter]
    n_iter_no_change: int
    tol: float
    goal: float = field(default=math.inf, kw_only=True)
    keep_best: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        self._best = -math.inf
        self._best_values: list[Tensor] = []
        self._n_epochs_no_improvement = 0

    @property
    def has_converged(self) -> bool:
        """Whether the phase is to end."""
        is_flat = self._n_epochs_no_improvement >= self.n_iter_no_change
        return is_flat or self._best > self.goal

    def update(self, bound: float) -> None:
        """Receive the bound of an epoch, such as its ELBO."""
        improved = bound > self._best + self.tol
        self._n_epochs_no_improvement = (
            0 if improved else self._n_epochs_no_improvement + 1
        )
        if bound > self._best:
            self._best = bound
            if self.keep_best:
                self._best_values = [p.detach().clone() for p in self.parameters]

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
        for parameter, value in zip(self.parameters, self._best_values, strict=True):
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
        shapes = [value.shape for value in self._best_values]
        if shapes not in ([], [parameter.shape for parameter in self.parameters]):
            raise ValueError(f"The best parameters can't have the shapes {shapes}.")
