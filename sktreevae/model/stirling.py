"""Remainder of Stirling's formula, with its gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

__all__ = ["StirlingRemainder"]


class StirlingRemainder(torch.autograd.Function):
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
