"""Layers, and stacks of networks that are evaluated for many nodes at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..utils.devices import may_read

NEGATIVE_SLOPE = 0.3
"""Negative slope of the leaky rectifiers, as in the paper."""


class MLP(nn.Sequential):
    """A multi-layer perceptron whose layers are all normalized and rectified.

    Parameters
    ----------
    widths : sequence of int
        Width of the input and of each layer.
    generator : torch.Generator
        Source of the initial weights.

    Examples
    --------
    >>> MLP((8, 32, 2), generator=torch.Generator())
    MLP(widths=(8, 32, 2))
    """

    def __init__(self, widths: Sequence[int], *, generator: torch.Generator) -> None:
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layer = linear(fan_in, fan_out, generator=generator)
            _init_hidden_bias(layer.bias, generator)
            norm = nn.LayerNorm(fan_out, dtype=torch.float32)
            layers += [layer, norm, nn.LeakyReLU(NEGATIVE_SLOPE)]
        super().__init__(*layers)
        self.widths = tuple(widths)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(widths={self.widths})"


class StackedMLP(nn.Module):
    """One multi-layer perceptron per node, evaluated together as batched products.

    Hidden layers are normalized over their features and rectified. The output layer is
    linear.

    Parameters
    ----------
    n_nodes : int
        Number of perceptrons. It is the first dimension of every parameter.
    widths : sequence of int
        Width of the input, of each hidden layer and of the output.
    generator : torch.Generator
        Source of the initial weights.
    gain : float, default=1.0
        Factor on the initial weights of the last layer.

    Attributes
    ----------
    weights, biases : ParameterList
        Weight of each layer, (n_nodes, n_in, n_out), and bias, (n_nodes, 1, n_out).

    Examples
    --------
    >>> stack = StackedMLP(5, (8, 32, 2), generator=torch.Generator())
    >>> stack
    StackedMLP(n_nodes=5, widths=(8, 32, 2))
    >>> first, second = stack.split((2, 3))  # the perceptrons of two levels
    >>> first(torch.zeros(10, 8)).shape  # the same input for all perceptrons
    torch.Size([2, 10, 2])
    >>> second(torch.zeros(3, 10, 8)).shape  # one input for each perceptron
    torch.Size([3, 10, 2])
    """

    def __init__(
        self,
        n_nodes: int,
        widths: Sequence[int],
        *,
        generator: torch.Generator,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.n_nodes = n_nodes
        self.widths = tuple(widths)
        options = {"dtype": torch.float32, "device": generator.device}
        weights, biases = [], []
        for layer, (fan_in, fan_out) in enumerate(pairwise(widths), start=2):
            last = layer == len(widths)
            weight = torch.empty(n_nodes, fan_in, fan_out, **options)
            _init_weight(weight, fan_in, generator, gain if last else 1.0)
            bias = torch.zeros(n_nodes, 1, fan_out, **options)
            if not last:
                _init_hidden_bias(bias, generator)
            weights.append(weight)
            biases.append(bias)
        self.weights = nn.ParameterList(weights)
        self.biases = nn.ParameterList(biases)

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}(n_nodes={self.n_nodes}, widths={self.widths})"

    def split(self, sizes: Sequence[int]) -> list[Callable[[Tensor], Tensor]]:
        """Split into groups of consecutive perceptrons; return a callable for each.

        Groups are views of the parameters, from one operation for each parameter.
        """
        groups = [
            list(zip(*(p.split(list(sizes)) for p in parameters), strict=True))
            for parameters in (self.weights, self.biases)
        ]
        return [
            lambda x, group=group: _stacked_forward(x, *group)
            for group in zip(*groups, strict=True)
        ]

    def forward_rows(self, x: Tensor, index: Tensor) -> Tensor:
        """Apply one perceptron to each row of a batch.

        The rows of a perceptron are a product. With static shapes, all rows go through
        all perceptrons; see `static_shapes`.

        Parameters
        ----------
        x : Tensor of shape (n_rows, n_in)
            Rows.
        index : Tensor of int of shape (n_rows,)
            Perceptron of each row.
        """
        if not may_read():
            return self(x)[index, torch.arange(len(x), device=x.device)]
        order = index.argsort(stable=True)
        sizes = index.bincount(minlength=self.n_nodes).tolist()
        x = x.index_select(0, order)
        layers = zip(self.weights, self.biases, strict=True)
        for layer, (weight, bias) in enumerate(layers):
            if layer > 0:
                x = activate(x)
            groups = zip(x.split(sizes), weight.unbind(), bias.unbind(), strict=True)
            x = torch.cat([torch.addmm(b, rows, w) for rows, w, b in groups])
        return x.index_select(0, order.argsort())

    @torch.no_grad()
    def set(self, node: int, weight: Tensor, bias: Tensor) -> None:
        """Set the last layer of one perceptron, (n_in, n_out) and (n_out,)."""
        self.weights[-1][node] = weight
        self.biases[-1][node] = bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_in) or (n_nodes, batch, n_in) to (n_nodes, batch, n_out)."""
        return _stacked_forward(x, self.weights, self.biases)


