from hypothesis import given
from hypothesis import strategies as st

from sktreevae.utils.chunks import (
    BLOCK_SIZE,
    MAX_CHUNK_ROWS,
    MAX_CHUNK_VALUES,
    row_slices,
)


@given(st.integers(0, 100_000), st.integers(1, 1 << 20))
def test_slices_cover_all_rows_and_hold_few_values(n_rows, n_columns):
    slices = list(row_slices(n_rows, n_columns))
    assert [s.start for s in slices] == [0, *(s.stop for s in slices[:-1])]
    assert slices[-1].stop == n_rows
    for s in slices:
        n = s.stop - s.start
        assert n <= MAX_CHUNK_ROWS
        assert n <= BLOCK_SIZE or n * n_columns <= MAX_CHUNK_VALUES
