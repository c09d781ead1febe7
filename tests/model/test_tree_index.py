import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.model.tree_index import TreeIndex

from .strategies import topologies


def by_level(tree, values):
    """Split values of all nodes into those of each level."""
    return list(values.split([len(level) for level in tree.levels]))


@given(topologies())
def test_sizes_are_those_of_the_levels(tree):
    index = TreeIndex(tree)
    assert index.level_sizes == [len(level) for level in tree.levels]
    for depth, level in enumerate(tree.levels):
        splits = [level[position] for position in index.splits(depth)]
        assert splits == [node for node in level if node in tree.splits]
        assert index.split_sizes[depth] == len(splits)


@given(topologies())
def test_values_are_passed_from_parents_to_children(tree):
    index = TreeIndex(tree)
    nodes = by_level(tree, torch.arange(tree.n_nodes))
    for depth in range(1, tree.depth + 1):
        expected = [tree.parent[node] for node in tree.levels[depth]]
        assert index.pass_down(nodes[depth - 1], depth).tolist() == expected
    assert index.parent.tolist() == [0, *tree.parent[1:]]


@given(topologies())
def test_leaves_are_selected_in_their_order(tree):
    index = TreeIndex(tree)
    nodes = by_level(tree, torch.arange(tree.n_nodes))
    assert tuple(index.at_leaves(nodes).tolist()) == tree.leaves


@given(topologies())
def test_ancestry_marks_the_paths(tree):
    ancestry = TreeIndex(tree).ancestry
    for position, leaf in enumerate(tree.leaves):
        path = ancestry[:, position].nonzero().flatten()
        assert tuple(path.tolist()) == tree.path(leaf)
    assert ancestry.unique().tolist() in ([1.0], [0.0, 1.0])


@given(topologies(), st.integers(0, 99))
def test_children_share_the_probability_of_their_parent(tree, seed):
    index = TreeIndex(tree)
    generator = torch.Generator().manual_seed(seed)
    for depth in range(tree.depth):
        logit = torch.randn(index.split_sizes[depth], 3, generator=generator)
        proba = index.child_log_probs(logit, depth).exp()
        splits = [node for node in tree.levels[depth] if node in tree.splits]
        for node, row in zip(tree.levels[depth + 1], proba, strict=True):
            parent = tree.parent[node]
            expected = torch.ones(3)
            if parent in splits:
                left = logit[splits.index(parent)].sigmoid()
                is_left = node == tree.children[parent][0]
                expected = left if is_left else 1.0 - left
            torch.testing.assert_close(row, expected)


@given(topologies(), st.integers(0, 99))
def test_path_log_probs_are_sums_over_the_path(tree, seed):
    index = TreeIndex(tree)
    generator = torch.Generator().manual_seed(seed)
    logits = [
        torch.randn(n, 3, generator=generator) for n in index.split_sizes[: tree.depth]
    ]
    root = torch.randn(3, generator=generator)
    expected = [root[None]]
    for depth, logit in enumerate(logits):
        above = index.pass_down(expected[-1], depth + 1)
        expected.append(above + index.child_log_probs(logit, depth))
    log_proba = index.path_log_probs(torch.cat([*logits, root.new_zeros(0, 3)]), root)
    torch.testing.assert_close(log_proba, torch.cat(expected))
