import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.model import FeatureMap
from sktreevae.model.feature_map import KINDS, OrientedGradients

SHAPES = [(8, 8), (28, 28), (9, 15), (32, 32, 3), (128, 128), (128, 64, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_any_shape(shape, generator):
    gradients = OrientedGradients(shape)
    x = torch.rand(3, math.prod(shape), generator=generator)
    features = gradients(x)
    assert features.shape == (3, gradients.n_outputs)
    assert (features >= 0).all()
    assert features.isfinite().all()


@pytest.mark.parametrize("angle", [0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0])
def test_signed_orientations_tell_opposite_directions_apart(angle):
    radians = math.radians(angle)
    row, column = np.mgrid[:24, :24]
    ramp = column * math.cos(radians) + row * math.sin(radians)
    x = torch.tensor(ramp.reshape(1, -1), dtype=torch.float32)
    gradients = OrientedGradients((24, 24), is_signed=True)
    histogram = gradients(x).view(gradients.n_bins, -1).square().sum(1)
    assert histogram.argmax() == round(angle / 180 * 8)
    # The others are opposite at most.
    unsigned = OrientedGradients((24, 24))(x)
    folded = gradients(x).square().view(2, 8, -1).sum(0).sqrt().view(1, -1)
    torch.testing.assert_close(folded, unsigned, atol=1e-4, rtol=1e-4)


def test_flat_images_have_no_gradients():
    assert not OrientedGradients((8, 8))(torch.full((2, 64), 0.7)).any()


@given(st.floats(0.1, 10.0), st.floats(-5.0, 5.0), st.integers(0, 99))
def test_gradients_ignore_brightness_and_scale_with_contrast(scale, shift, seed):
    x = torch.rand(2, 100, generator=torch.Generator().manual_seed(seed))
    gradients = OrientedGradients((10, 10))
    actual = gradients(scale * x + shift)
    torch.testing.assert_close(actual, scale**0.5 * gradients(x), rtol=1e-3, atol=1e-3)


def test_colors_count_by_their_largest_gradient(generator):
    gray = torch.rand(2, 64, generator=generator)
    color = torch.stack([0.1 * gray, gray, 0.5 * gray], dim=2).flatten(1)
    expected = OrientedGradients((8, 8))(gray)
    torch.testing.assert_close(OrientedGradients((8, 8, 3))(color), expected)


def test_a_new_map_is_the_identity(generator):
    x = torch.rand(4, 6, generator=generator)
    assert torch.equal(FeatureMap(6)(x), x)


def test_text_has_weighted_roots_of_unit_length_whatever_the_length(generator):
    weight = torch.rand(20, generator=generator)
    feature_map = FeatureMap(20, 5, "text").set_buffers(weight=weight)
    feature_map.projection.normal_(generator=generator)
    x = torch.rand(4, 20, generator=generator)
    roots = weight * x.sqrt()
    expected = roots / roots.norm(dim=1, keepdim=True)
    torch.testing.assert_close(feature_map.raw(x), expected)
    features = feature_map(x)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(feature_map(9 * x), features)


def test_directions_have_the_distances_of_cosines(generator):
    x = torch.randn(6, 20, generator=generator)
    features = FeatureMap(20, kind="directions")(x)
    cosine = torch.nn.functional.cosine_similarity(x[:, None], x, dim=2)
    square = torch.cdist(features, features).square()
    torch.testing.assert_close(square, 2 - 2 * cosine, atol=1e-4, rtol=1e-4)
    assert torch.equal(FeatureMap(20, kind="directions")(4 * x), features)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_pixels_of_color_images_are_features(n_channels, generator):
    x = torch.rand(2, 64 * n_channels, generator=generator)
    feature_map = FeatureMap(x.shape[1], kind="image", image_shape=(8, 8, n_channels))
    raw = feature_map.raw(x)
    gradients = feature_map.raw_features.gradients(x)
    expected = gradients if n_channels == 1 else torch.hstack([gradients, x])
    assert torch.equal(raw, expected)
    torch.testing.assert_close(feature_map(x), raw / raw.norm(dim=1, keepdim=True))


def test_log_shares_do_not_depend_on_the_total(generator):
    feature_map = FeatureMap(20, kind="log_shares").set_buffers(depth=100.0)
    x = 1 + torch.rand(4, 20, generator=generator)
    one, nine = feature_map(x), feature_map(9 * x)
    torch.testing.assert_close(one[:, :-1], nine[:, :-1])
    torch.testing.assert_close(one[:, :-1].expm1().sum(1), torch.full((4,), 100.0))
    torch.testing.assert_close(nine[:, -1], (9 * x.sum(1)).log1p())


@pytest.mark.parametrize("kind", ["text", "roots", "log_shares"])
def test_features_of_counts_are_finite_for_all_numbers(kind):
    x = torch.tensor([[0.0, 0.0], [1e6, 1e7], [-1.0, 3.0]])
    assert FeatureMap(2, kind=kind)(x).isfinite().all()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_map_is_made_again_from_its_config(kind, generator):
    feature_map = FeatureMap(64, 3, kind, tuple(np.array([8, 8])))
    feature_map.projection.normal_(generator=generator)
    copy = FeatureMap(**json.loads(json.dumps(feature_map.config)))
    copy.load_state_dict(feature_map.state_dict())
    assert copy.config == feature_map.config
    x = torch.rand(4, 64, generator=generator)
    assert torch.equal(copy(x), feature_map(x))
