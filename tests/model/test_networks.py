import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sktreevae.model import ImageLayout
from sktreevae.model.networks import BottomUp, ConvEncoder, ConvReadout


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def both(layout, *, residual=False, seed=0):
    """Return a small encoder and a small read-out."""
    encoder = ConvEncoder(layout, 6, residual=residual, generator=seeded(seed))
    readout = ConvReadout(layout, 3, residual=residual, generator=seeded(seed))
    return encoder, readout


layouts = st.builds(
    ImageLayout,
    st.integers(16, 64),
    st.integers(16, 64),
    st.sampled_from([1, 3]),
    st.booleans(),
)


@given(layouts, st.booleans())
@settings(max_examples=25)
@torch.no_grad()
def test_images_of_any_sides_are_encoded_and_decoded(layout, residual):
    encoder, readout = both(layout, residual=residual)
    x = torch.randn(2, layout.n_features, generator=seeded())
    code = encoder(x)
    assert code.shape == (2, 6)
    assert not torch.allclose(code[0], code[1])
    output = readout(code[:, :3])
    assert output.shape == (2, layout.n_features)
    assert output.isfinite().all()
    # Of every pixel, borders included.
    assert (output[0] != output[1]).float().mean() > 0.99


@torch.no_grad()
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_units_of_the_features_do_not_change_the_embeddings(scale):
    features = torch.randn(50, 5, generator=seeded())
    embeddings = []
    for unit in (1.0, scale):
        bottom_up = BottomUp(
            5, hidden_dim=4, perceptron_depth=2, depth=2, generator=seeded()
        )
        bottom_up.standardize(7.0 + unit * features)
        embeddings.append(torch.stack(bottom_up(7.0 + unit * features)))
    torch.testing.assert_close(*embeddings, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("distance", [0.0, 10.0, 1000.0])
def test_the_width_is_that_of_the_clusters(distance):
    cluster = torch.arange(1000) % 2
    features = torch.randn(1000, 5, generator=seeded())
    features[:, 0] += distance * cluster
    bottom_up = BottomUp(
        5, hidden_dim=4, perceptron_depth=2, depth=2, generator=seeded()
    )
    bottom_up.standardize(features, cluster)
    assert bottom_up.width == pytest.approx(3.0, rel=0.1)


def test_each_layer_of_the_perceptron_is_half_as_wide_as_the_one_before():
    bottom_up = BottomUp(
        5, hidden_dim=4, perceptron_depth=3, depth=2, generator=seeded()
    )
    assert bottom_up.perceptron.widths == (10, 16, 8, 4)


def test_equal_features_have_finite_embeddings():
    bottom_up = BottomUp(
        5, hidden_dim=4, perceptron_depth=2, depth=2, generator=seeded()
    )
    bottom_up.standardize(torch.ones(3, 5))
    assert all(d.isfinite().all() for d in bottom_up(torch.ones(3, 5)))
