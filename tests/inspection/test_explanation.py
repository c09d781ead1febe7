import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.metrics import roc_auc_score

from sktreevae import TreeVAEClustering, explain
from sktreevae.display import SplitDisplay, TreeDisplay
from sktreevae.inspection.columns import Feature
from sktreevae.inspection.explanation import Explanation

WIDTH, NARROW = 20.0, 8.0


@pytest.fixture(scope="module")
def iris():
    return TreeVAEClustering(3, random_state=0).fit(load_iris(as_frame=True).data)


def make_nested(seed=0):
    """Return two pairs of clusters, and the feature that each split is about.

    Feature 0 tells the pairs apart, feature 1 those of the first pair, and feature 3
    those of the second pair. All other differences are noise of standard deviation 1.
    """
    y = np.repeat([0, 1, 2, 3], 150)
    X = np.random.default_rng(seed).standard_normal((600, 5))
    X[:, 0] += WIDTH * (y >= 2)
    X[:, 1] += NARROW * (y == 1)
    X[:, 3] += NARROW * (y == 3)
    return X, y


@pytest.fixture(scope="module")
def nested():
    X, y = make_nested()
    return TreeVAEClustering(4, max_iter=40, random_state=0).fit(X), X, y


def split_of(model, y, cluster):
    """Return the node above two leaves, one of which has a cluster's samples."""
    tree = model.dendrogram_
    leaf = tree.leaves[np.bincount(model.labels_[y == cluster]).argmax()]
    return int(tree.parent[leaf])


def test_node_means_are_those_of_generated_samples(iris):
    # The labels of `sample` follow the routers, so each leaf has its own latents.
    X, labels = iris.sample(20_000)
    leaves = iris.dendrogram_.leaves
    generated = np.array([X[labels == label].mean(0) for label in range(3)])
    np.testing.assert_allclose(iris.node_means()[leaves], generated, atol=0.03)


def test_the_mean_of_a_node_is_the_weighted_mean_of_its_children(iris):
    tree, means = iris.dendrogram_, iris.node_means()
    for node in tree.internal_nodes:
        children = [tree.children_left[node], tree.children_right[node]]
        expected = np.average(means[children], axis=0, weights=tree.weight[children])
        np.testing.assert_allclose(means[node], expected)


def test_the_feature_of_each_split_comes_first(nested):
    model, X, y = nested
    for node, feature, groups, distance in (
        (0, 0, (y < 2, y >= 2), WIDTH),
        (split_of(model, y, 0), 1, (y == 0, y == 1), NARROW),
        (split_of(model, y, 2), 3, (y == 2, y == 3), NARROW),
    ):
        found, in_rows = model.explain(node, n_features=None), model.explain(node, X)
        assert found.features[0] == feature
        assert in_rows.features[0] == feature
        # The branch with most of the first group's samples is the one with less.
        is_left = np.isin(model.labels_[groups[0]], found.clusters[0]).mean() > 0.5
        sign = -1.0 if is_left else 1.0
        assert found.effect[0] == pytest.approx(sign * distance, rel=0.2)
        assert in_rows.effect[0] == pytest.approx(sign * distance, rel=0.1)
        assert np.abs(found.effect[1:]).max() < 0.1 * distance
        assert in_rows.auc[0] == (0.0 if is_left else 1.0)


def test_means_and_spread_of_the_model_are_those_of_the_branches(nested):
    model, X, _ = nested
    found, in_rows = (model.explain(0, rows, n_features=None) for rows in (None, X))
    order = [in_rows.features.tolist().index(i) for i in found.features]
    for name in ("left_mean", "right_mean", "spread"):
        expected = getattr(in_rows, name)[order]
        np.testing.assert_allclose(getattr(found, name), expected, rtol=0.2, atol=0.5)


@pytest.mark.parametrize(
    ("node", "against"), [(1, None), (2, None), (1, "rest"), (4, "rest")]
)
def test_with_rows_the_effects_are_those_of_the_assigned_rows(nested, node, against):
    model, X, _ = nested
    found = model.explain(node, X, against=against, n_features=None)
    groups = [np.isin(model.labels_, clusters) for clusters in found.clusters]
    assert (np.sum(groups, axis=0) == 1).all() == (against == "rest")
    a, b = (X[group][:, found.features] for group in groups)
    assert found.n_rows == (len(a), len(b))
    assert (found.branch_names[1] == "the rest") == (against == "rest")
    spread = np.sqrt((a.var(0) + b.var(0)) / 2)
    np.testing.assert_allclose(found.spread, spread)
    np.testing.assert_allclose(found.effect, (a.mean(0) - b.mean(0)) / spread)
    np.testing.assert_allclose(found.left_mean, a.mean(0))
    is_left = np.repeat([True, False], found.n_rows)
    expected = [roc_auc_score(is_left, column) for column in np.concatenate([a, b]).T]
    np.testing.assert_allclose(found.auc, expected)


