import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.tree.arrays import layer_tree, leaves_below, salient_cuts

from .test_dendrogram import dendrograms


def cuts(heights, unsupported=()):
    is_supported = np.ones(len(heights), dtype=bool)
    is_supported[list(unsupported)] = False
    return salient_cuts(np.array(heights, dtype=float), is_supported).tolist()


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([9.0], [2]),
        ([9, 6, 6, 3, 3, 3, 3], [2, 4, 8]),
        ([9, 8, 8, 8, 1, 0.9, 0.8], [2, 5, 8]),
        ([], []),
        ([2, 2, 2], [4]),
    ],
)
def test_persistent_cuts_stand_out(heights, expected):
    assert cuts(heights) == expected


def test_a_cut_is_compared_with_cuts_of_similar_size_only():
    # The range of the cut into 20 clusters is small, but the largest around it.
    heights = [10, 5, *[1.0] * 17, 0.5, *[0.4] * 10]
    heights[18] = 0.9
    assert 2 in cuts(heights)
    assert 20 in cuts(heights)


def test_splits_without_support_end_no_level():
    assert cuts([9, 6, 5.9, 1], unsupported=[3]) == [2, 4]
    assert cuts([9, 8, 1], unsupported=[1, 2]) == [2]
    assert cuts([9, 8, 1], unsupported=[0, 1, 2]) == []


@given(st.lists(st.floats(0, 10), max_size=12), st.floats(0.1, 10))
def test_levels_do_not_depend_on_the_unit_of_the_heights(heights, unit):
    heights = np.sort(np.round(heights, 3))[::-1]
    assert cuts(heights) == cuts(heights * 2.0 ** round(unit))


@given(dendrograms())
def test_leaves_are_below_their_ancestors(tree):
    below = leaves_below(tree.parent, tree.leaves)
    for leaf, node in enumerate(tree.leaves.tolist()):
        ancestors = [node]
        while ancestors[-1] > 0:
            ancestors.append(int(tree.parent[ancestors[-1]]))
        assert sorted(ancestors) == np.flatnonzero(below[:, leaf]).tolist()


@given(dendrograms())
def test_a_layer_tree_has_every_cluster_once(tree):
    layers = [tree.cut(k) for k in range(tree.n_leaves, 1, -1)] or [tree.cut(1)]
    result = layer_tree(layers)
    children = [child for below in result.values() for child in below]
    expected = [(i, c) for i, layer in enumerate(layers) for c in np.unique(layer)]
    assert sorted(children) == sorted(expected)
    assert (len(layers), 0) in result


@given(dendrograms())
def test_children_of_a_layer_tree_are_subsets(tree):
    layers = [tree.cut(k) for k in range(tree.n_leaves, 1, -1)] or [tree.cut(1)]
    layers.append(np.zeros_like(layers[0]))
    for (layer, cluster), children in layer_tree(layers[:-1]).items():
        members = set(np.flatnonzero(layers[layer] == cluster))
        below = [set(np.flatnonzero(layers[i] == c)) for i, c in children]
        assert set().union(*below) == members
        assert sum(map(len, below)) == len(members)
