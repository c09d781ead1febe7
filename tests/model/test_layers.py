import functools

import pytest
import torch
from torch import nn

from sktreevae.model import ImageLayout, LeafDecoders
from sktreevae.model.layers import (
    MLP,
    LeafNetworks,
    Routers,
    StackedMLP,
    conv,
    linear,
    ridge_regression,
)
from sktreevae.model.networks import ConvReadout
from sktreevae.utils.devices import static_shapes


@pytest.mark.parametrize("widths", [(4, 2), (4, 8, 2), (4, 8, 8, 2)])
def test_groups_compute_what_the_whole_does(widths, generator):
    nets = StackedMLP(5, widths, generator=generator)
    x = torch.randn(5, 7, 4, generator=generator)
    parts = nets.split((2, 0, 3))
    groups = [part(rows) for part, rows in zip(parts, x.split((2, 0, 3)), strict=True)]
    torch.testing.assert_close(torch.cat(groups), nets(x))


def test_initial_outputs_have_the_scale_of_the_inputs(generator):
    nets = StackedMLP(4, (50, 40), generator=generator)
    out = nets(torch.randn(2000, 50, generator=generator))
    assert 0.8 < out.std() < 1.2


@pytest.mark.parametrize("make", [linear, conv, lambda *w, **kw: MLP(w, **kw)])
def test_initial_weights_come_from_the_generator_given(make):
    state = torch.random.get_rng_state()
    one, two, other = (
        list(make(5, 3, generator=torch.Generator().manual_seed(seed)).parameters())
        for seed in (1, 1, 2)
    )
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[0], other[0])
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("widths", [(4, 1), (4, 64, 1)])
def test_a_router_is_fitted_to_the_sides_of_samples(widths, generator):
    router = Routers(3, widths, generator=generator)
    x = torch.randn(200, 4, generator=generator)
    before = router(x)
    router.fit(1, x, x[:, 0] > 0)
    is_left = router(x)[..., 0] > 0
    assert (is_left[1] == (x[:, 0] > 0)).float().mean() > 0.95
    torch.testing.assert_close(router(x)[::2], before[::2])


def test_ridge_regression_finds_a_linear_map(generator):
    x = torch.randn(500, 4, generator=generator)
    y = x @ torch.tensor([[1.0], [2.0], [0.0], [-1.0]]) + 3.0
    weight, bias, error = ridge_regression(x, y)
    torch.testing.assert_close(x @ weight + bias, y, atol=0.5, rtol=0.0)
    assert error < 0.05


# Networks of any kind


class Scaled(nn.Module):
    """A network with a buffer, a frozen parameter, and names that could be confused."""

    def __init__(self, n_in, n_out, generator):
        super().__init__()
        self.net = MLP((n_in, n_out), generator=generator)
        # With the dot replaced, the first weight would have this name.
        self.net_0_weight = nn.Parameter(torch.ones(n_out))
        self.frozen = nn.Parameter(torch.full((n_out,), 2.0), requires_grad=False)
        self.register_buffer("factor", torch.rand(n_out, generator=generator))

    def forward(self, x):
        return self.net(x) * self.net_0_weight * self.frozen * self.factor


def make_scaled(generator):
    return Scaled(4, 2, generator)


def make_convolution(generator):
    layout = ImageLayout(16, 18)
    return ConvReadout(layout, 4, residual=True, generator=generator)


def make_networks(make, n_outputs, generator):
    stacked = LeafNetworks(n_outputs, make, 3, generator=generator)
    for node in range(3):
        stacked.constant.data[node] = torch.arange(n_outputs) + 10.0 * node
    return stacked


NETWORKS = [
    functools.partial(make_networks, make_scaled, 2),
    functools.partial(make_networks, make_convolution, 288),
]


@pytest.mark.parametrize("make", NETWORKS)
def test_stacked_networks_compute_what_each_does(make, generator):
    stacked = make(generator=torch.Generator().manual_seed(3))
    make_one, n_outputs = make.args
    same = torch.Generator().manual_seed(3)
    networks = [make_one(generator=same) for _ in range(3)]
    x = torch.randn(3, 5, 4, generator=generator)
    constants = torch.arange(n_outputs) + 10.0 * torch.arange(3)[:, None]
    rows = zip(networks, x, constants, strict=True)
    expected = torch.stack([network(z) + constant for network, z, constant in rows])
    torch.testing.assert_close(stacked(x), expected)


def make_decoders(generator):
    decoders = LeafDecoders(5, 4, 8, 3, has_loadings=True, generator=generator)
    torch.nn.init.normal_(decoders.loadings, generator=generator)
    torch.nn.init.normal_(decoders.constant, generator=generator)
    return decoders


@pytest.mark.parametrize("leaf", [[2, 0, 2, 0, 0, 2], [2], [0, 2, 1], []])
@pytest.mark.parametrize("make", [make_decoders, *NETWORKS])
def test_rows_go_to_the_network_of_their_leaf(make, leaf, generator):
    networks, leaf = make(generator=generator), torch.tensor(leaf, dtype=torch.long)
    x = torch.randn(len(leaf), 4, generator=generator)
    expected = networks(x.expand(3, -1, -1))[leaf, torch.arange(len(leaf))]
    torch.testing.assert_close(networks.decode(x, leaf), expected)
    with static_shapes():
        torch.testing.assert_close(networks.decode(x, leaf), expected)


class Zeros(nn.Module):
    """A network without parameters that takes no empty batches."""

    def forward(self, x):
        return torch.zeros_like(x).reshape(len(x), -1)


def test_networks_may_have_no_parameters_and_refuse_empty_batches(generator):
    stacked = LeafNetworks(4, lambda generator: Zeros(), 2, generator=generator)
    stacked.constant.data[1] = torch.arange(4.0)
    rows = stacked.decode(torch.ones(3, 4), torch.ones(3, dtype=torch.long))
    assert torch.equal(rows, torch.arange(4.0).expand(3, 4))


@pytest.mark.parametrize(
    ("kind", "sides"),
    [({}, (12, 10)), ({"stride": 2}, (6, 5)), ({"upsample": True}, (24, 20))],
)
def test_convolutions_keep_the_scale_of_their_inputs(kind, sides, generator):
    layer = conv(8, 16, generator=generator, **kind)
    result = layer(torch.randn(20, 8, 12, 10, generator=generator))
    assert result.shape == (20, 16, *sides)
    assert 0.8 < result[..., 1:-1, 1:-1].std() < 1.2
