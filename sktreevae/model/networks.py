"""The deterministic, bottom-up side: from data to one embedding per depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import mlp

__all__ = ["BottomUp"]


class BottomUp(nn.Module):
    """Encoder and chain of the inference model (section 2.3 of the paper).

    Inputs, the features of samples, are centred and scaled by fitted buffers. The
    encoder's output is the deepest embedding, d_D; each step of the chain gives the
    embedding one level nearer to the root, down to d_0.

    Parameters
    ----------
    n_features : int
        Width of the input.
    hidden_dim : int
        Width of every embedding. The encoder narrows to it from four times as much.
    n_steps : int
        Steps of the chain, D: there are ``n_steps + 1`` embeddings.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(
        self,
        n_features: int,
        *,
        hidden_dim: int,
        n_steps: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(()))
        widths = (n_features, 4 * hidden_dim, 2 * hidden_dim, hidden_dim)
        self.encoder = mlp(widths, generator=generator)
        self.chain = nn.ModuleList(
            mlp((hidden_dim, hidden_dim), generator=generator) for _ in range(n_steps)
        )

    @torch.no_grad()
    def standardise(self, x: Tensor) -> None:
        """Center inputs like x, (n_samples, n_features), and scale them as a whole."""
        self.center.copy_(x.mean(0))
        scale = (x - self.center).square().mean().sqrt()
        self.scale.copy_(torch.where(scale > 0, scale, 1.0))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the embeddings d_0, d_1, ..., d_D, each (batch, hidden_dim)."""
        embeddings = [self.encoder((x - self.center) / self.scale)]
        for step in self.chain:
            embeddings.append(step(embeddings[-1]))
        return embeddings[::-1]
