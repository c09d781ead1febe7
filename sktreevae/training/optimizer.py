"""AdamW (Loshchilov and Hutter 2019), with weight decay for matrices only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

MOMENTS = "mean", "mean_square", "n_steps"
"""Names of what is stored for each parameter."""


class AdamW:
    """Updates the parameters of a model.

    The first `torch.optim.AdamW` of a process imports torch's compiler, which takes a
    second. The function that both call does not.

    Parameters
    ----------
    parameters : iterable of Parameter
        Parameters to train. Empty ones, of nodes that a tree lacks, are left out.
    weight_decay : float
        Weight decay of matrices. Biases and the constants of leaves, which are
        initialized from data, have none.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], weight_decay: float) -> None:
        self.parameters = [p for p in parameters if p.numel()]
        self._weight_decay = weight_decay
        # Moving averages of the gradient and of its square, and the number of steps.
        self._moments = [
            (zeros, zeros.clone(), zeros.new_zeros((), dtype=torch.float32))
            for zeros in map(torch.zeros_like, (p.detach() for p in self.parameters))
        ]

    def step(self, loss: Tensor, learning_rate: float) -> None:
        """Take a step down the gradient of a loss."""
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()
        # Parameters without a gradient stay.
        rows = [
            (parameter, parameter.grad, *moments)
            for parameter, moments in zip(self.parameters, self._moments, strict=True)
            if parameter.grad is not None
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
            tensor.copy_(state[name])


@torch.no_grad()
def _update(
    rows: list[tuple[Tensor, ...]], learning_rate: float, weight_decay: float
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