def test_sparse_rows_and_datasets_are_explained_alike(nested):
    model, X, _ = nested
    X = np.where(X > 1.0, X, 0.0)
    expected = model.explain(0, X)
    tensors = torch.utils.data.TensorDataset(torch.from_numpy(X))
    for other in (sparse.csr_array(X), tensors):
        found = model.explain(0, other)
        assert found.n_rows == expected.n_rows
        np.testing.assert_allclose(found.effect, expected.effect)
        np.testing.assert_allclose(found.auc, expected.auc)


def test_labels_explain_rows_of_any_columns(nested):
    model, X, _ = nested
    expected = model.explain(0, X)
    other = np.column_stack([X, X[:, ::-1]])
    names = [f"column {i}" for i in range(10)]
    for rows in (other, sparse.csr_matrix(other), pd.DataFrame(other, columns=names)):
        found = explain(model, 0, rows, labels=model.labels_, n_features=None)
        by_column = dict(zip(found.features, found.effect, strict=True))
        for feature, effect in zip(expected.features, expected.effect, strict=True):
            assert by_column[feature] == by_column[9 - feature] == pytest.approx(effect)
    assert set(found.feature_names) == set(names)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 4], "labels must be ints from 0 to 3, the leaves, got .*4"),
        ([0, 1, 0.5], "labels must be ints from 0 to 3, the leaves, got .*0.5"),
        ([0, 1], r"inconsistent numbers of samples: \[3, 2\]"),
    ],
)
def test_labels_are_leaves_of_the_rows(nested, labels, message):
    with pytest.raises(ValueError, match=message):
        explain(nested[0], 0, np.eye(3), labels=labels)


def test_labels_need_rows(nested):
    with pytest.raises(ValueError, match="labels are leaves of the rows of X"):
        explain(nested[0], 0, labels=[0, 1])


def test_the_spread_of_zeros_and_ones(rng):
    probability = np.array([[0.95, 0.5, 0.02], [0.05, 0.5, 0.02]]).repeat(4, axis=1)
    X = (rng.random((400, 12)) < probability.repeat(200, axis=0)).astype(float)
    model = TreeVAEClustering(2, random_state=0).fit(X)
    found, in_rows = model.explain(0), model.explain(0, X)
    assert set(found.features[:4]) == set(in_rows.features) == {0, 1, 2, 3}
    effect = dict(zip(found.features, found.effect, strict=True))
    np.testing.assert_allclose(
        [effect[i] for i in in_rows.features], in_rows.effect, rtol=0.25
    )


def test_names_are_those_of_the_columns(iris, nested):
    columns = load_iris().feature_names
    found = iris.explain()
    assert found.feature_names.tolist() == [columns[i] for i in found.features]
    assert found.feature_names[0].startswith("petal")
    found = nested[0].explain(feature_names=list("abcde"))
    assert found.feature_names.tolist() == ["abcde"[i] for i in found.features]
    assert nested[0].explain().feature_names[0] == "x0"


@pytest.mark.parametrize("node", [-1, 5, 1.0, True, "0"])
def test_only_nodes_have_means(iris, node):
    message = f"node must be an int from 0 to 4, .* got {node!r}. dendrogram_.leaves"
    with pytest.raises(ValueError, match=message):
        iris.node_means(node)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"feature_names": ["a", "b"]}, "one name for each of the 4 features, got 2"),
        *(({"n_features": n}, "n_features must be an int in") for n in (0, 1.5, True)),
        ({"against": "sibling"}, "must be None or 'rest', got 'sibling'"),
        *(
            ({"node": n}, rf"dendrogram_.internal_nodes, \[0, 1\], got {n!r}.$")
            for n in (7, -1, "root", 0.0)
        ),
        ({"node": 2}, "leaf of cluster 2. The split above it is that of node 0.$"),
        *(
            (
                {"node": n, "against": "rest"},
                f"from 1 to 4, .* below the root, got {n!r}",
            )
            for n in (0, 5, -1, True, 1.0, "0")
        ),
    ],
)
def test_wrong_arguments_are_refused(iris, arguments, message):
    with pytest.raises(ValueError, match=message):
        iris.explain(**arguments)


@pytest.mark.parametrize("against", [None, "rest"])
def test_all_nodes_are_explained_as_each_alone(iris, against):
    X, tree = load_iris(as_frame=True).data, iris.dendrogram_
    found = iris.explain(None, X, against=against)
    nodes = tree.internal_nodes if against is None else range(1, tree.n_nodes)
    assert [one.node for one in found] == list(nodes)
    assert str(found) == "\n\n".join(map(str, found))
    for one in found:
        alone = explain(iris, one.node, X, against=against)
        assert repr(one) == repr(alone)
        np.testing.assert_array_equal(one.auc, alone.auc)


