"""Operations with a table of parameters, one row of which belongs to each row of data.

A gather would copy a row of the table for each row of data, and its gradient would add
the rows up again. Matrix products with one-hot vectors are faster, and their results
have a fixed order of summation on all devices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .precision import no_autocast


def add_rows(
    table: Tensor, x: Tensor, index: Tensor | None = None, *, alpha: float = 1.0
) -> Tensor:
    """Return ``table[index] + alpha * x``.

    Parameters
    ----------
    table : Tensor of shape (n_tables, 1, n_features)
        One row for each group. Its values are finite.
    x : Tensor of shape (n_rows, n_features) or (n_tables, n_rows, n_features)
        Rows of one group each, or of all groups.
    index : Tensor of int of shape (n_rows,), default=None
        Group of each row, if there is one.
    alpha : float, default=1.0
        Factor on x.

    Examples
    --------
    >>> table = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
    >>> x = torch.tensor([[10.0, 10.0], [20.0, 20.0]])
    >>> add_rows(table, x, torch.tensor([1, 0]))
    tensor([[13., 14.],
            [21., 22.]])
    """
    if index is None:
        return torch.add(table, x, alpha=alpha)
    with no_autocast(x):
        return torch.addmm(x, _one_hot(index, table), table.squeeze(1), beta=alpha)


def dot_rows(table: Tensor, x: Tensor, index: Tensor | None = None) -> Tensor:
    """Return the dot products of ``table[index]`` and x over the features.

    Parameters
    ----------
    table, x, index
        As for `add_rows`.

    Examples
    --------
    >>> table = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
    >>> x = torch.tensor([[10.0, 10.0], [20.0, 20.0]])
    >>> dot_rows(table, x, torch.tensor([1, 0]))
    tensor([70., 60.])
    """
    with no_autocast(x):
        if index is None:
            return torch.bmm(x, table.mT).squeeze(-1)
        return torch.linalg.vecdot(x @ table.squeeze(1).T, _one_hot(index, table))


def linear_rows(table: Tensor, x: Tensor, index: Tensor) -> Tensor:
    """Return ``x @ table[index]``, a product for each row.

    Parameters
    ----------
    table : Tensor of shape (n_tables, n_in, n_out)
        One matrix for each group.
    x : Tensor of shape (n_rows, n_in)
        Rows.
    index : Tensor of int of shape (n_rows,)
        Group of each row.

    Examples
    --------
    >>> table = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
    >>> linear_rows(table, torch.tensor([[10.0], [20.0]]), torch.tensor([1, 0]))
    tensor([[30., 40.],
            [20., 40.]])
    """
    # Each row stands among zeros, at the place of its group: one product for all.
    spread = _one_hot(index, table)[:, :, None] * x[:, None]
    return spread.flatten(1) @ table.flatten(0, 1)


def _one_hot(index: Tensor, table: Tensor) -> Tensor:
    """Return one-hot vectors of the dtype of a table, (len(index), len(table))."""
    # `one_hot` of torch reads the largest value.
    groups = torch.arange(len(table), device=index.device)
    return (index[:, None] == groups).to(table.dtype)
