import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage

from sktreevae.tree.arrays import leaves_below_merges, salient_cuts


def cuts(heights):
    is_supported = np.ones(len(heights), dtype=bool)
    persistence = -np.diff(np.array(heights, dtype=float), append=0.0)
    return salient_cuts(persistence, is_supported).tolist()


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([9, 6, 6, 3, 3, 3, 3], [2, 4, 8]),
        ([9, 8, 8, 8, 1, 0.9, 0.8], [2, 5, 8]),
        ([2, 2, 2], [4]),
    ],
)
def test_persistent_cuts_stand_out(heights, expected):
    assert cuts(heights) == expected


@given(st.lists(st.floats(0, 10), max_size=12), st.floats(0.1, 10))
def test_levels_do_not_depend_on_the_unit_of_the_heights(heights, unit):
    heights = np.sort(np.round(heights, 3))[::-1]
    assert cuts(heights) == cuts(heights * 2.0 ** round(unit))


@given(st.integers(2, 20), st.integers(0, 99))
def test_leaves_below_a_node_are_those_of_its_branches(n, seed):
    x = np.random.default_rng(seed).standard_normal((n, 2))
    merges = linkage(x)[:, :2].astype(int)
    expected = [{leaf} for leaf in range(n)]
    for left, right in merges:
        expected.append(expected[left] | expected[right])
    is_below = leaves_below_merges(merges)
    assert is_below.shape == (2 * n - 1, n)
    assert [set(np.flatnonzero(row)) for row in is_below] == expected
