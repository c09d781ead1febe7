import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.utils.random import draw_rows


@given(st.integers(0, 200), st.integers(1, 50), st.integers(0, 9))
def test_rows_are_sorted_and_different(n_rows, max_rows, seed):
    rows = draw_rows(n_rows, max_rows, np.random.default_rng(seed))
    assert len(rows) == min(n_rows, max_rows)
    assert (np.diff(rows) > 0).all()
    assert np.isin(rows, np.arange(n_rows)).all()


def test_all_rows_are_equally_probable(rng):
    count = sum(np.isin(np.arange(50), draw_rows(50, 10, rng)) for _ in range(5000))
    # The standard deviation of a count is 28.
    assert np.abs(count - 1000).max() < 150


def test_a_torch_generator_determines_the_rows():
    one, two, other = (
        draw_rows(10**6, 100, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_nothing_is_drawn_if_all_rows_are_used(generator):
    state = generator.get_state()
    draw_rows(100, 100, generator)
    assert torch.equal(generator.get_state(), state)
