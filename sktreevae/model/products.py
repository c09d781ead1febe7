"""Matrix products whose results don't depend on the order of their sums."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

SHIFT = 1.5 * 2.0**26
"""Adding this multiple of a power of 2, and subtracting it again, rounds a number to a
multiple of 2**-26 of the power. For vectors, the power is the least above their norm.
Each term of a product of two vectors is then a multiple of 2**-52 of the product of
their powers. No part of the sum exceeds that product (Cauchy-Schwarz inequality), so
that the 53 bits of float64 represent it."""


COUNTERPARTS = {
    F.linear: "linear",
    torch.addmm: "addmm",
    torch.baddbmm: "addmm",
    torch.bmm: "matmul",
    torch.mm: "matmul",
    torch.matmul: "matmul",
    Tensor.matmul: "matmul",
    Tensor.__matmul__: "matmul",
}
"""Methods of `_ExactProducts` by the functions that they replace."""


def exact_products(device: torch.device) -> AbstractContextManager:
    """Return a context in which sums of matrix products aren't rounded.

    Libraries sum products in an order that depends on the processor, on the shape of
    the matrices and on the position of a row, so that its last bits do as well. In this
    context, operands are rounded such that float64 represents all partial sums, and
    each order has the same result. Errors are of the order of those of float32.

    The context can be entered again, and by several threads. It keeps the rounded
    values of parameters, which mustn't change meanwhile.

    Parameters
    ----------
    device : torch.device
        Device of the products. Apple's GPUs have no float64, and their products stay
        as they are.

    Examples
    --------
    >>> x = torch.randn(256, 19, generator=torch.Generator().manual_seed(0))
    >>> weight = torch.randn(19, 4, generator=torch.Generator().manual_seed(1))
    >>> with exact_products(x.device):
    ...     one, two = x @ weight, x.flip(1) @ weight.flip(0)
    >>> torch.equal(one, two)
    True
    """
    return nullcontext() if device.type == "mps" else _ExactProducts()


class _ExactProducts(TorchFunctionMode):
    """Calls the exact counterparts of torch's products."""

    def __init__(self) -> None:
        super().__init__()
        self._rounded: dict[tuple[int, bool], tuple[nn.Parameter, Tensor]] = {}

    def __torch_function__(
        self,
        func: Callable,
        types: tuple[type, ...],
        args: tuple = (),
        kwargs: dict | None = None,
    ) -> object:
        kwargs = kwargs or {}
        if func not in COUNTERPARTS:
            return func(*args, **kwargs)
        return getattr(self, COUNTERPARTS[func])(*args, **kwargs)

    def _product(self, x: Tensor, y: Tensor, *, is_transposed: bool = False) -> Tensor:
        """Return ``x @ y``, or ``x @ y.mT``, in float64."""
        if not isinstance(y, nn.Parameter):
            return torch.matmul(_rounded(x), _rounded_columns(y, is_transposed))
        key = id(y), is_transposed
        if key not in self._rounded:
            # With the parameter, so that no other one gets its `id`.
            self._rounded[key] = y, _rounded_columns(y, is_transposed)
        return torch.matmul(_rounded(x), self._rounded[key][1])

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the counterpart of `torch.matmul`."""
        if y.ndim == 1:
            return self.matmul(x, y[:, None]).squeeze(-1)
        return self._product(x, y).to(x.dtype)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the counterpart of `torch.nn.functional.linear`."""
        product = self._product(x, weight, is_transposed=True)
        return (product if bias is None else product.add_(bias)).to(x.dtype)

    def addmm(
        self,
        bias: Tensor,
        x: Tensor,
        y: Tensor,
        *,
        beta: float = 1.0,
        alpha: float = 1.0,
    ) -> Tensor:
        """Return the counterpart of `torch.addmm`."""
        return self._product(x, y).mul_(alpha).add_(beta * bias).to(x.dtype)


def _rounded_columns(x: Tensor, is_transposed: bool) -> Tensor:
    """Round each column of x, or of ``x.mT``."""
    return _rounded(x if is_transposed else x.mT).mT


def _rounded(x: Tensor) -> Tensor:
    """Round each row in float64; see `SHIFT`."""
    x = x.to(torch.float64, copy=True, memory_format=torch.contiguous_format)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    mantissa, _ = norm.frexp()
    # Rows that are zero or infinite have no such power, and stay.
    shift = (SHIFT * (norm / mantissa)).nan_to_num_(nan=0.0)
    return x.add_(shift).sub_(shift)
