import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage

from sktreevae.model.topology import Restructuring, Topology

from .strategies import topologies


@given(topologies())
def test_every_change_gives_a_valid_tree(tree):
    assert Topology(tree.parent) == tree


@given(topologies())
def test_levels_partition_the_nodes(tree):
    assert [i for level in tree.levels for i in level] == list(range(tree.n_nodes))
    for depth, level in enumerate(tree.levels):
        assert all(len(tree.path(node)) == depth + 1 for node in level)


@given(topologies())
def test_leaves_exceed_branchings_by_one(tree):
    assert len(tree.leaves) == len(tree.branchings) + 1


@given(topologies(), st.data())
def test_split_adds_two_children_and_keeps_the_rest(tree, data):
    leaf = data.draw(st.sampled_from(tree.leaves))
    change = tree.split(leaf)
    new = [i for i, source in enumerate(change.source) if source == -1]
    assert len(new) == 2
    (parent,) = {change.topology.parent[i] for i in new}
    assert change.source[parent] == leaf
    _check_parents_are_kept(tree, change)


@given(topologies(), st.data())
def test_prune_undoes_split_but_for_one_child(tree, data):
    change = tree.split(data.draw(st.sampled_from(tree.leaves)))
    first, second = (i for i, source in enumerate(change.source) if source == -1)
    once = change.topology.prune(first)
    assert once.topology.n_nodes == tree.n_nodes + 1
    assert len(once.topology.leaves) == len(tree.leaves)
    _check_parents_are_kept(change.topology, once)
    if len(tree.leaves) > 1:
        remaining = once.source.index(second)
        # What has become childless goes too, so nothing is left of the split.
        assert len(once.topology.prune(remaining).topology.leaves) == (
            len(tree.leaves) - 1
        )


def _check_parents_are_kept(old, change):
    for node, source in enumerate(change.source[1:], start=1):
        if source != -1:
            parent = change.source[change.topology.parent[node]]
            assert old.parent[source] == parent


def test_the_last_leaf_stays():
    with pytest.raises(ValueError, match="last leaf"):
        Topology.single_leaf().prune(0)


@pytest.mark.parametrize("change", ["split", "prune"])
def test_only_leaves_can_be_changed(change):
    tree = Topology((-1, 0, 0))
    with pytest.raises(ValueError, match=r"Node 0 is not a leaf"):
        getattr(tree, change)(0)


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
    for node in reversed(tree.branchings):
        below[node] = set.union(*(below[child] for child in tree.children[node]))
    expected = [{i} for i in range(n_leaves)]
    for left, right in merges:
        expected.append(expected[left] | expected[right])
    assert sorted(map(sorted, below.values())) == sorted(map(sorted, expected))


def test_no_merges_are_a_single_leaf():
    assert Topology.from_merges([]) == Restructuring(Topology.single_leaf(), (0,))
