"""Decoders of the leaves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from .layers import StackedMLP, activate, linear
from .precision import to_float32
from .rows import add_rows, linear_rows


class LeafDecoders(nn.Module):
    """Hidden layers and a constant for each leaf, and a readout shared by all leaves.

    Each leaf therefore has its own latent space. The readout, from hidden units to
    features, has most of a decoder's parameters. Since it is shared, it learns from all
    samples, and its size doesn't depend on the number of leaves.

    Parameters
    ----------
    n_features, latent_dim, hidden_dim : int
        Width of the output, of the input and of the first hidden layer. The second
        hidden layer is twice as wide as the first.
    n_leaves : int
        Number of leaves.
    has_loadings : bool, default=False
        Whether each leaf also has a linear map from its latent space to the features.
    readout : callable, default=None
        Builds a network from (batch, 2 * hidden_dim) to (batch, n_features), given the
        keyword argument `generator`; a linear layer by default.
    generator : torch.Generator
        Source of the initial weights.

    Attributes
    ----------
    loadings : Parameter of shape (n_leaves, latent_dim, n_features) or None
        The linear maps. They start at 0.

    Examples
    --------
    >>> decoders = LeafDecoders(6, 2, 8, n_leaves=3, generator=torch.Generator())
    >>> decoders(torch.zeros(3, 10, 2)).shape
    torch.Size([3, 10, 6])
    >>> decoders.decode(torch.zeros(10, 2), torch.arange(10) % 3).shape
    torch.Size([10, 6])
    """

    shared: tuple[str, ...] = ("readout",)
    """Names of submodules that all leaves share."""

    def __init__(
        self,
        n_features: int,
        latent_dim: int,
        hidden_dim: int,
        n_leaves: int,
        *,
        has_loadings: bool = False,
        readout: Callable[..., nn.Module] | None = None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        widths = (latent_dim, hidden_dim, 2 * hidden_dim)
        self.hidden = StackedMLP(n_leaves, widths, generator=generator)
        self.constant = nn.Parameter(
            torch.zeros(
                n_leaves, 1, n_features, dtype=torch.float32, device=generator.device
            )
        )
        self.loadings = None
        if has_loadings:
            shape = n_leaves, latent_dim, n_features
            zeros = torch.zeros(shape, dtype=torch.float32, device=generator.device)
            self.loadings = nn.Parameter(zeros)
        if readout is None:
            # Small weights: the initial output of a leaf is near its constant.
            readout = partial(linear, widths[-1], n_features, gain=0.1)
        self.readout = readout(generator=generator)

    def forward(self, z: Tensor) -> Tensor:
        """Map (n_leaves, batch, latent_dim) to (n_leaves, batch, n_features)."""
        hidden = activate(self.hidden(z))
        rows = self.readout(hidden.flatten(0, 1))
        output = rows.unflatten(0, hidden.shape[:2]) + self.constant
        return output if self.loadings is None else output + z @ self.loadings

    def hidden_units(self, z: Tensor, leaf: Tensor) -> Tensor:
        """Return the input of the readout; arguments as for `decode`."""
        return activate(self.hidden.forward_rows(z, leaf))

    def decode(self, z: Tensor, leaf: Tensor) -> Tensor:
        """Decode each row by one leaf.

        Parameters
        ----------
        z : Tensor of shape (n_rows, latent_dim)
            Latent variables.
        leaf : Tensor of int of shape (n_rows,)
            Leaf of each row.
        """
        rows = to_float32(self.readout(self.hidden_units(z, leaf)))
        if self.loadings is not None:
            rows = rows + linear_rows(self.loadings, z, leaf)
        return add_rows(self.constant, rows, leaf)
