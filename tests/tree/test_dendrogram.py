import ast
import html
import re
import sys

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import dendrogram as scipy_dendrogram
from scipy.cluster.hierarchy import fcluster, is_monotonic, is_valid_linkage

from sktreevae import Dendrogram


@st.composite
def dendrograms(draw, max_splits=8, min_splits=0):
    """Return a random tree, with random heights and samples."""
    n_splits = draw(st.integers(min_splits, max_splits))
    split = [0] * bool(n_splits)
    for i in range(1, n_splits):
        split.append(draw(st.integers(split[-1] + 1, 2 * i)))
    parent = [-1, *np.repeat(split, 2).astype(int)]
    n = len(parent)
    rise = draw(st.lists(st.floats(0, 9), min_size=n, max_size=n))
    heights = [0.0] * n
    for node in range(n - 1, 0, -1):
        above = parent[node]
        # Equal heights are possible; those of inner nodes are above 0.
        heights[above] = max(0.1, heights[above], heights[node] + rise[above])
    labels = draw(st.lists(st.integers(0, n_splits), min_size=1, max_size=30))
    return Dendrogram(parent, heights, labels)


def example():
    return Dendrogram([-1, 0, 0, 1, 1], [9, 4, 0, 0, 0], [0, 0, 1, 2])


@given(dendrograms())
def test_leaves_are_labeled_from_left_to_right(tree):
    labels = []

    def visit(node):
        if tree.children_left[node] < 0:
            labels.append(tree.leaf_label[node])
        else:
            visit(tree.children_left[node])
            visit(tree.children_right[node])

    visit(0)
    assert labels == list(range(tree.n_clusters))
    assert tree.leaf_label[tree.leaves].tolist() == labels


@given(dendrograms())
def test_samples_are_counted_upwards(tree):
    assert tree.n_node_samples[0] == len(tree.labels)
    for node in tree.internal_nodes:
        below = tree.children_left[node], tree.children_right[node]
        assert tree.n_node_samples[node] == tree.n_node_samples[list(below)].sum()
    np.testing.assert_allclose(tree.weight[tree.leaves].sum(), 1.0)


@given(dendrograms())
def test_cuts_have_the_requested_number_of_clusters_and_nest(tree):
    finer = tree.cut(tree.n_clusters)
    assert finer.tolist() == list(range(tree.n_clusters))
    for n_clusters in range(tree.n_clusters - 1, 0, -1):
        coarser = tree.cut(n_clusters)
        assert sorted(set(coarser)) == list(range(n_clusters))
        assert (np.diff(coarser) >= 0).all()  # from left to right
        for cluster in range(n_clusters + 1):
            assert len(set(coarser[finer == cluster])) == 1
        finer = coarser


@given(dendrograms())
def test_cut_by_height_splits_the_nodes_above(tree):
    splits = tree.height[tree.internal_nodes]
    for height in (0.0, *splits):
        expected = tree.cut(1 + (splits > height).sum())
        np.testing.assert_array_equal(tree.cut(height=height), expected)


@given(dendrograms(min_splits=1))
def test_cuts_agree_with_scipy(tree):
    if len(np.unique(tree.height[tree.internal_nodes])) < tree.n_clusters - 1:
        return  # scipy doesn't cut between ties
    Z = tree.to_linkage()
    for n_clusters in range(1, tree.n_clusters + 1):
        expected = fcluster(Z, n_clusters, "maxclust")
        _check_same_partition(tree.cut(n_clusters), expected)


def _check_same_partition(a, b):
    assert len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


@given(dendrograms(min_splits=1))
def test_linkage_over_leaves_is_valid(tree):
    Z = tree.to_linkage()
    assert is_valid_linkage(Z)
    assert is_monotonic(Z)
    assert (Z[:, 0] < Z[:, 1]).all()  # as in scipy
    assert Z.shape == (tree.n_clusters - 1, 4)
    assert Z[-1, 3] == tree.n_clusters
    drawn = scipy_dendrogram(Z, no_plot=True)
    assert sorted(drawn["leaves"]) == list(range(tree.n_clusters))


@given(dendrograms())
def test_linkage_over_samples_is_valid_and_cuts_into_the_leaves(tree):
    Z = tree.to_linkage("samples")
    assert Z.shape == (len(tree.labels) - 1, 4)
    if len(Z):
        assert is_valid_linkage(Z)
        assert is_monotonic(Z)
        assert (Z[:, 0] < Z[:, 1]).all()
        _check_same_partition(fcluster(Z, 0.0, "distance"), tree.labels)


