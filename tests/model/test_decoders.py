import pytest
import torch

from sktreevae.model import LeafDecoders, Topology
from sktreevae.model.layers import activate

from .strategies import make_data, make_model


def make_decoders(generator, has_loadings=True):
    """Return decoders of three leaves whose parameters are away from their start."""
    decoders = LeafDecoders(
        5, 2, 4, 3, has_loadings=has_loadings, generator=generator
    ).double()
    with torch.no_grad():
        for parameter in decoders.parameters():
            noise = torch.randn(parameter.shape, generator=generator).double()
            parameter.add_(noise)
    return decoders


def latents(*shape, generator):
    return torch.randn(*shape, 2, generator=generator).double()


def test_loadings_add_a_linear_map_to_the_perceptron(generator):
    decoders = make_decoders(generator)
    z = latents(3, 6, generator=generator)
    nonlinear = decoders.readout(activate(decoders.hidden(z))) + decoders.constant
    linear = torch.einsum("lbi,lif->lbf", z, decoders.loadings)
    torch.testing.assert_close(decoders(z), nonlinear + linear)


def test_loadings_start_at_zero(generator):
    decoders = LeafDecoders(5, 2, 4, 3, has_loadings=True, generator=generator)
    assert decoders.loadings.shape == (3, 2, 5)
    assert not decoders.loadings.any()


@pytest.mark.parametrize("has_loadings", [False, True])
@pytest.mark.parametrize("sizes", [(3, 0, 4), (0, 0, 1), (2, 2, 2)])
def test_each_row_is_decoded_by_the_leaf_of_its_group(sizes, has_loadings, generator):
    decoders = make_decoders(generator, has_loadings)
    z = latents(sum(sizes), generator=generator)
    whole = decoders(z.expand(3, -1, -1))
    expected = torch.cat([whole[i, rows] for i, rows in groups(sizes)])
    torch.testing.assert_close(decoders.forward_groups(z, sizes), expected)


def groups(sizes):
    """Return pairs of a leaf and the indices of its rows."""
    return list(enumerate(torch.arange(sum(sizes)).split(sizes)))


def test_gradients_reach_the_loadings_of_sparse_batches(generator):
    model = make_model(Topology.stump())
    x = make_data(6, generator)
    encoding = model.encode(x)
    routing = model.route(encoding.embeddings)
    model.sparse_elbo(encoding, routing, x, 2, generator).elbo().sum().backward()
    assert model.top_down.decoders.loadings.grad.flatten(1).any(1).all()
