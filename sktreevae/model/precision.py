"""Computations that stay in float32 under automatic mixed precision."""

from __future__ import annotations

import torch
from torch import Tensor


def to_float32(x: Tensor) -> Tensor:
    """Cast a tensor of lower precision to float32; float64 stays float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def no_autocast(x: Tensor) -> torch.autocast:
    """Return a context without automatic casts on the device of `x`.

    Autocast suits the layers of networks. It also applies to the products in a
    log-probability or a divergence, which would lose most of their digits.
    """
    return torch.autocast(x.device.type, enabled=False)
