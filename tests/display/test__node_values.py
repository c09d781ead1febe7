"""Values of the nodes of a tree, from the samples below them."""

import numpy as np
import pytest
import torch

from sktreevae.display._node_values import as_images, choose_image_shape
from sktreevae.model import ImageLayout

SHAPES = [
    *((channels, *sides) for channels in (1, 3, 4) for sides in ((8, 9), (9, 8))),
    *((*sides, channels) for channels in (1, 3, 4) for sides in ((8, 9), (9, 8))),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_images_are_those_of_the_model(shape):
    layout = ImageLayout.from_shape(shape)
    rows = np.random.default_rng(0).normal(size=(2, layout.n_features))
    expected = layout.images(torch.as_tensor(rows)).permute(0, 2, 3, 1).numpy()
    actual = as_images(rows, shape)
    np.testing.assert_array_equal(actual.reshape(expected.shape), expected)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 4, 3), (4, 4, 3)),
        ((3, 4, 4), (4, 4, 3)),
        ((4, 4, 4), (4, 4, 4)),
        ((6, 6, 1), (6, 6)),
        ((1, 6, 6), (6, 6)),
        ((2, 6, 3), (2, 6, 3)),
        ((1, 5), (1, 5)),
    ],
)
def test_small_images_have_their_channels_on_the_shorter_axis(shape, expected):
    rows = np.zeros((2, np.prod(shape)))
    assert as_images(rows, shape).shape == (2, *expected)


def test_the_first_shape_is_chosen():
    assert choose_image_shape((8, 8), (4, 16)) == (8, 8)
    assert choose_image_shape(None, None, (4, 16), (2, 32)) == (4, 16)
    assert choose_image_shape(None, None) is None
    assert choose_image_shape(None, (8, 8, 2)) is None
    with pytest.raises(ValueError, match=r"with 1, 3 or 4 channels .* \(8, 8, 2\)"):
        choose_image_shape((8, 8, 2), (8, 8))
