import numpy as np
import pytest

from sktreevae.estimator.parameters import ImageShape, check_images
from sktreevae.exceptions import InvalidParameterError


@pytest.mark.parametrize(
    "value",
    [(8, 8), [8, 9], (28, 28, 3), (np.int64(8), 8, 1), (1, 28, 28), (3, 64, 8)],
)
def test_image_shapes_are_accepted(value):
    assert ImageShape().accepts(value)


@pytest.mark.parametrize(
    "value",
    [8, "88", (8,), (8, 7), (3, 8), (8, 8, 0), (0, 8, 8), (3, 7, 8), (28, 7, 3)]
    + [(8.0, 8), (True, 8, 8), (8,) * 4],
)
def test_invalid_image_shapes_are_refused(value):
    assert not ImageShape().accepts(value)


def test_image_shapes_are_described():
    assert str(ImageShape()) == (
        "a tuple of 2 or 3 ints, two of them sides >= 8, the third, if any, the number "
        "of channels, first or last"
    )


@pytest.mark.parametrize(
    "parameters",
    [
        ("auto", "auto", None, None, 7),
        (len, "mlp", "neighbors", None, 7),
        ("cnn", "resnet", "image", (8, 8), 64),
        ("mlp", len, len, (3, 8, 8), 192),
        ("auto", "auto", "image", (8, 8, 3), 192),
        ("auto", "auto", None, (8, 8, 5), 320),
    ],
)
def test_consistent_parameters_for_images_are_accepted(parameters):
    check_images(*parameters)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (("cnn", "mlp", None, None, 64), "encoder='cnn' needs an image_shape, got"),
        (("mlp", "resnet", None, None, 64), "decoder='resnet' needs an image_shape"),
        (("mlp", "mlp", "image", None, 64), "views='image' needs an image_shape"),
        (("mlp", "mlp", "image", (8, 8, 5), 320), "needs images of 1 or 3 channels"),
        (("mlp", "mlp", None, (8, 9), 64), r"\(8, 9\) means 72 features, but X has 64"),
    ],
)
def test_inconsistent_parameters_for_images_are_refused(parameters, message):
    with pytest.raises(InvalidParameterError, match=message):
        check_images(*parameters)
