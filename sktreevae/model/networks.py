"""Encoders, readouts of decoders, and networks built by a user's callable."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..utils.random import draw_seed
from .images import MIN_SIDE, ImageLayout
from .layers import MLP, NEGATIVE_SLOPE, conv, linear

CustomNetwork = Callable[[int, int], nn.Module]
"""A user's callable, from the widths of input and output to a network."""

_GLOBAL_RNG_LOCK = threading.Lock()


class BottomUp(nn.Module):
    """Bottom-up chain of the inference model (section 2.3 of the paper).

    Features are centered and scaled by fitted buffers. The perceptron reads them beside
    their inverse hyperbolic sine in units of the width of a cluster. It is logarithmic
    beyond that width: clusters near each other differ as clearly as those a thousand
    times as far apart in other directions. The output of the perceptron is the deepest
    embedding, d_D. Each further layer gives the embedding of the next level up, until
    d_0.

    Parameters
    ----------
    n_inputs : int
        Number of features.
    hidden_dim : int
        Width of every embedding.
    perceptron_depth : int
        Number of layers of the perceptron. Each is half as wide as the one before.
    depth : int
        Number of layers after the perceptron, D. There are ``depth + 1`` embeddings.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(
        self,
        n_inputs: int,
        *,
        hidden_dim: int,
        perceptron_depth: int,
        depth: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(n_inputs, dtype=torch.float32))
        for name in ("scale", "width", "log_scale"):
            self.register_buffer(name, torch.ones((), dtype=torch.float32))
        widths = [hidden_dim * 2**level for level in reversed(range(perceptron_depth))]
        self.perceptron = MLP((2 * n_inputs, *widths), generator=generator)
        self.chain = nn.ModuleList(
            MLP((hidden_dim, hidden_dim), generator=generator) for _ in range(depth)
        )

    def extra_repr(self) -> str:
        """Describe the chain in one line."""
        n_inputs, hidden_dim = len(self.center), self.perceptron.widths[-1]
        return f"n_inputs={n_inputs}, hidden_dim={hidden_dim}, depth={len(self.chain)}"

    @torch.no_grad()
    def standardize(
        self,
        features: Tensor,
        cluster: Tensor | None = None,
        n_deviations: float = 3.0,
    ) -> None:
        """Fit the center, and the scales, which are common to all features.

        Parameters
        ----------
        features : Tensor of shape (n_samples, n_inputs)
            Some features.
        cluster : Tensor of int of shape (n_samples,), default=None
            Cluster of each sample; all in one by default.
        n_deviations : float, default=3.0
            Width of a cluster, in standard deviations: nearly all samples are within.
        """
        self.center.copy_(features.mean(0))
        x = features - self.center
        if cluster is None:
            cluster = torch.zeros(len(x), dtype=torch.long, device=x.device)
        groups = [x[cluster == group] for group in cluster.unique()]
        spreads = torch.stack([_root_mean_square(r - r.mean(0)) for r in groups])
        scale, width = _root_mean_square(x), n_deviations * spreads.median()
        self.scale.copy_(torch.where(scale > 0, scale, 1.0))
        self.width.copy_(torch.where(width > 0, width, n_deviations * self.scale))
        log_scale = _root_mean_square((x / self.width).asinh())
        self.log_scale.copy_(torch.where(log_scale > 0, log_scale, 1.0))

    def forward(self, features: Tensor) -> list[Tensor]:
        """Return the embeddings d_0, d_1, ..., d_D, each (batch, hidden_dim)."""
        x = features - self.center
        compressed = (x / self.width).asinh() / self.log_scale
        embeddings = [self.perceptron(torch.cat([x / self.scale, compressed], -1))]
        for layer in self.chain:
            embeddings.append(layer(embeddings[-1]))
        return embeddings[::-1]


def _root_mean_square(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()


class ConvEncoder(nn.Module):
    """Convolutions that halve an image until it is small, then a linear layer.

    Normalization is over one image (group normalization with a single group), so the
    result doesn't depend on the other images of a batch.

    Parameters
    ----------
    layout : ImageLayout
        Layout of the images in the rows.
    hidden_dim : int
        Width of the output.
    residual : bool, default=False
        Whether a residual block follows each convolution (He et al. 2016).
    n_channels : int, default=16
        Channels at the finest grid. Each coarser grid has twice as many.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(
        self,
        layout: ImageLayout,
        hidden_dim: int,
        *,
        residual: bool = False,
        n_channels: int = 16,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layout = layout
        grids = _grids(layout)
        channels = [layout.channels] + [
            n_channels * 2**level for level in range(len(grids) - 1)
        ]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(channels):
            layers += [conv(n_in, n_out, stride=2, generator=generator), *_norm(n_out)]
            if residual:
                layers.append(_ResidualBlock(n_out, generator=generator))
        self.convolutions = nn.Sequential(*layers)
        height, width = grids[-1]
        n_last = channels[-1] * height * width
        self.head = MLP((n_last, hidden_dim), generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_features) to (batch, hidden_dim)."""
        return self.head(self.convolutions(self.layout.images(x)).flatten(1))


class ConvReadout(nn.Module):
    """A linear layer that gives a small image, then convolutions that double it.

    Parameters
    ----------
    layout : ImageLayout
        Layout of the images in the rows.
    n_inputs : int
        Width of the hidden units.
    residual : bool, default=False
        Whether a residual block precedes each upsampling.
    n_channels : int, default=8
        Channels at the finest grid. Each coarser grid has twice as many.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(
        self,
        layout: ImageLayout,
        n_inputs: int,
        *,
        residual: bool = False,
        n_channels: int = 8,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layout = layout
        *finer, (height, width) = _grids(layout)
        self.sizes = finer[::-1]
        n_coarsest = n_channels * 2 ** max(len(finer) - 1, 0)
        self.coarsest = nn.Sequential(
            linear(n_inputs, n_coarsest * height * width, generator=generator),
            nn.Unflatten(1, (n_coarsest, height, width)),
        )
        self.upsampling = nn.ModuleList()
        channels = [n_coarsest // 2**level for level in range(len(finer))]
        for n_in, n_out in pairwise([*channels, layout.channels]):
            layers: list[nn.Module] = _norm(n_in)
            if residual:
                layers.append(_ResidualBlock(n_in, generator=generator))
            # Small weights: the initial output is close to zero, and the leaf's mean
            # image is added to it.
            gain = 0.1 if n_out == layout.channels else 1.0
            layers.append(
                conv(n_in, n_out, upsample=True, gain=gain, generator=generator)
            )
            self.upsampling.append(nn.Sequential(*layers))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, n_inputs) to (batch, n_features)."""
        image = self.coarsest(hidden)
        for upsample, (height, width) in zip(self.upsampling, self.sizes, strict=True):
            image = upsample(image)[..., :height, :width]
        return self.layout.rows(image)


class _ResidualBlock(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, n_channels: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            conv(n_channels, n_channels, generator=generator),
            *_norm(n_channels),
            conv(n_channels, n_channels, gain=0.1, generator=generator),
        )

    def forward(self, image: Tensor) -> Tensor:
        return image + self.convolutions(image)


def _grids(layout: ImageLayout) -> list[tuple[int, int]]:
    """Return heights and widths from the image to the coarsest grid, of short sides."""
    grids = [(layout.height, layout.width)]
    while min(grids[-1]) >= MIN_SIDE:
        grids.append(tuple(-(-side // 2) for side in grids[-1]))
    return grids


def _norm(n_channels: int) -> list[nn.Module]:
    """Return a normalization over one image, with a gain per channel; a rectifier."""
    norm = nn.GroupNorm(1, n_channels, dtype=torch.float32)
    return [norm, nn.LeakyReLU(NEGATIVE_SLOPE)]


def build_custom(
    make: CustomNetwork, n_in: int, n_out: int, *, generator: torch.Generator
) -> nn.Module:
    """Return a network of a user's callable, in float32.

    The callable draws initial weights from torch's global generator, which is seeded
    from `generator` meanwhile.
    """
    with _seeded_global_state(generator):
        network = make(n_in, n_out)
    # The callable may return the same module at every call.
    return copy.deepcopy(network).to(generator.device).float()


def check_custom(name: str, make: CustomNetwork, n_in: int, n_out: int) -> None:
    """Check a user's callable by building a network and applying it.

    Parameters
    ----------
    name : str
        Name of the parameter, for error messages.
    make : callable
        The user's callable.
    n_in, n_out : int
        Width of the input and of the output.

    Raises
    ------
    ValueError
        If `make` is a module or doesn't return one, or if the network fails, returns
        another shape or values that aren't finite, mixes rows or is random.
    """
    if isinstance(make, nn.Module):
        raise ValueError(
            f"{name} must be a callable that makes a torch.nn.Module for each call, "
            f"got a module: {make!r}."
        )
    call = f"{name}({n_in}, {n_out})"
    with _seeded_global_state(torch.Generator()), torch.no_grad():
        network = make(n_in, n_out)
        if not isinstance(network, nn.Module):
            raise ValueError(f"{call} must return a torch.nn.Module, got {network!r}.")
        network = copy.deepcopy(network).float()
        rows = torch.randn(3, n_in, dtype=torch.float32)
        requirement = f"The network of {call} must map (3, {n_in}) to (3, {n_out})"
        try:
            output = network(rows)
        except RuntimeError as error:
            raise ValueError(f"{requirement}, but fails: {error}") from error
        if not isinstance(output, Tensor) or output.shape != (3, n_out):
            result = tuple(output.shape) if isinstance(output, Tensor) else output
            raise ValueError(f"{requirement}, got {result!r}.")
        if not output.isfinite().all():
            kind = "NaN" if output.isnan().any() else "infinite values"
            raise ValueError(
                f"The network of {call} returns {kind} for standard normal input: its "
                "values must be finite."
            )
        if not torch.allclose(output[:2], network(rows[:2]), rtol=1e-3, atol=1e-4):
            raise ValueError(
                f"The network of {call} must map each row independently of the others, "
                "without randomness: batch normalization and dropout are not allowed."
            )


@contextmanager
def _seeded_global_state(generator: torch.Generator) -> Iterator[None]:
    """Seed torch's global generator from `generator`, and restore its state after.

    A lock lets one thread at a time do so.
    """
    seed = draw_seed(generator)
    with _GLOBAL_RNG_LOCK, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
