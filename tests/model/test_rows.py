import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.model.rows import add_rows, dot_rows, linear_rows

indices = st.lists(st.integers(0, 3), max_size=8)


def make_rows(n_rows, *, seed=0):
    """Return a table of 4 rows and some data, of 5 features."""
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    return torch.randn(4, 1, 5, **options), torch.randn(n_rows, 5, **options)


@given(indices, st.floats(-2, 2))
def test_sums_and_products_are_those_of_a_gather(index, alpha):
    table, x = make_rows(len(index))
    index = torch.tensor(index, dtype=torch.long)
    rows = table[index, 0]
    added = add_rows(table, x, index, alpha=alpha)
    torch.testing.assert_close(added, rows + alpha * x)
    torch.testing.assert_close(dot_rows(table, x, index), (rows * x).sum(1))
    # The rows as diagonal matrices.
    linear = linear_rows(table.squeeze(1).diag_embed(), x, index)
    torch.testing.assert_close(linear, rows * x)


@pytest.mark.parametrize("operation", [add_rows, dot_rows])
def test_automatic_casts_change_nothing(operation):
    table, x = (values.float() for values in make_rows(4))
    for arguments in (
        (table, x, torch.tensor([0, 3, 3, 1])),
        (table, x.expand(4, -1, -1)),
    ):
        expected = operation(*arguments)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(operation(*arguments), expected)