class Routers(StackedMLP):
    """The routers of the splits: each gives the logit of the decision for "left".

    Other routers have the same methods, and parameters whose first dimension is the
    split; `ModelConfig.build_routers` chooses.
    """

    @torch.no_grad()
    def fit(
        self,
        split: int,
        embedding: Tensor,
        is_left: Tensor,
        *,
        max_logit: float = 3.0,
        **penalty: float,
    ) -> None:
        """Initialize the output layer of a router by ridge regression.

        Parameters
        ----------
        split : int
            Position of the split.
        embedding : Tensor of shape (batch, n_in)
            Input of the router.
        is_left : Tensor of bool of shape (batch,)
            Whether each sample is to go left.
        max_logit : float, default=3.0
            Logit that is regressed on: positive for the left, negative for the right.
        **penalty : float
            Options of `ridge_regression`.
        """
        hidden = embedding
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = activate(hidden @ weight[split] + bias[split])
        logit = max_logit * (2.0 * is_left.to(embedding) - 1.0)
        weight, bias, _ = ridge_regression(hidden, logit[:, None], **penalty)
        self.set(split, weight, bias)


class LeafNetworks(nn.Module):
    """One network of any kind per leaf, plus one constant per leaf.

    Networks are evaluated one after the other: custom networks are assumed large enough
    that looping over leaves costs little.

    Parameters
    ----------
    n_outputs : int
        Width of the output.
    make : callable
        Builds a network, given the keyword argument `generator`.
    n_leaves : int
        Number of networks.
    generator : torch.Generator
        Source of the initial weights.

    Attributes
    ----------
    constant : Parameter of shape (n_leaves, 1, n_outputs)
        Constants that are added to the outputs.
    networks : ModuleList
        The networks.
    """

    shared: tuple[str, ...] = ()
    """Names of submodules that all leaves share."""

    def __init__(
        self,
        n_outputs: int,
        make: Callable[..., nn.Module],
        n_leaves: int,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(
            make(generator=generator) for _ in range(n_leaves)
        )
        options = {"dtype": torch.float32, "device": generator.device}
        self.constant = nn.Parameter(torch.zeros(n_leaves, 1, n_outputs, **options))

    def decode(self, z: Tensor, leaf: Tensor) -> Tensor:
        """Decode each row by one leaf; arguments as for `LeafDecoders.decode`."""
        order = leaf.argsort(stable=True)
        sizes = leaf.bincount(minlength=len(self.networks)).tolist()
        return torch.cat(self._evaluate(z[order].split(sizes)))[order.argsort()]

    def forward(self, x: Tensor) -> Tensor:
        """Map (n_leaves, batch, n_in) to (n_leaves, batch, n_out)."""
        return torch.stack(self._evaluate(x.unbind()))

    def _evaluate(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Apply each network to its rows. Not all networks accept an empty batch."""
        return [
            network(rows) + constant if len(rows) else constant[:0]
            for network, rows, constant in zip(
                self.networks, inputs, self.constant, strict=True
            )
        ]


def _stacked_forward(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> Tensor:
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = activate(_stacked_linear(x, weight, bias))
    return _stacked_linear(x, weights[-1], biases[-1])


def _stacked_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if x.ndim == 3:
        return torch.baddbmm(bias, x, weight)
    # All nodes have the same input, so this is a single matrix product.
    n_nodes, n_in, n_out = weight.shape
    flat = x @ weight.transpose(0, 1).reshape(n_in, n_nodes * n_out)
    return flat.view(len(x), n_nodes, n_out).transpose(0, 1) + bias


def ridge_regression(
    x: Tensor, y: Tensor, *, ridge: float = 0.03, min_penalty: float = 5.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a ridge regression of y on x: weights, biases and mean squared errors.

    The errors are those of generalized cross-validation.

    Parameters
    ----------
    x, y : Tensor of shape (batch, n_in) and (batch, n_out)
        Samples.
    ridge : float, default=0.03
        L2 penalty, relative to the number of samples.
    min_penalty : float, default=5.0
        Minimum L2 penalty, in samples.
    """
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x
    penalty = max(ridge * len(x), min_penalty)
    eye = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    inverse = torch.linalg.inv(gram + penalty * eye)
    weight = inverse @ (x.T @ y)
    n_parameters = (inverse * gram).sum()
    correction = (1.0 - n_parameters / len(x)).clamp(min=0.1).square()
    error = (y - x @ weight).square().mean(0) / correction
    return weight, y_mean - x_mean @ weight, error


def activate(x: Tensor) -> Tensor:
    """Normalize over the features, and rectify."""
    return F.leaky_relu(F.layer_norm(x, x.shape[-1:]), NEGATIVE_SLOPE)


class _Uninitialized:
    """Keeps torch's layers from drawing weights from the global generator.

    `nn.utils.skip_init` does the same, but imports sympy for the meta device, in 0.4
    seconds of the first fit of a process.
    """

    def reset_parameters(self) -> None:
        """Leave the parameters as they are."""


class Linear(_Uninitialized, nn.Linear):
    """Linear layer without initial weights."""


class Conv2d(_Uninitialized, nn.Conv2d):
    """Convolution without initial weights."""


class ConvTranspose2d(_Uninitialized, nn.ConvTranspose2d):
    """Transposed convolution without initial weights."""


def linear(
    fan_in: int, fan_out: int, *, gain: float = 1.0, generator: torch.Generator
) -> nn.Linear:
    """Return a linear layer with initial weights from an explicit generator."""
    layer = Linear(fan_in, fan_out, device=generator.device, dtype=torch.float32)
    with torch.no_grad():
        _init_weight(layer.weight, fan_in, generator, gain)
        layer.bias.zero_()
    return layer


def conv(
    n_in: int,
    n_out: int,
    *,
    stride: int = 1,
    upsample: bool = False,
    gain: float = 1.0,
    generator: torch.Generator,
) -> nn.Module:
    """Return a convolution with initial weights from an explicit generator.

    Parameters
    ----------
    n_in, n_out : int
        Number of channels.
    stride : int, default=1
        Stride of the 3 x 3 windows.
    upsample : bool, default=False
        Whether to double height and width by a transposed convolution instead.
    gain : float, default=1.0
        Factor on the initial weights.
    generator : torch.Generator
        Source of the initial weights.
    """
    if upsample:
        kind, window, fan_in = ConvTranspose2d, (4, 2, 1), 4 * n_in
    else:
        kind, window, fan_in = Conv2d, (3, stride, 1), 9 * n_in
    layer = kind(n_in, n_out, *window, device=generator.device, dtype=torch.float32)
    with torch.no_grad():
        _init_weight(layer.weight, fan_in, generator, gain)
        layer.bias.zero_()
    return layer


def _init_weight(
    weight: Tensor, fan_in: int, generator: torch.Generator, gain: float = 1.0
) -> None:
    """Fill with uniform values that preserve the variance of unit inputs."""
    bound = gain * math.sqrt(3.0 / max(fan_in, 1))
    with torch.no_grad():
        weight.uniform_(-bound, bound, generator=generator)


def _init_hidden_bias(bias: Tensor, generator: torch.Generator) -> None:
    """Fill the bias of a layer that is normalized.

    Without a bias, the normalization would remove the scale of the input.
    """
    with torch.no_grad():
        bias.uniform_(-0.5, 0.5, generator=generator)
