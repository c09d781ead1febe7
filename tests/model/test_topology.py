import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage

from sktreevae.model.topology import Restructuring, Topology

from .strategies import topologies


@given(topologies())
def test_levels_partition_the_nodes(tree):
    assert [i for level in tree.levels for i in level] == list(range(tree.n_nodes))
    for depth, level in enumerate(tree.levels):
        assert all(len(tree.path(node)) == depth + 1 for node in level)


@given(topologies())
def test_leaves_are_ordered_from_left_to_right(tree):
    assert sorted(tree.leaves) == [i for i, c in enumerate(tree.children) if not c]
    # As the directions on the path from the root, 0 for left and 1 for right.
    directions = [
        [tree.children[tree.parent[node]].index(node) for node in tree.path(leaf)[1:]]
        for leaf in tree.leaves
    ]
    assert directions == sorted(directions)


@given(topologies(), st.data())
def test_a_split_leaf_is_replaced_by_its_children(tree, data):
    leaf = data.draw(st.integers(0, len(tree.leaves) - 1))
    change = tree.split_leaf(leaf)
    sources = [change.source[node] for node in change.topology.leaves]
    before, after = tree.leaves[:leaf], tree.leaves[leaf + 1 :]
    assert sources == [*before, -1, -1, *after]
    new = [i for i, source in enumerate(change.source) if source == -1]
    (parent,) = {change.topology.parent[i] for i in new}
    assert change.source[parent] == tree.leaves[leaf]
    _check_parents_are_kept(tree, change)


@given(topologies(), st.data())
def test_a_pruned_leaf_leaves_the_order_of_the_others(tree, data):
    if len(tree.leaves) == 1:
        return
    leaf = data.draw(st.integers(0, len(tree.leaves) - 1))
    change = tree.prune(leaf)
    sources = [change.source[node] for node in change.topology.leaves]
    assert sources == [*tree.leaves[:leaf], *tree.leaves[leaf + 1 :]]
    _check_parents_are_kept(tree, change)


@given(topologies(), st.data())
def test_what_has_become_childless_is_pruned_too(tree, data):
    if len(tree.leaves) == 1:
        return
    change = tree.split_leaf(data.draw(st.integers(0, len(tree.leaves) - 1)))
    first, second = (i for i, source in enumerate(change.source) if source == -1)
    once = change.topology.prune(change.topology.leaves.index(first))
    assert once.topology.n_nodes == tree.n_nodes + 1
    remaining = once.topology.leaves.index(once.source.index(second))
    twice = once.topology.prune(remaining).topology
    assert len(twice.leaves) == len(tree.leaves) - 1


def _check_parents_are_kept(old, change):
    for node, source in enumerate(change.source[1:], start=1):
        if source != -1:
            parent = change.source[change.topology.parent[node]]
            assert old.parent[source] == parent


def test_the_last_leaf_stays():
    with pytest.raises(ValueError, match="last leaf"):
        Topology.single_leaf().prune(0)


@pytest.mark.parametrize("leaf", [-1, 2])
@pytest.mark.parametrize("change", ["split_leaf", "prune"])
def test_only_leaves_can_be_changed(change, leaf):
    with pytest.raises(ValueError, match=f"one of the 2 leaves, 0 to 1; got {leaf}"):
        getattr(Topology.stump(), change)(leaf)


@pytest.mark.parametrize(
    "parent", [(), (0,), (-1, 0, 0, 0), (-1, 1), (-1, 0, 0, 2, 1), (-1, -1)]
)
def test_invalid_parents_are_refused(parent):
    with pytest.raises(ValueError, match="parent must list a binary tree"):
        Topology(parent)


@given(st.integers(2, 12), st.integers(0, 99))
def test_merges_are_the_tree_bottom_up(n_leaves, seed):
    rng = np.random.default_rng(seed)
    merges = linkage(rng.standard_normal((n_leaves, 2)))[:, :2].astype(int).tolist()
    change = Topology.from_merges(merges)
    tree = change.topology
    below = {leaf: {change.source[leaf]} for leaf in tree.leaves}
    assert sorted(change.source[leaf] for leaf in tree.leaves) == list(range(n_leaves))
    for node in reversed(tree.splits):
        below[node] = set.union(*(below[child] for child in tree.children[node]))
    expected = [{i} for i in range(n_leaves)]
    for left, right in merges:
        expected.append(expected[left] | expected[right])
    assert sorted(map(sorted, below.values())) == sorted(map(sorted, expected))


def test_no_merges_are_a_single_leaf():
    assert Topology.from_merges([]) == Restructuring(Topology.single_leaf(), (0,))
