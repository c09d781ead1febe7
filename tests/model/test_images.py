import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.model import MIN_SIDE, ImageLayout

sides = st.integers(MIN_SIDE, 20)


@st.composite
def layouts(draw):
    channels, first = draw(st.integers(1, MIN_SIDE - 1)), draw(st.booleans())
    return ImageLayout(draw(sides), draw(sides), channels, first)


@given(layouts(), st.integers(0, 4))
def test_rows_and_images_are_inverse(layout, n):
    rows = torch.arange(n * layout.n_features).view(n, layout.n_features)
    images = layout.images(rows)
    assert images.shape == (n, layout.channels, layout.height, layout.width)
    assert torch.equal(layout.rows(images), rows)


@given(layouts())
def test_pixels_are_where_numpy_has_them(layout):
    h, w, c = layout.height, layout.width, layout.channels
    images = np.arange(2 * h * w * c).reshape(
        (2, c, h, w) if layout.channels_first else (2, h, w, c)
    )
    expected = images if layout.channels_first else images.transpose(0, 3, 1, 2)
    actual = layout.images(torch.from_numpy(images.reshape(2, -1)))
    assert np.array_equal(actual, expected)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((28, 20), ImageLayout(28, 20)),
        ([28, 20], ImageLayout(28, 20)),
        ((28, 20, 1), ImageLayout(28, 20)),
        ((1, 28, 20), ImageLayout(28, 20, channels_first=True)),
        ((32, 24, 3), ImageLayout(32, 24, 3)),
        ((3, 32, 24), ImageLayout(32, 24, 3, channels_first=True)),
        ((8, 8, 16), ImageLayout(8, 8, 16)),
    ],
)
def test_shapes_are_read_with_channels_first_or_last(shape, expected):
    assert ImageLayout.from_shape(shape) == expected
