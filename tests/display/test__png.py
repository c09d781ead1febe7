import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sktreevae.display._png import encode_png, image_uris


def decode(png):
    """Return the pixels of a PNG file, read by another library."""
    return np.rint(255 * plt.imread(io.BytesIO(png), format="png")).astype(np.uint8)


def decode_uri(uri):
    return decode(base64.b64decode(uri.removeprefix("data:image/png;base64,")))


@pytest.mark.parametrize("n_channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (28, 28), (64, 3)])
def test_other_libraries_read_the_same_pixels(rng, size, n_channels):
    pixels = rng.integers(0, 256, (*size, n_channels), dtype=np.uint8)
    decoded = decode(encode_png(pixels))
    assert np.array_equal(decoded.reshape(pixels.shape), pixels)


def test_smooth_images_are_compressed():
    pixels = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)[..., None]
    assert len(encode_png(pixels)) < 500


def test_all_images_have_the_same_scale():
    images = np.array([0.0, 5.0, 10.0]).reshape(3, 1, 1, 1) * np.ones((3, 2, 2, 1))
    levels = [decode_uri(uri).max() for uri in image_uris(images, (0.0, 10.0))]
    assert levels == [0, 128, 255]


def test_constant_images_have_a_picture():
    (uri,) = image_uris(np.full((1, 2, 2, 1), 3.0), (3.0, 3.0))
    assert (decode_uri(uri) == 0).all()


def test_an_image_with_nan_is_empty():
    images = np.zeros((2, 4, 4, 1))
    images[0, 0, 0] = np.nan
    empty, full = image_uris(images, (0.0, 1.0))
    assert empty == ""
    assert full


@pytest.mark.parametrize("size", [(128, 96), (130, 67), (218, 178)])
def test_large_images_are_averages_of_blocks(rng, size):
    image = rng.random((1, *size, 3))
    (uri,) = image_uris(image, (0.0, 1.0))
    small = decode_uri(uri)
    factor = -(-max(size) // 64)
    assert small.shape[:2] == (-(-size[0] // factor), -(-size[1] // factor))
    block = image[0, :factor, :factor].mean(axis=(0, 1))
    np.testing.assert_allclose(small[0, 0] / 255, block, atol=1 / 255)


def test_many_images_have_a_limited_size(rng):
    images = rng.random((150, 64, 64, 3))
    assert sum(map(len, image_uris(images, (0.0, 1.0)))) <= 1_500_000
