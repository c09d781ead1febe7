"""Settings that determine the shape of a model, apart from its tree."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import nn

from .decoders import LeafDecoders
from .images import MIN_SIDE, ImageLayout
from .layers import LeafNetworks, Routers
from .likelihoods import LIKELIHOODS, Likelihood
from .networks import (
    ConvEncoder,
    ConvReadout,
    CustomNetwork,
    build_custom,
    check_custom,
)

NETWORKS = ("mlp", "cnn", "resnet", "custom")
"""Values of `encoder` and `decoder`."""

MAX_LINEAR_FEATURES = 128
"""Maximum number of features of tables for which the model has linear paths."""


@dataclass(frozen=True)
class ModelConfig:
    """Settings of a `TreeVAE`.

    All but the two callables are JSON-able. `create` accepts the values of the
    estimator's parameters.

    Parameters
    ----------
    n_features : int
        Number of features of the data.
    hidden_dim : int, default=128
        Width of the bottom-up embeddings.
    latent_dim : int, default=8
        Width of the latent variable of each node.
    router_dims : tuple of int, default=()
        Widths of the hidden layers of each q-router; none for linear routers.
    perceptron_depth : int, default=2
        Number of layers between the features and the bottom-up chain. Each is half as
        wide as the one before; the last one has the width of an embedding.
    bottom_up_depth : int, default=4
        Number of layers of the bottom-up chain. Nodes at depth k read the embedding
        min(k, bottom_up_depth).
    likelihood : str, default="gaussian"
        Distribution of the data given the latent variable of a leaf, a name in
        `LIKELIHOODS`.
    discrete : tuple of tuples of int, default=()
        Discrete columns of a mixed likelihood; see `MixedLikelihood`.
    encoder, decoder : {"mlp", "cnn", "resnet", "custom"}, default="mlp"
        Kind of network. With ``encoder="mlp"`` there is no network beside the
        bottom-up chain, which reads the features.
    image_shape : tuple of int, default=None
        Height and width of an image, with channels first or last if there are any.
    custom_encoder, custom_decoder : callable, default=None
        Callables for "custom", from the widths of input and output to a network.

    Examples
    --------
    >>> config = ModelConfig.create(n_features=784, image_shape=(28, 28))
    >>> config.encoder, config.decoder
    ('cnn', 'cnn')
    >>> ModelConfig(**config.to_dict()) == config
    True
    """

    n_features: int
    hidden_dim: int = 128
    latent_dim: int = 8
    router_dims: tuple[int, ...] = ()
    perceptron_depth: int = 2
    bottom_up_depth: int = 4
    likelihood: str = "gaussian"
    discrete: tuple[tuple[int, ...], ...] = ()
    encoder: str = "mlp"
    decoder: str = "mlp"
    image_shape: tuple[int, ...] | None = None
    custom_encoder: CustomNetwork | None = None
    custom_decoder: CustomNetwork | None = None

    def __post_init__(self) -> None:
        for name in ("router_dims", "image_shape"):
            if getattr(self, name) is not None:
                sizes = tuple(map(int, getattr(self, name)))
                object.__setattr__(self, name, sizes)
        groups = tuple(tuple(map(int, group)) for group in self.discrete)
        object.__setattr__(self, "discrete", groups)
        columns = [column for group in groups for column in group]
        # Not by a set of all columns: a damaged file may claim a huge number of them.
        if not all(0 <= column < self.n_features for column in columns) or len(
            columns
        ) != len(set(columns)):
            raise ValueError(
                "discrete must have different columns from 0 to "
                f"{self.n_features - 1}, got {self.discrete!r}."
            )
        _check_choice("likelihood", self.likelihood, tuple(LIKELIHOODS))
        for name in ("encoder", "decoder"):
            kind, custom = getattr(self, name), getattr(self, f"custom_{name}")
            _check_choice(name, kind, NETWORKS)
            if (kind == "custom") != (custom is not None):
                raise ValueError(
                    f"custom_{name} must be given for {name}='custom', and only then; "
                    f"got {name}={kind!r} and custom_{name}={custom!r}."
                )
            if kind in ("cnn", "resnet") and self.image_shape is None:
                raise ValueError(f"{name}={kind!r} needs an image_shape, got None.")

    @classmethod
    def create(
        cls,
        *,
        encoder: str | CustomNetwork = "auto",
        decoder: str | CustomNetwork = "auto",
        **fields: object,
    ) -> ModelConfig:
        """Build from the values of the estimator's parameters.

        Parameters
        ----------
        encoder, decoder : {"auto", "mlp", "cnn", "resnet"} or callable, default="auto"
            "auto" chooses by the images: perceptrons without images or for images with
            a side below 16 pixels, else "cnn" for one channel and "resnet" for more.
            A callable is checked by building and applying a network.
        **fields
            The other settings.

        Raises
        ------
        ValueError
            If a callable can't be used, or a value is invalid.
        """
        base = cls(**fields)
        widths = {
            "encoder": (base.n_features, base.hidden_dim),
            "decoder": (base.latent_dim, base.n_features),
        }
        kinds = {}
        for name, value in (("encoder", encoder), ("decoder", decoder)):
            if callable(value):
                check_custom(name, value, *widths[name])
                kinds |= {name: "custom", f"custom_{name}": value}
            else:
                kinds[name] = _resolve_auto(value, base.image_shape)
        return cls(**fields, **kinds)

    @property
    def has_linear_paths(self) -> bool:
        """Whether posterior heads read the data, and leaves map latents to it linearly.

        The model is then at least a mixture of factor analyzers, beside which the
        networks learn what is not linear. It is for narrow tables of real numbers:
        their samples determine the latent variables almost exactly.
        """
        return (
            LIKELIHOODS[self.likelihood].standardize
            and self.image_shape is None
            and self.encoder == self.decoder == "mlp"
            and self.n_features <= MAX_LINEAR_FEATURES
        )

    @property
    def head_dim(self) -> int:
        """Width of the input of the posterior heads."""
        return self.hidden_dim + self.n_features * self.has_linear_paths

    def to_dict(self) -> dict[str, object]:
        """Return the settings without the callables, JSON-able."""
        names = [field.name for field in fields(self)]
        return {name: getattr(self, name) for name in names if "custom" not in name}

    def build_encoder(self, generator: torch.Generator) -> nn.Module | None:
        """Return a network from data to (batch, hidden_dim); None for "mlp"."""
        if self.encoder == "mlp":
            return None
        if self.encoder == "custom":
            widths = self.n_features, self.hidden_dim
            return build_custom(self.custom_encoder, *widths, generator=generator)
        return ConvEncoder(
            ImageLayout.from_shape(self.image_shape),
            self.hidden_dim,
            residual=self.encoder == "resnet",
            generator=generator,
        )

    def build_likelihood(self, n_leaves: int) -> Likelihood:
        """Return the likelihood of `n_leaves` leaves."""
        likelihood = LIKELIHOODS[self.likelihood]
        options = {"discrete": self.discrete} if likelihood.has_discrete else {}
        return likelihood(n_leaves, self.n_features, **options)

    def build_routers(self, n_splits: int, generator: torch.Generator) -> Routers:
        """Return the q-routers of `n_splits` splits."""
        widths = (self.hidden_dim, *self.router_dims, 1)
        return Routers(n_splits, widths, generator=generator)

    def build_decoders(
        self, n_leaves: int, generator: torch.Generator
    ) -> LeafDecoders | LeafNetworks:
        """Return the decoders of `n_leaves` leaves."""
        if self.decoder == "custom":
            widths = self.latent_dim, self.n_features
            make = partial(build_custom, self.custom_decoder, *widths)
            return LeafNetworks(self.n_features, make, n_leaves, generator=generator)
        readout = None
        if self.decoder != "mlp":
            readout = partial(
                ConvReadout,
                ImageLayout.from_shape(self.image_shape),
                2 * self.hidden_dim,
                residual=self.decoder == "resnet",
            )
        return LeafDecoders(
            self.n_features,
            self.latent_dim,
            self.hidden_dim,
            n_leaves,
            readout=readout,
            has_loadings=self.has_linear_paths,
            generator=generator,
        )


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}.")


def _resolve_auto(kind: str, image_shape: tuple[int, ...] | None) -> str:
    """Choose a kind of network for "auto"."""
    if kind != "auto":
        return kind
    layout = None if image_shape is None else ImageLayout.from_shape(image_shape)
    # Smaller images are halved only once.
    if layout is None or min(layout.height, layout.width) < 2 * MIN_SIDE:
        return "mlp"
    return "cnn" if layout.channels == 1 else "resnet"
