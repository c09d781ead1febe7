"""Noise that is a function of a row, so that rows don't depend on their batch."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

N_BITS = int(-math.log2(torch.finfo(torch.float32).eps))
"""Bits of a uniform number. Its centers of cells are exact in single precision."""


def row_noise(x: Tensor, n_draws: int, n_dims: int, seed: int = 0) -> Iterator[Tensor]:
    """Yield standard normal noise of each row, which depends on the row only.

    The draws are a Latin hypercube, shifted by a hash of the row modulo 1 (randomized
    quasi-Monte Carlo). In each dimension, the uniform numbers of the draws are at equal
    distances. Means over the draws of a row therefore have less variance than with
    independent draws. They are unbiased, and errors of different rows are independent.

    Parameters
    ----------
    x : Tensor of shape (batch, n_features)
        Rows. Those that are equal in float16 have the same noise.
    n_draws : int
        Number of draws of each row.
    n_dims : int
        Number of values of a draw.
    seed : int, default=0
        Other seeds give other noise.

    Yields
    ------
    noise : Tensor of shape (batch, n_dims)
        One draw of each row.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
    >>> (noise,) = row_noise(x, 1, 5)
    >>> torch.equal(noise[0], noise[2]), torch.equal(noise[0], noise[1])
    (True, False)
    """
    shift = _hash_uniform(x, n_dims, seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(n_draws, n_dims, generator=generator, dtype=torch.float64)
    steps = order.argsort(0).mul(2**N_BITS).floor_divide(n_draws)
    for step in steps.to(shift):
        uniform = (shift + step).remainder(2**N_BITS)
        # Odd numerators: no value is -1 or 1.
        yield math.sqrt(2.0) * torch.erfinv((2.0 * uniform + 1.0) / 2**N_BITS - 1.0)


def _hash_uniform(x: Tensor, n_dims: int, seed: int) -> Tensor:
    """Hash each row to whole numbers below ``2**N_BITS``, as floats, (batch, n_dims).

    Sums of integers are modulo 2**64, in any order.
    """
    # Both zeros are the same value. Rounding errors of the data rarely change the hash.
    bits = (x + 0.0).half().view(torch.int16).long()
    factor = _mix(torch.arange(1, x.shape[1] + 1, device=x.device))
    key = _mix((bits * factor).sum(1) + seed)
    # Multiples of the golden ratio times 2**64, as a signed number.
    counter = -0x61C8864680B583EB * torch.arange(1, n_dims + 1, device=x.device)
    return _shift_right(_mix(key[:, None] + counter), 64 - N_BITS).to(torch.float32)


def _mix(x: Tensor) -> Tensor:
    """Mix the bits of 64-bit integers (the finalizer of SplitMix64, Steele 2014)."""
    x = (x ^ _shift_right(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shift_right(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, n_bits: int) -> Tensor:
    """Shift bits to the right, and zeros in from the left."""
    return (x >> n_bits) & ((1 << (64 - n_bits)) - 1)
