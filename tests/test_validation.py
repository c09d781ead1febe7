from numbers import Integral, Real

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from sktreevae.validation import (
    Boolean,
    Function,
    ImageShape,
    Instance,
    InvalidParameterError,
    Number,
    Options,
    check_parameters,
)


@pytest.mark.parametrize(
    ("allowed", "good", "bad"),
    [
        (Number(Integral, 1), [1, np.int64(7)], [0, 1.0, True, None, np.True_]),
        (Number(Real, 0, 1), [0, 0.5], [1, -0.1, np.nan, "0"]),
        (Number(Real, 0, 1, closed="both"), [0, 1], [1.1]),
        (Number(Real, 0, 1, closed="neither"), [0.5], [0, 1]),
        (Options(("a", None)), ["a", None], ["b", 0, [], np.zeros(2)]),
        (Boolean(), [True, np.False_], [0, None]),
        (Instance(str), ["a"], [None, 1]),
        (Function(), [len, dict, lambda: 0], [None, "len", 1]),
    ],
)
def test_values_are_accepted_or_not(allowed, good, bad):
    assert all(allowed.accepts(value) for value in good)
    assert not any(allowed.accepts(value) for value in bad)


class Example(BaseEstimator):
    def __init__(self, size=1):
        self.size = size


def test_the_message_names_parameter_value_and_what_is_allowed():
    allowed = {"size": [Number(Integral, 1), Options(("auto", None))]}
    check_parameters(Example("auto"), allowed)
    with pytest.raises(InvalidParameterError) as info:
        check_parameters(Example(0.5), allowed)
    assert str(info.value) == (
        "The 'size' parameter of Example must be an int in the range [1, inf) or one "
        "of 'auto', None. Got 0.5 instead."
    )


@pytest.mark.parametrize(
    ("allowed", "text"),
    [
        (Number(Real, 0, 1, closed="neither"), "a float in the range (0, 1)"),
        (Number(Real, 0, 1, closed="both"), "a float in the range [0, 1]"),
        (Boolean(), "a bool"),
        (Instance(np.ndarray), "an instance of numpy.ndarray"),
        (Function(), "a callable"),
    ],
)
def test_what_is_allowed_is_described(allowed, text):
    assert str(allowed) == text


@pytest.mark.parametrize(
    "value",
    [(8, 8), [8, 9], (28, 28, 3), (np.int64(8), 8, 1), (1, 28, 28), (3, 64, 8)],
)
def test_shapes_of_images(value):
    assert ImageShape().accepts(value)


@pytest.mark.parametrize(
    "value",
    [8, "88", (8,), (8, 7), (3, 8), (8, 8, 0), (0, 8, 8), (3, 7, 8), (28, 7, 3)]
    + [(8.0, 8), (True, 8, 8), (8,) * 4],
)
def test_what_is_no_shape_of_images(value):
    assert not ImageShape().accepts(value)


def test_shapes_of_images_are_described():
    assert str(ImageShape()) == (
        "a tuple of 2 or 3 ints, two of them sides >= 8, the third, if any, the number "
        "of channels, first or last"
    )
