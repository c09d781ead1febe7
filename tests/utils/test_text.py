import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.utils.text import format_number


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (-0.0, 0.0, "0"),
        (0.0, 1.0, "0"),
        (1e-9, 0.0, "1e-09"),
        (math.nan, 0.0, "nan"),
        (2008.04, 0.81, "2008.04"),
        (-0.0001, 1.0, "0"),
        (5.0, math.nan, "5"),
    ],
)
def test_numbers_are_those_that_a_person_writes(value, spread, text):
    assert format_number(value, spread) == text


@given(st.floats(-1e5, 1e5), st.floats(0.01, 1e3))
def test_numbers_are_rounded_to_the_second_digit_of_the_spread(value, spread):
    assert abs(
        float(format_number(value, spread)) - value
    ) <= 0.0501 * 10 ** math.floor(math.log10(spread))


@given(st.floats(-1e100, 1e100))
def test_numbers_have_three_digits_and_few_characters(value):
    text = format_number(value)
    assert len(text) <= 11
    assert float(text) == pytest.approx(value, rel=6e-3)
