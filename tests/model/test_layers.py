import pytest
import torch

from sktreevae.model.layers import StackedMLP, linear, mlp


@pytest.mark.parametrize("widths", [(4, 2), (4, 8, 2), (4, 8, 8, 2)])
def test_groups_compute_what_the_whole_does(widths, generator):
    nets = StackedMLP(5, widths, generator=generator)
    x = torch.randn(5, 7, 4, generator=generator)
    parts = nets.split((2, 0, 3))
    groups = [part(rows) for part, rows in zip(parts, x.split((2, 0, 3)), strict=True)]
    torch.testing.assert_close(torch.cat(groups), nets(x))


@pytest.mark.parametrize("sizes", [(3, 0, 4), (0, 0, 1), (2, 2, 2)])
def test_rows_go_to_the_perceptron_of_their_group(sizes, generator):
    nets = StackedMLP(3, (4, 8, 2), generator=generator)
    x = torch.randn(sum(sizes), 4, generator=generator)
    expected = [nets(rows)[i] for i, rows in enumerate(x.split(sizes))]
    torch.testing.assert_close(nets.forward_groups(x, sizes), torch.cat(expected))


def test_shared_input_is_an_input_for_each(generator):
    nets = StackedMLP(3, (4, 8, 2), generator=generator)
    x = torch.randn(7, 4, generator=generator)
    torch.testing.assert_close(nets(x), nets(x.expand(3, 7, 4)))


def test_perceptrons_do_not_share_parameters(generator):
    nets = StackedMLP(2, (4, 8, 2), generator=generator)
    x = torch.randn(7, 4, generator=generator)
    nets(x)[0].sum().backward()
    for parameter in nets.parameters():
        assert parameter.grad[0].abs().sum() > 0
        assert not parameter.grad[1].any()


def test_no_perceptrons_map_nothing(generator):
    nets = StackedMLP(0, (4, 8, 2), generator=generator)
    assert nets(torch.zeros(7, 4)).shape == (0, 7, 2)


def test_initial_outputs_have_the_scale_of_the_inputs(generator):
    nets = StackedMLP(4, (50, 40), generator=generator)
    out = nets(torch.randn(2000, 50, generator=generator))
    assert 0.8 < out.std() < 1.2


@pytest.mark.parametrize("make", [linear, lambda *w, **kw: mlp(w, **kw)])
def test_initial_weights_come_from_the_generator_given(make):
    state = torch.random.get_rng_state()
    one, two, other = (
        list(make(5, 3, generator=torch.Generator().manual_seed(seed)).parameters())
        for seed in (1, 1, 2)
    )
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[0], other[0])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_last_layer_is_fitted_to_targets(generator):
    nets = StackedMLP(2, (4, 64, 1), generator=generator)
    x = torch.randn(200, 4, generator=generator)
    target = torch.sign(x[:, :1])
    nets.fit_last_layer(x, target)
    assert (torch.sign(nets(x)) == target).float().mean() > 0.95