def parse_newick(text):
    """Return nested tuples of the names of the leaves."""

    def to_python(token):
        if token[0].startswith(":"):
            assert float(token[0][1:]) >= 0
            return ""
        quoted = re.fullmatch("'(.*)'", token[0], re.DOTALL)
        return repr(quoted[1].replace("''", "'") if quoted else token[0])

    tokens = r"'(?:[^']|'')*'|:?[^(),:;']+"
    return ast.literal_eval(re.sub(tokens, to_python, text.removesuffix(";")))


def nested_tuples(tree, names, node=0):
    if tree.leaf_label[node] >= 0:
        return names[tree.leaf_label[node]]
    children = tree.children_left[node], tree.children_right[node]
    return tuple(nested_tuples(tree, names, child) for child in children)


@given(dendrograms(), st.data())
def test_newick_can_be_read_back_with_any_names(tree, data):
    n = tree.n_clusters
    names = data.draw(st.lists(st.text(" _'()[]:;,aB1é\"", max_size=5), min_size=n))[:n]
    assert parse_newick(tree.to_newick(names)) == nested_tuples(tree, names)
    labels = [str(label) for label in range(n)]
    assert parse_newick(tree.to_newick()) == nested_tuples(tree, labels)


def test_newick_quotes_names_only_if_needed():
    text = example().to_newick(["ant", "it's a bee", "cow_2"])
    assert text == "((ant:4,'it''s a bee':4):5,'cow_2':9);"


@given(dendrograms())
def test_networkx_has_the_same_edges(tree):
    graph = tree.to_networkx()
    assert networkx.is_arborescence(graph) or tree.n_nodes == 1
    assert all(tree.parent[child] == parent for parent, child in graph.edges)
    assert graph.number_of_nodes() == tree.n_nodes
    assert graph.nodes[0]["n_node_samples"] == len(tree.labels)


def test_pandas_has_a_row_for_each_node():
    tree = example()
    table = tree.to_pandas()
    assert table.index.name == "node"
    assert {"parent", "height", "n_node_samples", "leaf_label"} <= {*table}
    for name in table:
        np.testing.assert_array_equal(table[name], getattr(tree, name))


@pytest.mark.parametrize("library", ["pandas", "networkx"])
def test_missing_libraries_are_named(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=f"pip install {library}"):
        getattr(example(), f"to_{library}")()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "one name for each of the 3 clusters, got 0"),
        (np.array(list("abcd")), "one name for each of the 3 clusters, got 4"),
        ("abc", "a sequence of 3 names, one for each cluster, got 'abc'"),
        (3, "a sequence of 3 names, one for each cluster, got 3"),
        (np.array("a"), "a sequence of 3 names, one for each cluster"),
        (np.zeros((3, 2)), "a sequence of 3 names, one for each cluster"),
    ],
)
def test_invalid_cluster_names_are_refused(names, message):
    for method in (example().export_text, example().to_newick):
        with pytest.raises(ValueError, match=f"cluster_names must .*{message}"):
            method(names)


def test_text_of_deep_trees_needs_no_recursion():
    n = 3000
    parent = [-1] + [p for i in range(n) for p in (2 * i - (i > 0),) * 2]
    tree = Dendrogram(parent, np.zeros(len(parent)), [0])
    assert len(tree.export_text().splitlines()) == tree.n_nodes
    assert tree.to_newick().count("(") == n


@given(dendrograms())
def test_plot_data_connects_children_and_parents(tree):
    data = tree.get_plot_data()
    assert data.links.shape == (tree.n_clusters - 1, 4, 2)
    for node, link in zip(tree.internal_nodes, data.links, strict=True):
        left, right = tree.children_left[node], tree.children_right[node]
        assert link[0].tolist() == [data.x[left], data.y[left]]
        assert link[3].tolist() == [data.x[right], data.y[right]]
        assert (link[1:3, 1] == data.y[node]).all()
        assert data.x[left] < data.x[node] < data.x[right]


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        ([], "must start with -1"),
        ([0, 0, 0], "must start with -1"),
        ([-1, 0, 0, 2, 1], "non-decreasing"),
        ([-1, 0], "two children or none"),
        ([-1, 3, 3], "before its children"),
    ],
)
def test_invalid_parents_are_refused(parent, message):
    with pytest.raises(ValueError, match=message):
        Dendrogram(parent, np.zeros(len(parent)), [0])


@pytest.mark.parametrize(
    ("height", "message"),
    [
        ([3, 4, 0, 0], "must have one finite entry"),
        ([np.nan, 0, 0, 0, 0], "must have one finite entry"),
        ([np.inf, 0, 0, 0, 0], "must have one finite entry"),
        ([3, 4, 0, 0, 0], "must not be below the heights of its child"),
        ([3, -1, 0, 0, 0], "must not be below the heights of its child"),
    ],
)
def test_invalid_heights_are_refused(height, message):
    with pytest.raises(ValueError, match=message):
        Dendrogram([-1, 0, 0, 1, 1], height, [0])


