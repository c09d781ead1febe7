"""Decoders of the leaves: what each has of its own, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from .layers import StackedMLP, activate, linear

__all__ = ["LeafDecoders"]


class LeafDecoders(nn.Module):
    """Hidden layers and a constant for each leaf, below a read-out for all.

    Leaves so have latent spaces of their own. What turns hidden units into features
    has most of a decoder's parameters, and is much the same everywhere: shared, it
    learns from all samples, and costs no more for 100 leaves than for one.

    Parameters
    ----------
    n_features, latent_dim, hidden_dim : int
        Widths of the output, of the input and of the first hidden layer; the second is
        twice as wide.
    n_leaves : int
        Number of leaves.
    readout : callable, default=None
        Makes a network from (batch, 2 * hidden_dim) to (batch, n_features), with the
        keyword argument `generator`; a linear layer by default.
    generator : torch.Generator
        Source of the initial weights.

    Examples
    --------
    >>> decoders = LeafDecoders(6, 2, 8, n_leaves=3, generator=torch.Generator())
    >>> decoders(torch.zeros(3, 10, 2)).shape
    torch.Size([3, 10, 6])
    >>> decoders.forward_groups(torch.zeros(10, 2), [4, 0, 6]).shape
    torch.Size([10, 6])
    """

    def __init__(
        self,
        n_features: int,
        latent_dim: int,
        hidden_dim: int,
        n_leaves: int,
        *,
        readout: Callable[..., nn.Module] | None = None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        widths = (latent_dim, hidden_dim, 2 * hidden_dim)
        self.hidden = StackedMLP(n_leaves, widths, generator=generator)
        self.constant = nn.Parameter(
            torch.zeros(n_leaves, 1, n_features, device=generator.device)
        )
        if readout is None:
            # Close to zero: leaves start from their constants.
            readout = partial(linear, widths[-1], n_features, gain=0.1)
        self.readout = readout(generator=generator)

    def forward(self, z: Tensor) -> Tensor:
        """Map (n_leaves, batch, latent_dim) to (n_leaves, batch, n_features)."""
        hidden = activate(self.hidden(z))
        rows = self.readout(hidden.flatten(0, 1))
        return rows.unflatten(0, hidden.shape[:2]) + self.constant

    def forward_groups(self, z: Tensor, sizes: Sequence[int]) -> Tensor:
        """Map rows by a leaf each: the first `sizes[0]` by the first, and so on."""
        rows = self.readout(activate(self.hidden.forward_groups(z, sizes)))
        constants = [
            constant.expand(size, -1)
            for constant, size in zip(self.constant.unbind(), sizes, strict=True)
        ]
        return rows + torch.cat(constants)

    @torch.no_grad()
    def start(self, leaf: int, output: Tensor) -> None:
        """Let a leaf begin with a constant output, (n_features,), more or less."""
        self.constant[leaf] = output