def test_a_single_cluster_has_no_split():
    model = TreeVAEClustering(1, random_state=0).fit(load_iris().data[:50])
    with pytest.raises(ValueError, match="has one cluster, so that no node has branch"):
        model.explain()
    assert model.explain(None) == model.explain(None, against="rest") == []


def test_both_branches_need_rows(iris):
    X = load_iris(as_frame=True).data
    branch = iris.labels_ == iris.explain().clusters[0][0]
    with pytest.raises(ValueError, match="at least 2 rows on each side of node 0, got"):
        iris.explain(0, X[branch])
    assert {len(found.features) for found in iris.explain(None, X[branch])} == {0}


def test_small_and_correlated_differences_are_no_findings(rng):
    y = np.repeat([0, 1], 200)
    noise = rng.standard_normal((400, 3))
    X = np.column_stack([noise[:, 0] + 9 * y, noise[:, 1] + 0.1 * y, noise[:, 2] + y])
    X = np.column_stack([X, 5 - 3 * X[:, 0]])
    model = TreeVAEClustering(2, max_iter=20, random_state=0).fit(X)
    found = model.explain(0, X)
    assert set(found.features) in ({0, 2}, {3, 2})
    assert set(model.explain().features) == {0, 2, 3}
    assert set(model.explain(0, X, n_features=None).features) == {0, 1, 2, 3}


def test_effects_of_soft_targets_have_no_minimum(rng):
    # Their variance is an upper bound, so that all effects are understated.
    y = np.repeat([0, 1], 100)
    X = np.clip(0.04 + 0.02 * y[:, None] + 0.002 * rng.standard_normal((200, 4)), 0, 1)
    model = TreeVAEClustering(2, likelihood="bernoulli", max_iter=5, random_state=0)
    found = model.fit(X).explain()
    assert np.abs(found.effect).max() < 0.3
    assert len(found.features) == 4
    assert (np.abs(model.explain(0, X).effect) > 3).all()


def test_a_table(iris):
    X = load_iris(as_frame=True).data
    found = iris.explain(0, X)
    table = found.to_frame()
    names = ["left_mean", "right_mean", "spread", "effect", "auc"]
    assert table.columns.tolist() == ["feature", *names]
    for name in names:
        np.testing.assert_array_equal(table[name], getattr(found, name))
    assert (table["effect"].abs().diff().dropna() <= 0).all()
    assert X.columns[table.index].tolist() == table["feature"].tolist()
    assert "auc" not in iris.explain().to_frame()


COLUMNS = (
    Feature("petal length (cm)", 2),
    Feature("year", 0),
    Feature("x", 3),
    Feature("born", 1, is_date=True),
)


def make_explanation(n_selected=4, **rows):
    return Explanation(
        node=0,
        branches=(1, 2),
        clusters=(np.array([0, 1]), np.array([2])),
        columns=COLUMNS[:n_selected],
        left_mean=np.array([4.913, 2008.04, 2.0, 1999.0])[:n_selected],
        right_mean=np.array([1.462, 2007.1, 2.0, 2024.2])[:n_selected],
        spread=np.array([0.5, 0.81, 0.0, 10.0])[:n_selected],
        effect=np.array([16.902, -1.1, 0.0, -2.52])[:n_selected],
        **rows,
    )


HEAD = "Node 0: left is node 1 (clusters 0-1), right is node 2 (cluster 2)"


def test_an_explanation_is_printed_as_a_table():
    assert str(make_explanation()).splitlines() == [
        HEAD,
        "feature                  left       right  effect",
        "petal length (cm)        4.91        1.46     >10  higher left",
        "year                  2008.04      2007.1   -1.10  higher right",
        "x                           2           2   +0.00  equal",
        "born               1999-01-01  2024-03-14   -2.52  higher right",
    ]


def test_an_explanation_of_rows_has_their_number_and_the_areas():
    text = str(make_explanation(1, n_rows=(7, 1), auc=np.array([0.918])))
    assert text.splitlines() == [
        HEAD,
        "Rows of X: 7 left, 1 right",
        "feature            left  right  effect   AUC",
        "petal length (cm)  4.91   1.46     >10  0.92  higher left",
    ]


def test_an_explanation_without_findings_says_so():
    assert str(make_explanation(0)).splitlines() == [HEAD, "No feature differs."]


@pytest.mark.parametrize("names", ["abcd", b"abcd", np.full((4, 2), "a"), 4])
def test_feature_names_are_a_sequence_of_names(iris, names, tmp_path):
    calls = [
        iris.explain,
        lambda **kwargs: SplitDisplay.from_estimator(iris, **kwargs),
        lambda **kwargs: TreeDisplay.from_estimator(iris, **kwargs),
        lambda **kwargs: iris.export_html(tmp_path / "tree.html", **kwargs),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="feature_names must be a sequence of 4"):
            call(feature_names=names)
