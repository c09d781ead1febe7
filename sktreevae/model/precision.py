"""What is computed in float32 where networks are evaluated in less."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["full", "full_precision"]


def full(x: Tensor) -> Tensor:
    """Return a network's output in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def full_precision(x: Tensor) -> torch.autocast:
    """Return a context in which products on the device of x are as precise as x is.

    Automatic casts suit the layers of networks. Sums of log-probabilities and of
    divergences, which are products to torch, would lose most of their digits.
    """
    return torch.autocast(x.device.type, enabled=False)
