import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.data import spread_values
from sktreevae.data.kinds.discrete import MAX_DISTINCT, discrete_steps, discrete_weights


def rows(*columns):
    return np.column_stack(columns).astype(np.float64)


@given(st.integers(2, MAX_DISTINCT), st.integers(0, 99))
def test_the_step_is_the_smallest_difference(n_values, seed):
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.uniform(0.5, 2.0, n_values))
    column = rng.permutation(np.resize(values, 200))
    step = discrete_steps(rows(column, rng.standard_normal(200)))
    assert step.tolist() == [np.diff(values).min(), 0.0]


WIDE = 40 * np.random.default_rng(0).standard_normal(200)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        # A small step is no gap.
        ((np.resize([0, 1], 200), WIDE), [0, 0]),
        ((np.resize([0, 9], 200), WIDE), [9, 0]),
        # Few rows are no layer.
        ((np.repeat([0, 120], [196, 4]), WIDE), [0, 0]),
        ((np.repeat([0, 120], [195, 5]), WIDE), [120, 0]),
        # Too many values.
        ((np.resize(np.arange(MAX_DISTINCT + 1), 5000),), [0]),
    ],
)
def test_steps_are_gaps_between_layers(columns, expected):
    assert discrete_steps(rows(*columns)).tolist() == expected


def test_noise_is_uniform_over_one_step():
    x = torch.stack(
        [torch.tensor([0.0, 2.0]).repeat(2000), torch.linspace(0, 1, 4000)], 1
    )
    noise = (spread_values(x, torch.Generator().manual_seed(0)) - x)[:, 0]
    assert noise.abs().max() <= 1.0
    assert noise.std() == pytest.approx(2 / 12**0.5, rel=0.05)
    assert abs(noise.mean()) < 0.05


def test_different_rows_of_discrete_columns_have_no_noise():
    rng = np.random.default_rng(0)
    binary = rng.integers(0, 2, (300, 40)).astype(np.float64)
    x = torch.from_numpy(binary)
    generator = torch.Generator()
    assert spread_values(x, generator) is x
    # With a real column, values are layers with gaps.
    x = torch.from_numpy(rows(binary, 9 * rng.standard_normal(300)))
    assert (spread_values(x, generator) != x).any()


def test_rows_that_are_repeated_have_no_noise():
    x = torch.tensor([[0.0, 1.0, 5.0], [2.0, 0.0, 5.0]]).repeat(50, 1)
    assert spread_values(x, torch.Generator()) is x


def test_noise_has_no_weight_and_a_copy_of_a_cluster_has_one():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 500)
    x = rng.standard_normal((500, 2)) + 6 * y[:, None]
    weight = discrete_weights(rows(x, rng.integers(0, 2, 500), y))
    assert weight[:2].tolist() == [1.0, 1.0]
    assert weight[2] < 0.2
    assert weight[3] > 0.95


def test_one_hot_columns_do_not_predict_each_other():
    rng = np.random.default_rng(0)
    one_hot = np.eye(3)[rng.integers(0, 3, 500)]
    weight = discrete_weights(rows(rng.standard_normal((500, 2)), one_hot))
    assert weight[2:].max() < 0.2
    # Binary columns that don't exclude each other do.
    x = rows(rng.standard_normal((500, 2)), one_hot[:, :1], 1 - one_hot[:, :1])
    same = rows(rng.standard_normal((500, 2)), one_hot[:, :1], one_hot[:, :1])
    assert discrete_weights(x)[2:].max() < 0.2
    assert discrete_weights(same)[2:].min() > 0.95


def test_weights_do_not_depend_on_the_order_of_columns():
    rng = np.random.default_rng(0)
    x = rows(rng.standard_normal((300, 2)), rng.integers(0, 3, (300, 3)))
    order = [4, 0, 3, 1, 2]
    np.testing.assert_allclose(
        discrete_weights(x[:, order]), discrete_weights(x)[order], atol=1e-9
    )


def test_columns_that_exclude_each_other_keep_their_units():
    x = np.repeat([[0.0, 0.0], [5.0, 0.0], [0.0, 9.0]], 20, axis=0)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(60)
        assert discrete_weights(x[order]).tolist() == [1.0, 1.0]
