import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.utils.indexing import sum_by_index

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@given(st.integers(0, 50), st.integers(1, 5), st.integers(0, 9))
def test_sums_are_those_of_each_group(n_values, n_groups, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n_values, 3, generator=generator)
    index = torch.randint(n_groups, (n_values,), generator=generator)
    expected = torch.stack([values[index == group].sum(0) for group in range(n_groups)])
    torch.testing.assert_close(sum_by_index(values, index, n_groups), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_the_gradient_of_a_value_is_that_of_its_group(device):
    values = torch.ones(4, device=device, requires_grad=True)
    index = torch.tensor([2, 0, 2, 2], device=device)
    weight = torch.tensor([1.0, 2.0, 3.0], device=device)
    (weight * sum_by_index(values, index, 3)).sum().backward()
    assert values.grad.tolist() == [3.0, 1.0, 3.0, 3.0]


@pytest.mark.parametrize("device", DEVICES)
def test_the_order_of_the_additions_is_fixed(device):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(100_000, generator=generator).to(device)
    index = torch.randint(7, (100_000,), generator=generator).to(device)
    first = sum_by_index(values, index, 7)
    assert all(torch.equal(first, sum_by_index(values, index, 7)) for _ in range(20))


def test_other_devices_have_the_same_shapes():
    values = torch.ones(4, 2, device="meta")
    index = torch.zeros(4, dtype=torch.long, device="meta")
    assert sum_by_index(values, index, 3).shape == (3, 2)
