import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from sktreevae.model.noise import row_noise


def rows(n_rows, n_features=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_rows, n_features, generator=generator)


def draw(x, n_draws=4, n_dims=5, seed=0):
    return torch.stack(list(row_noise(x, n_draws, n_dims, seed)))


@given(st.permutations(range(7)), st.integers(1, 7))
def test_noise_depends_on_the_row_only(order, n_rows):
    x = rows(7)
    chosen = torch.tensor(order[:n_rows])
    assert torch.equal(draw(x[chosen]), draw(x)[:, chosen])


def test_seeds_and_rows_have_noise_of_their_own():
    noise = torch.stack([draw(rows(50), 1, 40, seed)[0] for seed in range(20)])
    correlation = torch.corrcoef(noise.flatten(0, 1))
    correlation.fill_diagonal_(0.0)
    assert correlation.abs().max() < 0.85
    assert correlation.std() == pytest.approx(1 / 40**0.5, rel=0.05)


def test_columns_that_change_places_change_the_noise():
    x = rows(1)
    assert not torch.equal(draw(x.flip(1)), draw(x))


def test_both_zeros_are_the_same_value():
    assert torch.equal(draw(torch.zeros(1, 3)), draw(-torch.zeros(1, 3)))


def test_rounding_errors_rarely_change_the_noise():
    x = rows(1000)
    same = (draw(x * (1.0 + 1e-7)) == draw(x)).flatten(2).all(2).all(0)
    assert same.float().mean() > 0.99


@pytest.mark.parametrize("x", [rows(5000), torch.arange(5000.0)[:, None] / 7])
def test_noise_is_standard_normal(x):
    # Of each dimension of each draw.
    p_values = [kstest(z, "norm").pvalue for z in draw(x).transpose(1, 2).flatten(0, 1)]
    assert min(p_values) > 1e-4


def test_draws_of_a_row_are_at_equal_distances():
    uniform = torch.special.ndtr(draw(rows(3), n_draws=8).double()).sort(0).values
    torch.testing.assert_close(
        uniform.diff(dim=0), torch.full((7, 3, 5), 0.125).double()
    )


def test_noise_is_finite():
    noise = draw(rows(2000), n_draws=50, n_dims=40)
    assert noise.abs().max() < 5.5
