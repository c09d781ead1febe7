"""Sums by an index, with the same bits in every run on all devices."""

from __future__ import annotations

from torch import Tensor


def sum_by_index(values: Tensor, index: Tensor, n_groups: int) -> Tensor:
    """Sum the values of each group, in a fixed order.

    Parameters
    ----------
    values : Tensor of shape (n_values, ...)
        Values to sum.
    index : Tensor of int of shape (n_values,)
        Group of each value.
    n_groups : int
        Number of groups.

    Returns
    -------
    total : Tensor of shape (n_groups, ...)
        Sums; 0 for groups without values.

    Examples
    --------
    >>> import torch
    >>> sum_by_index(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1, 1, 0]), 3)
    tensor([3., 3., 0.])
    """
    total = values.new_zeros(n_groups, *values.shape[1:])
    if values.device.type == "cpu":
        return total.index_add(0, index, values)
    # Accelerators execute the additions of `index_add` in any order, but sort those of
    # `index_put`.
    return total.index_put((index,), values, accumulate=True)
