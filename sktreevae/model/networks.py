"""Encoders, decoders, and the bottom-up side: from data to an embedding per depth."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from .decoders import LeafDecoders
from .images import ImageLayout
from .layers import SLOPE, StackedModules, conv, linear, mlp

__all__ = [
    "BottomUp",
    "ConvReadout",
    "ConvEncoder",
    "Factory",
    "decoder_factory",
    "encoder_factory",
]

Factory = Callable[..., nn.Module]
"""Makes a network, with the keyword argument `generator` for its initial weights."""

SMALLEST_GRID = 7
"""Images are halved until their shorter side is no longer than this."""

MIN_CONV_SIDE = 16
"""Smaller images have no need of convolutions."""

ENCODER_CHANNELS = 16
DECODER_CHANNELS = 8
"""At the finest grid; each coarser one has twice as many."""

_GLOBAL_STATE = threading.Lock()


class BottomUp(nn.Module):
    """Encoder and chain of the inference model (section 2.3 of the paper).

    Inputs, the features of samples, are centred and scaled by fitted buffers. The
    perceptron's output is the deepest embedding, d_D; each step of the chain gives the
    embedding one level nearer to the root, down to d_0.

    Parameters
    ----------
    n_inputs : int
        Width of the features.
    hidden_dim : int
        Width of every embedding. The perceptron narrows to it from four times as much.
    n_steps : int
        Steps of the chain, D: there are ``n_steps + 1`` embeddings.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(
        self,
        n_inputs: int,
        *,
        hidden_dim: int,
        n_steps: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(n_inputs))
        self.register_buffer("scale", torch.ones(()))
        widths = (n_inputs, 4 * hidden_dim, 2 * hidden_dim, hidden_dim)
        self.perceptron = mlp(widths, generator=generator)
        self.chain = nn.ModuleList(
            mlp((hidden_dim, hidden_dim), generator=generator) for _ in range(n_steps)
        )

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Center like some features, (n_samples, n_inputs), and scale as a whole."""
        self.center.copy_(features.mean(0))
        scale = (features - self.center).square().mean().sqrt()
        self.scale.copy_(torch.where(scale > 0, scale, 1.0))

    def forward(self, features: Tensor) -> list[Tensor]:
        """Return the embeddings d_0, d_1, ..., d_D, each (batch, hidden_dim)."""
        embeddings = [self.perceptron((features - self.center) / self.scale)]
        for step in self.chain:
            embeddings.append(step(embeddings[-1]))
        return embeddings[::-1]


class ConvEncoder(nn.Module):
    """Convolutions that halve an image until it is small, then a linear layer.

    Every layer is normalised over all of an image, so that the result doesn't depend
    on other images of a batch.

    Parameters
    ----------
    layout : ImageLayout
        Shape of the images that rows are.
    hidden_dim : int
        Width of the result.
    residual : bool, default=False
        Whether a residual block follows each convolution (He et al. 2016).
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(
        self,
        layout: ImageLayout,
        hidden_dim: int,
        *,
        residual: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layout = layout
        grids = _grids(layout)
        channels = [layout.channels] + [
            ENCODER_CHANNELS * 2**level for level in range(len(grids) - 1)
        ]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(channels):
            layers += [conv(n_in, n_out, stride=2, generator=generator), *_norm(n_out)]
            if residual:
                layers.append(_Residual(n_out, generator=generator))
        self.convolutions = nn.Sequential(*layers)
        height, width = grids[-1]
        n_last = channels[-1] * height * width
        self.head = mlp((n_last, hidden_dim), generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_features) to (batch, hidden_dim)."""
        return self.head(self.convolutions(self.layout.images(x)).flatten(1))


class ConvReadout(nn.Module):
    """A linear layer that gives a small image, then convolutions that double it.

    Parameters
    ----------
    layout : ImageLayout
        Shape of the images that rows are.
    n_inputs : int
        Width of the hidden units.
    residual : bool, default=False
        Whether a residual block precedes each doubling.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(
        self,
        layout: ImageLayout,
        n_inputs: int,
        *,
        residual: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layout = layout
        *finer, (height, width) = _grids(layout)
        self.sizes = finer[::-1]
        coarsest = DECODER_CHANNELS * 2 ** max(len(finer) - 1, 0)
        self.smallest = nn.Sequential(
            linear(n_inputs, coarsest * height * width, generator=generator),
            nn.Unflatten(1, (coarsest, height, width)),
        )
        self.doublings = nn.ModuleList()
        channels = [coarsest // 2**level for level in range(len(finer))]
        for n_in, n_out in pairwise([*channels, layout.channels]):
            layers: list[nn.Module] = _norm(n_in)
            if residual:
                layers.append(_Residual(n_in, generator=generator))
            # A first guess close to zero: the leaf's mean image is added to it.
            gain = 0.1 if n_out == layout.channels else 1.0
            layers.append(
                conv(n_in, n_out, doubling=True, gain=gain, generator=generator)
            )
            self.doublings.append(nn.Sequential(*layers))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, n_inputs) to (batch, n_features)."""
        image = self.smallest(hidden)
        for double, (height, width) in zip(self.doublings, self.sizes, strict=True):
            image = double(image)[..., :height, :width]
        return self.layout.rows(image)


class _Residual(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, n_channels: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.change = nn.Sequential(
            conv(n_channels, n_channels, generator=generator),
            *_norm(n_channels),
            conv(n_channels, n_channels, gain=0.1, generator=generator),
        )

    def forward(self, image: Tensor) -> Tensor:
        return image + self.change(image)


def _grids(layout: ImageLayout) -> list[tuple[int, int]]:
    """Heights and widths from that of the image to the coarsest, halved each time."""
    grids = [(layout.height, layout.width)]
    while min(grids[-1]) > SMALLEST_GRID:
        grids.append(tuple(-(-side // 2) for side in grids[-1]))
    return grids


def _norm(n_channels: int) -> list[nn.Module]:
    """Normalise over all of an image, with a gain for each channel; then rectify."""
    return [nn.GroupNorm(1, n_channels), nn.LeakyReLU(SLOPE)]


def encoder_factory(
    encoder: str | Callable[[int, int], nn.Module],
    image_shape: tuple[int, ...] | None,
    n_features: int,
    hidden_dim: int,
) -> Factory | None:
    """Return what makes the encoder of the data; None, if features are enough.

    Arguments are those of `TreeVAEClustering`.
    """
    if callable(encoder):
        return _FromUser.checked("encoder", encoder, n_features, hidden_dim)
    kind = _resolve(encoder, image_shape)
    if kind == "mlp":
        return None
    layout = ImageLayout.of(image_shape)
    return partial(ConvEncoder, layout, hidden_dim, residual=kind == "resnet")


def decoder_factory(
    decoder: str | Callable[[int, int], nn.Module],
    image_shape: tuple[int, ...] | None,
    n_features: int,
    hidden_dim: int,
    latent_dim: int,
) -> Callable[..., LeafDecoders | StackedModules]:
    """Return what makes the decoders of some leaves, with their number and `generator`.

    Arguments are those of `TreeVAEClustering`.
    """
    if callable(decoder):
        make = _FromUser.checked("decoder", decoder, latent_dim, n_features)
        return partial(StackedModules, n_features, make)
    readout = None
    kind = _resolve(decoder, image_shape)
    if kind != "mlp":
        layout = ImageLayout.of(image_shape)
        residual = kind == "resnet"
        readout = partial(ConvReadout, layout, 2 * hidden_dim, residual=residual)
    return partial(LeafDecoders, n_features, latent_dim, hidden_dim, readout=readout)


def _resolve(kind: str, image_shape: tuple[int, ...] | None) -> str:
    """Choose networks for "auto": by what is known of images."""
    if kind != "auto":
        return kind
    layout = None if image_shape is None else ImageLayout.of(image_shape)
    if layout is None or min(layout.height, layout.width) < MIN_CONV_SIDE:
        return "mlp"
    return "cnn" if layout.channels == 1 else "resnet"


@dataclass(frozen=True)
class _FromUser:
    """A factory of a user's, which knows nothing of generators."""

    make: Callable[[int, int], nn.Module]
    n_in: int
    n_out: int

    @classmethod
    def checked(
        cls, name: str, make: Callable[[int, int], nn.Module], n_in: int, n_out: int
    ) -> _FromUser:
        """Return the factory, if what it makes can be used."""
        if isinstance(make, nn.Module):
            raise ValueError(
                f"{name} must be a callable that makes a torch.nn.Module for each "
                f"call, got a module: {make!r}."
            )
        call = f"{name}({n_in}, {n_out})"
        with _seeded(torch.Generator()), torch.no_grad():
            network = make(n_in, n_out)
            if not isinstance(network, nn.Module):
                raise ValueError(
                    f"{call} must return a torch.nn.Module, got {network!r}."
                )
            duty = f"The network of {call} must map (3, {n_in}) to (3, {n_out})"
            rows = torch.randn(3, n_in)
            try:
                output = network(rows)
            except RuntimeError as error:
                raise ValueError(f"{duty}, but fails: {error}") from error
            if not isinstance(output, Tensor) or output.shape != (3, n_out):
                got = tuple(output.shape) if isinstance(output, Tensor) else output
                raise ValueError(f"{duty}, got {got!r}.")
            if not torch.allclose(output[:2], network(rows[:2]), rtol=1e-3, atol=1e-4):
                raise ValueError(
                    f"The network of {call} must map each row by itself, and "
                    "always alike: it may have no batch normalisation and no dropout."
                )
        return cls(make, n_in, n_out)

    def __call__(self, *, generator: torch.Generator) -> nn.Module:
        """Make the network; its initial weights follow from the generator."""
        with _seeded(generator):
            network = self.make(self.n_in, self.n_out)
        # What the user made is theirs: it may be the same at every call.
        return copy.deepcopy(network).to(generator.device)


@contextmanager
def _seeded(generator: torch.Generator) -> Iterator[None]:
    """Let torch's global state follow from a generator, for code that draws from it.

    The state is as before in the end. One at a time: fits in other threads may get
    here, too.
    """
    device = generator.device
    seed = torch.randint(2**31, (), generator=generator, device=device).item()
    with _GLOBAL_STATE, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
