"""Layers for many nodes at once: parameters stacked on their first dimension."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional as F

__all__ = [
    "SLOPE",
    "StackedMLP",
    "StackedModules",
    "activate",
    "conv",
    "linear",
    "mlp",
]

SLOPE = 0.3
"""Negative slope of the leaky rectifiers, as in the paper."""

MOST_PADDING = 8
"""Batched products may compute so many times as many rows as there are; beyond, groups
are computed one by one."""

RIDGE = 1e-3
"""Penalty of a regression, relative to the number of samples."""


class StackedMLP(nn.Module):
    """One multi-layer perceptron per node, evaluated together as batched products.

    Hidden layers are normalised over their features and rectified.

    Parameters
    ----------
    n_nodes : int
        Number of perceptrons. Every parameter has this as its first dimension.
    widths : sequence of int
        Features of the input, of each hidden layer and of the output.
    generator : torch.Generator
        Source of the initial weights.
    gain : float, default=1.0
        Factor on the initial weights of the last layer.

    Examples
    --------
    >>> nets = StackedMLP(5, (8, 32, 2), generator=torch.Generator())
    >>> first, second = nets.split((2, 3))  # the perceptrons of two levels
    >>> first(torch.zeros(10, 8)).shape  # one input for all
    torch.Size([2, 10, 2])
    >>> second(torch.zeros(3, 10, 8)).shape  # an input for each
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
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for layer, (fan_in, fan_out) in enumerate(pairwise(widths), start=2):
            last = layer == len(widths)
            # A generator only fills tensors of its own device.
            weight = torch.empty(n_nodes, fan_in, fan_out, device=generator.device)
            _init_weight(weight, fan_in, generator, gain if last else 1.0)
            bias = torch.zeros(n_nodes, 1, fan_out, device=generator.device)
            if not last:
                _init_hidden_bias(bias, generator)
            self.weights.append(weight)
            self.biases.append(bias)

    def split(self, sizes: Sequence[int]) -> list[Callable[[Tensor], Tensor]]:
        """Return the perceptrons as groups of consecutive ones, one callable a group.

        The split is a view, and a single operation for each parameter.
        """
        groups = [
            list(zip(*(p.split(list(sizes)) for p in parameters), strict=True))
            for parameters in (self.weights, self.biases)
        ]
        return [
            lambda x, parts=parts: _stacked_forward(x, *parts)
            for parts in zip(*groups, strict=True)
        ]

    def forward_groups(self, x: Tensor, sizes: Sequence[int]) -> Tensor:
        """Map rows by a perceptron each: the first `sizes[0]` by the first, and so on.

        Parameters
        ----------
        x : Tensor of shape (sum(sizes), in)
            Rows, sorted by their perceptrons.
        sizes : sequence of n_nodes ints
            Rows of each.
        """
        if max(sizes) * len(sizes) <= MOST_PADDING * len(x):
            return self._forward_padded(x, sizes)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            if weight is not self.weights[0]:
                x = activate(x)
            groups = zip(x.split(sizes), weight.unbind(), bias.unbind(), strict=True)
            x = torch.cat([torch.addmm(b, rows, w) for rows, w, b in groups])
        return x

    def _forward_padded(self, x: Tensor, sizes: Sequence[int]) -> Tensor:
        """Do so in batched products, in which all have as many rows as the largest."""
        n_rows = torch.tensor(sizes, device=x.device)
        start = n_rows.cumsum(0) - n_rows
        rank = torch.arange(max(sizes), device=x.device)
        taken = rank < n_rows[:, None]
        row = torch.where(taken, start[:, None] + rank, 0)
        padded = x.index_select(0, row.flatten()).unflatten(0, row.shape)
        return self(padded)[taken]

    @torch.no_grad()
    def fit_last_layer(self, x: Tensor, target: Tensor) -> None:
        """Fit the last layer, for a head start, by ridge regression.

        Parameters
        ----------
        x : Tensor of shape (batch, in)
            Input of all perceptrons.
        target : Tensor of shape (batch, out)
            What each should give.
        """
        hidden = _stacked_hidden(x, self.weights, self.biases)
        hidden = hidden.expand(len(self.weights[0]), -1, -1)
        # The last column is that of the bias.
        design = F.pad(hidden, (0, 1), value=1.0)
        penalty = RIDGE * len(x) * torch.eye(design.shape[2]).to(design)
        solution = torch.linalg.solve(design.mT @ design + penalty, design.mT @ target)
        self.weights[-1].copy_(solution[:, :-1])
        self.biases[-1].copy_(solution[:, -1:])

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in) or (n_nodes, batch, in) to (n_nodes, batch, out)."""
        return _stacked_forward(x, self.weights, self.biases)


class StackedModules(nn.Module):
    """One network of any kind per node, with a constant of its own added.

    Networks are evaluated one after the other: those that are worth it are large
    enough to keep a processor busy.

    Parameters
    ----------
    n_outputs : int
        Width of their output.
    make : callable
        Makes a network, with the keyword argument `generator`.
    n_nodes : int
        Number of networks. Every parameter has this as its first dimension.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(
        self,
        n_outputs: int,
        make: Callable[..., nn.Module],
        n_nodes: int,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        networks = [make(generator=generator) for _ in range(n_nodes)]
        shape = (n_nodes, 1, n_outputs)
        self.constant = nn.Parameter(torch.zeros(shape, device=generator.device))
        parameters, buffers = stack_module_state(networks)
        self._names = [*parameters, *buffers]
        # It only says what to compute: in a tuple, so that it isn't registered.
        self._network = (networks[0].to("meta"),)
        for name, value in parameters.items():
            stacked = nn.Parameter(value.detach(), value.requires_grad)
            self.register_parameter(_dotless(name), stacked)
        for name, value in buffers.items():
            self.register_buffer(_dotless(name), value)

    def forward_groups(self, x: Tensor, sizes: Sequence[int]) -> Tensor:
        """Map rows by a network each; arguments as for `StackedMLP.forward_groups`."""
        return torch.cat(self._evaluate(x.split(sizes)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n_nodes, batch, in) to (n_nodes, batch, out)."""
        return torch.stack(self._evaluate(x.unbind()))

    @torch.no_grad()
    def start(self, node: int, output: Tensor) -> None:
        """Let a network begin with a constant output, (out,), more or less."""
        self.constant[node] = output

    def _evaluate(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Map some rows by each of the networks."""
        # A call swaps parameters in and out: threads would get in each other's way.
        network = copy.deepcopy(self._network[0])
        values = {name: getattr(self, _dotless(name)).unbind() for name in self._names}
        outputs = []
        for node, (rows, constant) in enumerate(
            zip(inputs, self.constant.unbind(), strict=True)
        ):
            if len(rows) == 0:  # which not all networks take
                outputs.append(constant[:0])
                continue
            state = {name: value[node] for name, value in values.items()}
            outputs.append(functional_call(network, state, rows) + constant)
        return outputs


def _dotless(name: str) -> str:
    """Name a parameter of all networks: without dots, and unlike any attribute."""
    return "of/" + name.replace(".", "/")


def _stacked_forward(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
) -> Tensor:
    x = _stacked_hidden(x, weights, biases)
    return _stacked_linear(x, weights[-1], biases[-1])


def _stacked_hidden(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> Tensor:
    """Apply all layers but the last."""
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = activate(_stacked_linear(x, weight, bias))
    return x


def _stacked_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if x.ndim == 3:
        return torch.baddbmm(bias, x, weight)
    # All nodes take the same input, so that it is a single product.
    n_nodes, n_in, n_out = weight.shape
    flat = x @ weight.transpose(0, 1).reshape(n_in, n_nodes * n_out)
    return flat.view(len(x), n_nodes, n_out).transpose(0, 1) + bias


def activate(x: Tensor) -> Tensor:
    """Normalise over the features, and rectify."""
    return F.leaky_relu(F.layer_norm(x, x.shape[-1:]), SLOPE)


def mlp(widths: Sequence[int], *, generator: torch.Generator) -> nn.Sequential:
    """Return one perceptron whose layers are all normalised and rectified."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layer = linear(fan_in, fan_out, generator=generator)
        _init_hidden_bias(layer.bias, generator)
        layers += [layer, nn.LayerNorm(fan_out), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


def linear(
    fan_in: int, fan_out: int, *, gain: float = 1.0, generator: torch.Generator
) -> nn.Linear:
    """Return a linear layer with initial weights from an explicit generator."""
    # `skip_init` leaves the global generator alone, which nn.Linear would draw from.
    layer = nn.utils.skip_init(nn.Linear, fan_in, fan_out, device=generator.device)
    with torch.no_grad():
        _init_weight(layer.weight, fan_in, generator, gain)
        layer.bias.zero_()
    return layer


def conv(
    n_in: int,
    n_out: int,
    *,
    stride: int = 1,
    doubling: bool = False,
    gain: float = 1.0,
    generator: torch.Generator,
) -> nn.Module:
    """Return a convolution with initial weights from an explicit generator.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    stride : int, default=1
        Step of windows of three pixels, around every pixel that there is a step to.
    doubling : bool, default=False
        Whether to double height and width instead, by a transposed convolution.
    gain : float, default=1.0
        Factor on the initial weights.
    generator : torch.Generator
        Source of the initial weights.
    """
    if doubling:
        kind, window, n_terms = nn.ConvTranspose2d, (4, 2, 1), 4 * n_in
    else:
        kind, window, n_terms = nn.Conv2d, (3, stride, 1), 9 * n_in
    layer = nn.utils.skip_init(kind, n_in, n_out, *window, device=generator.device)
    with torch.no_grad():
        _init_weight(layer.weight, n_terms, generator, gain)
        layer.bias.zero_()
    return layer


def _init_weight(
    weight: Tensor, fan_in: int, generator: torch.Generator, gain: float = 1.0
) -> None:
    """Fill with uniform values that keep the variance of unit inputs."""
    bound = gain * math.sqrt(3.0 / max(fan_in, 1))
    with torch.no_grad():
        weight.uniform_(-bound, bound, generator=generator)


def _init_hidden_bias(bias: Tensor, generator: torch.Generator) -> None:
    """Fill the bias in front of a normalisation.

    With none, the normalisation would hide how large the input is: half a unit makes
    a difference to inputs of unit size.
    """
    with torch.no_grad():
        bias.uniform_(-0.5, 0.5, generator=generator)
