import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.data import DataSummary
from sktreevae.data.outliers import FeatureBounds
from sktreevae.utils.chunks import MAX_CHUNK_ROWS


def find(X):
    bounds = FeatureBounds.from_matrix(X, np.random.default_rng(0))
    return DataSummary.from_matrix(X, bounds=bounds).binary


def one_hot(rng, n_rows, n_values):
    return np.eye(n_values)[rng.permutation(np.arange(n_rows) % n_values)]


def test_columns_of_two_values_are_found(rng):
    binary = rng.permutation(np.arange(60) % 2)
    X = np.column_stack([rng.standard_normal(60), 3.0 - 5.0 * binary, np.ones(60)])
    columns = find(X)
    assert columns.groups == ((1,),)
    assert columns.index.tolist() == [1]
    assert (columns.low[0], columns.high[0]) == (-2.0, 3.0)


@pytest.mark.parametrize(("n_high", "is_found"), [(9, False), (10, True), (51, False)])
def test_either_value_needs_ten_rows(n_high, is_found, rng):
    X = np.column_stack([rng.standard_normal(60), np.arange(60) < n_high])
    assert bool(find(X).groups) == is_found


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5), seed=st.integers(0, 99)
)
def test_encodings_are_found(sizes, seed):
    rng = np.random.default_rng(seed)
    blocks, expected, start = [], [], 0
    for size in sizes:
        if size == 1:
            blocks.append(rng.permutation(np.arange(200) % 2)[:, None])
        else:
            blocks.append(one_hot(rng, 200, size))
        # A real column between keeps neighboring columns from being an encoding.
        blocks.append(rng.standard_normal((200, 1)))
        expected.append(tuple(range(start, start + size)))
        start += size + 1
    assert find(np.hstack(blocks)).groups == tuple(expected)


RARE = np.eye(4)[np.minimum(np.arange(60) % 20, 3)]
RARE[0] = [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        # Side by side.
        (
            lambda rng: [one_hot(rng, 60, 3), one_hot(rng, 60, 4)],
            ((0, 1, 2), (3, 4, 5, 6)),
        ),
        # A rare category belongs to its encoding.
        (lambda rng: [RARE], ((0, 1, 2, 3),)),
        # Without a category, columns are single.
        (lambda rng: [one_hot(rng, 60, 4)[:, 1:]], ((0,), (1,), (2,))),
    ],
)
def test_groups_of_columns_are_encodings(make, expected, rng):
    assert find(np.hstack([*make(rng), 9 * rng.random((60, 1))])).groups == expected


def test_values_beyond_the_bounds_are_ignored(rng):
    X = np.column_stack([rng.standard_normal(60), rng.permutation(np.arange(60) % 2)])
    X[7, 1] = 1e6
    columns = find(X)
    assert columns.groups == ((1,),)
    assert columns.high[0] == 1.0


@pytest.mark.parametrize("row", [0, MAX_CHUNK_ROWS])
def test_all_rows_count(row, rng):
    n = MAX_CHUNK_ROWS + 1
    X = np.column_stack([rng.standard_normal(n), np.arange(n) % 2])
    assert find(X).groups == ((1,),)
    X[row, 1] = 0.5
    assert find(X).groups == ()


@pytest.mark.parametrize("row", [0, MAX_CHUNK_ROWS])
def test_one_row_with_two_categories_is_no_encoding(row, rng):
    X = one_hot(rng, MAX_CHUNK_ROWS + 1, 3)
    assert find(X).groups == ((0, 1, 2),)
    X[row] = 1, 1, 0
    assert find(X).groups == ((0,), (1,), (2,))
