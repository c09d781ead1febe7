from numbers import Integral, Real

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from sktreevae.exceptions import InvalidParameterError
from sktreevae.utils.validation import (
    BOOLEAN,
    COUNT,
    FUNCTION,
    Instance,
    Number,
    Options,
    check_argument,
    check_parameters,
)


@pytest.mark.parametrize(
    ("allowed", "good", "bad"),
    [
        (COUNT, [1, np.int64(7)], [0, -1, 1.0, True, None, np.True_, "2"]),
        (Number(Real, 0, 1), [0, 0.5], [1, -0.1, np.nan, "0"]),
        (Number(Real, 0, 1, closed="both"), [0, 1], [1.1]),
        (Number(Real, 0, 1, closed="neither"), [0.5], [0, 1]),
        (Options(("a", None)), ["a", None], ["b", 0, [], np.zeros(2)]),
        (BOOLEAN, [True, np.False_], [0, None]),
        (Instance(str), ["a"], [None, 1]),
        (FUNCTION, [len, dict, lambda: 0], [None, "len", 1]),
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
        (BOOLEAN, "a bool"),
        (Instance(np.ndarray), "an instance of numpy.ndarray"),
        (FUNCTION, "a callable"),
    ],
)
def test_allowed_values_are_described(allowed, text):
    assert str(allowed) == text


def test_arguments_are_checked():
    check_argument("n_samples", np.int64(1), COUNT)
    match = r"n_samples must be an int in the range \[1, inf\), got 1.0."
    with pytest.raises(InvalidParameterError, match=match):
        check_argument("n_samples", 1.0, COUNT)