@pytest.mark.parametrize("labels", [[3], [-1], [0.7], [np.nan, 0]])
def test_labels_that_are_no_leaves_are_refused(labels):
    with pytest.raises(ValueError, match="labels must lie between 0 and 2, and be int"):
        Dendrogram([-1, 0, 0, 1, 1], [9, 4, 0, 0, 0], labels)


@pytest.mark.parametrize("weight", [[1, np.nan, 0], [0, 0, 0], [1, 2, -1]])
def test_impossible_weights_are_refused(weight):
    with pytest.raises(ValueError, match="weight must be finite and non-negative"):
        Dendrogram([-1, 0, 0], [1, 0, 0], [0, 1], weight)


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=2))
def test_weights_are_normalized(leaf_weight):
    weight = [sum(leaf_weight), *leaf_weight]
    tree = Dendrogram([-1, 0, 0], [1, 0, 0], [0, 1], weight)
    assert tree.weight[0] == 1.0
    np.testing.assert_allclose(tree.weight, np.divide(weight, weight[0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            ({"n_clusters": n}, f"an int from 1 to 3, .* got {n!r}")
            for n in (0, -1, 4, 2.0, "2", True)
        ),
        *(
            ({"height": h}, f"a number >= 0, got {h!r}")
            for h in (-1.0, np.nan, "1", True)
        ),
        ({}, "Give either n_clusters or height"),
        ({"n_clusters": 2, "height": 1.0}, "Give either n_clusters or height"),
    ],
)
def test_invalid_cuts_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        example().cut(**arguments)


def four_leaves():
    return Dendrogram(
        [-1, 0, 0, 1, 1, 2, 2], [9, 1, 1, 0, 0, 0, 0], labels=[0, 1, 2, 3]
    )


@given(dendrograms())
def test_levels_are_cuts_of_the_tree(tree):
    levels = tree.levels()
    assert np.issubdtype(levels.dtype, np.integer)
    assert (np.diff(levels) > 0).all()
    for n_clusters in levels:
        assert len(set(tree.cut(n_clusters))) == n_clusters
    assert len(levels) == 0 if tree.n_clusters == 1 else levels[-1] == tree.n_clusters


def test_a_bit_of_excess_cost_halves_the_persistence_of_a_cut():
    tree = Dendrogram([-1, 0, 0, 1, 1, 3, 3], [9, 4, 0, 3, 0, 0, 0], labels=[])
    assert tree.levels().tolist() == [2, 4]  # 5, 1 and 3
    tree.excess_costs[0] = 0.7
    assert tree.levels().tolist() == [2, 4]
    tree.excess_costs[0] = 3.0
    assert tree.levels().tolist() == [4]


def test_levels_end_with_the_last_supported_split():
    tree = four_leaves()
    assert tree.is_supported.all()  # unknown p-values
    tree.p_values[:3] = [0.0, 0.05, 0.06]
    assert tree.is_supported.tolist() == [True, True, False, True, True, True, True]
    assert tree.levels().tolist() == [2, 3]
    tree.p_values[:3] = 1.0
    assert tree.levels().tolist() == []


@pytest.mark.parametrize(
    ("p_value", "text"), [(0.0123, "= 0.01"), (1.0, "= 1"), (0.0, "< 0.001")]
)
def test_text_has_the_p_values_of_splits(p_value, text):
    tree = four_leaves()
    tree.p_values[0] = p_value
    first, second, *_ = tree.export_text().split("\n")
    assert first == f"node 0: height 9, p {text}, 4 samples"
    assert second == "|-- node 1: height 1, 2 samples"


def test_notebooks_show_the_text():
    tree = example()
    (text,) = re.findall("<pre .*?>(.*)</pre>", tree._repr_html_(), re.DOTALL)
    assert html.unescape(text) == tree.export_text()
    assert "<" not in text


def test_the_linkage_of_many_samples_is_balanced():
    labels = np.arange(20_000) % 3
    Z = Dendrogram([-1, 0, 0, 1, 1], [9, 4, 0, 0, 0], labels).to_linkage("samples")
    assert is_valid_linkage(Z)
    depth = np.zeros(2 * len(labels) - 1, dtype=int)
    for row in range(len(Z) - 1, -1, -1):
        depth[Z[row, :2].astype(int)] = depth[len(labels) + row] + 1
    assert depth.max() <= 2 + np.ceil(np.log2(len(labels) / 3))
