import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from sktreevae.model.products import exact_products

# Widths of 2 to 10 outputs are those for which libraries have kernels of their own.
sizes = st.tuples(st.integers(1, 300), st.integers(1, 40), st.integers(1, 12))
seeds = st.integers(0, 1000)


def make_operands(sizes, seed, scale=1.0):
    """Return matrices whose columns have scales that differ by orders of magnitude."""
    n_rows, n_terms, n_outputs = sizes
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n_rows, n_terms, generator=rng)
    weight = torch.randn(n_terms, n_outputs, generator=rng)
    return x * torch.logspace(-3, 3, n_terms), scale * weight


def product(x, weight):
    with exact_products(x.device):
        return x @ weight


@given(sizes, seeds)
def test_the_order_of_a_sum_does_not_matter(sizes, seed):
    x, weight = make_operands(sizes, seed)
    order = torch.randperm(sizes[1], generator=torch.Generator().manual_seed(seed))
    assert torch.equal(product(x[:, order], weight[order]), product(x, weight))


@given(sizes, seeds)
def test_a_row_does_not_depend_on_the_other_rows(sizes, seed):
    x, weight = make_operands(sizes, seed)
    for row, expected in zip(x.split(1), product(x, weight), strict=True):
        assert torch.equal(product(row, weight)[0], expected)


@given(sizes, seeds, st.sampled_from([1e-15, 1.0, 1e15]))
def test_errors_are_those_of_single_precision(sizes, seed, scale):
    x, weight = make_operands(sizes, seed, scale)
    bound = torch.finfo(torch.float32).eps * x.double().norm(dim=1, keepdim=True)
    error = product(x, weight) - x.double() @ weight.double()
    assert (error.abs() <= 4.0 * bound * weight.double().norm(dim=0)).all()


@pytest.mark.parametrize(
    "function",
    [
        torch.matmul,
        torch.Tensor.matmul,
        torch.mm,
        lambda x, y: torch.bmm(x[None], y[None]),
        lambda x, y: F.linear(x, y.T),
        lambda x, y: F.linear(x, weight=y.T, bias=torch.ones(4)),
        lambda x, y: torch.addmm(torch.ones(4), x, y, alpha=-2.0, beta=3.0),
        lambda x, y: torch.baddbmm(torch.ones(4), x[None], y[None]),
        lambda x, y: torch.matmul(x[:, None, None], y),
        lambda x, y: torch.matmul(x, y[:, 0]),
    ],
)
def test_each_product_is_exact(function):
    x, weight = make_operands((7, 9, 4), 0)
    with exact_products(x.device):
        result = function(x, weight)
        backward = function(x.flip(1), weight.flip(0))
    assert torch.equal(result, backward)
    torch.testing.assert_close(result, function(x, weight), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_values_that_are_not_finite_stay(value):
    x, weight = torch.ones(2, 3), torch.ones(3, 2)
    x[0, 1] = value
    expected = torch.tensor([[value, value], [3.0, 3.0]])
    torch.testing.assert_close(product(x, weight), expected, equal_nan=True)


def test_zeros_have_the_product_zero():
    assert torch.equal(product(torch.zeros(2, 3), torch.ones(3, 1)), torch.zeros(2, 1))


def test_the_context_ends():
    x, weight = make_operands((7, 9, 4), 0)
    expected = x @ weight
    product(x, weight)
    assert torch.equal(x @ weight, expected)


def test_parameters_are_multiplied_like_other_tensors():
    x, weight = make_operands((7, 9, 4), 0)
    products = exact_products(x.device)
    parameter = torch.nn.Parameter(weight.T)
    for _ in range(2):
        with products:
            assert torch.equal(F.linear(x, parameter), F.linear(x, weight.T))
