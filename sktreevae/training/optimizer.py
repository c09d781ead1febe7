"""AdamW (Loshchilov and Hutter 2019), with weight decay for matrices only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

__all__ = ["AdamW"]

BETAS = 0.9, 0.999
"""Decay rates of the moving averages."""

EPS = 1e-8
"""Added to the root of the mean squared gradient, which is divided by."""


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
        self._groups = [
            ([_Moments(p) for p in self.parameters if _is_matrix(p)], weight_decay),
            ([_Moments(p) for p in self.parameters if not _is_matrix(p)], 0.0),
        ]

    def step(self, loss: Tensor, learning_rate: float) -> None:
        """Take a step down the gradient of a loss."""
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()
        for group, weight_decay in self._groups:
            _update(group, learning_rate, weight_decay)


@dataclass(eq=False)
class _Moments:
    """Moving averages of the gradient of a parameter."""

    parameter: nn.Parameter

    def __post_init__(self) -> None:
        self.mean = torch.zeros_like(self.parameter, requires_grad=False)
        self.mean_square = torch.zeros_like(self.mean)
        self.n_steps = torch.zeros(
            (), dtype=torch.float32, device=self.parameter.device
        )


@torch.no_grad()
def _update(group: list[_Moments], learning_rate: float, weight_decay: float) -> None:
    """Update parameters and their moments; parameters without a gradient stay."""
    group = [moments for moments in group if moments.parameter.grad is not None]
    adamw(
        [moments.parameter for moments in group],
        [moments.parameter.grad for moments in group],
        [moments.mean for moments in group],
        [moments.mean_square for moments in group],
        [],
        [moments.n_steps for moments in group],
        fused=True,
        amsgrad=False,
        beta1=BETAS[0],
        beta2=BETAS[1],
        lr=learning_rate,
        weight_decay=weight_decay,
        eps=EPS,
        maximize=False,
    )


def _is_matrix(parameter: Tensor) -> bool:
    """Tell a matrix, or a stack of them, from a vector: a stacked bias has one row."""
    return parameter.ndim > 1 and parameter.shape[-2] > 1
