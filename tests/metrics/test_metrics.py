from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.base import clone
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktreevae import Dendrogram, TreeVAEClustering, metrics
from sktreevae.metrics import (
    clustering_accuracy,
    cophenetic_correlation,
    dendrogram_purity,
    leaf_purity,
    triplet_agreement,
)

from ..tree.test_dendrogram import dendrograms


def nodes_of(Z):
    """Return the set of leaves below each node."""
    nodes = [{leaf} for leaf in range(len(Z) + 1)]
    for left, right in np.asarray(Z)[:, :2].astype(int):
        nodes.append(nodes[left] | nodes[right])
    return nodes


def brute_force_purity(y, labels, nodes):
    """Look at every pair; the first node with both samples is their ancestor."""
    purities = []
    for i, j in combinations(range(len(y)), 2):
        if y[i] == y[j]:
            ancestor = next(node for node in nodes if {labels[i], labels[j]} <= node)
            purities.append((y[np.isin(labels, list(ancestor))] == y[i]).mean())
    return np.mean(purities)


@given(dendrograms(), st.data())
def test_purity_of_a_dendrogram_is_that_of_all_pairs(tree, data):
    n = len(tree.labels)
    y = [0, 0, *data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))][-n:]
    if max(np.bincount(y)) < 2:
        return
    nodes = nodes_of(tree.to_linkage())
    expected = brute_force_purity(np.array(y), tree.labels, nodes)
    assert dendrogram_purity(y, tree) == pytest.approx(expected)
    assert dendrogram_purity(y, tree, tree.labels) == pytest.approx(expected)


@given(st.integers(2, 25), st.integers(0, 1000), st.data())
def test_purity_of_a_cut_linkage_is_that_of_all_pairs(n, seed, data):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((n, 2)), rng.integers(0, 3, n)
    y[:2] = 0
    n_leaves = data.draw(st.integers(1, n))
    Z = linkage(X, "average")
    nodes = nodes_of(Z)
    below, above = nodes[: 2 * n - n_leaves], nodes[2 * n - n_leaves :]
    leaves = [node for node in below if not any(node < other for other in below)]
    expected = brute_force_purity(y, np.arange(n), [*leaves, *above])
    assert dendrogram_purity(y, Z, n_leaves=n_leaves) == pytest.approx(expected)
    whole = brute_force_purity(y, np.arange(n), nodes)
    assert dendrogram_purity(y, Z) == pytest.approx(whole)


@given(
    arrays(int, 15, elements=st.integers(0, 2)),
    arrays(int, 15, elements=st.integers(0, 2)),
)
def test_accuracy_is_the_best_of_all_matchings(y, labels):
    matchings = map(np.array, permutations(range(3)))
    best = max(accuracy_score(y, matching[labels]) for matching in matchings)
    assert clustering_accuracy(y, labels) == pytest.approx(best)


@given(
    arrays(int, 15, elements=st.integers(0, 3)),
    arrays(int, 15, elements=st.integers(0, 3)),
)
def test_leaf_purity_is_the_accuracy_of_majority_votes(y, labels):
    right = sum(np.bincount(y[labels == label]).max() for label in np.unique(labels))
    assert leaf_purity(y, labels) == pytest.approx(right / len(y))


@pytest.mark.parametrize("metric", [clustering_accuracy, leaf_purity])
def test_labels_must_match_in_length(metric):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        metric([0, 1], [0])
    with pytest.raises(ValueError, match="must not be empty"):
        metric([], [])


@pytest.mark.parametrize("tree", [[[0, 1]], [["a", "b", 1, 2]], 3])
def test_other_objects_than_trees_are_refused(tree):
    with pytest.raises(ValueError, match="tree must be a Dendrogram"):
        dendrogram_purity([0, 0], tree)


def test_estimators_without_a_tree_are_refused():
    with pytest.raises(ValueError, match="has no tree"):
        dendrogram_purity([0, 0], KMeans())


def test_incomplete_trees_are_refused():
    model = AgglomerativeClustering().fit(np.eye(4))
    model.children_ = model.children_[:2]
    with pytest.raises(ValueError, match="compute_full_tree=True"):
        dendrogram_purity(np.zeros(4), model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [0, 9]}, "labels must lie between 0 and 1"),
        ({"labels": [0.5, 0.5]}, "labels must be integers"),
        ({"labels": [0]}, "inconsistent numbers of samples"),
        ({"n_leaves": 3}, "n_leaves must be an int from 1 to 2"),
        ({"n_leaves": 0}, "n_leaves must be an int from 1 to 2"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        dendrogram_purity([0, 0], [[0, 1, 1.0, 2]], **arguments)


def test_purity_needs_a_pair():
    with pytest.raises(ValueError, match="class with two samples"):
        dendrogram_purity([0, 1], [[0, 1, 1.0, 2]])


@pytest.mark.parametrize("name", [n for n in metrics.__all__ if "scorer" in n])
@pytest.mark.parametrize(
    "estimator",
    [TreeVAEClustering(max_iter=1, hidden_dim=8), AgglomerativeClustering()],
    ids=["tree", "agglomerative"],
)
def test_scorers_work_in_a_grid_search(name, estimator):
    X, y = make_blobs(60, centers=3, cluster_std=0.3, random_state=0)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), clone(estimator)),
        {f"{type(estimator).__name__.lower()}__n_clusters": [2, 3]},
        scoring=getattr(metrics, name),
        cv=2,
        error_score="raise",
    )
    search.fit(X, y)
    assert 0.5 < search.best_score_ <= 1.0


def test_scorer_cuts_trees_over_samples_at_the_clusters():
    X, y = make_blobs(60, centers=3, random_state=0)
    model = AgglomerativeClustering(3).fit(X)
    expected = dendrogram_purity(y, model, n_leaves=3)
    for classes in (y, y[:, None]):
        assert metrics.dendrogram_purity_scorer(model, X, classes) == expected
    nested = make_pipeline(make_pipeline(model))
    assert metrics.dendrogram_purity_scorer(nested, X, y) == expected


def is_joined_first(nodes, labels, i, j, k):
    """Return whether i and j have a common ancestor that isn't one of k."""
    pair, other = {labels[i], labels[j]}, labels[k]
    return any(pair <= node and other not in node for node in nodes)


@given(st.integers(3, 9), st.integers(2, 6), st.integers(0, 999), st.booleans())
def test_triplets_are_those_of_brute_force(n, n_leaves, seed, has_fine_classes):
    rng = np.random.default_rng(seed)
    merges = linkage(rng.standard_normal((n_leaves, 2)))
    labels = rng.integers(n_leaves, size=n)
    finest = rng.integers(6, size=n)
    levels = np.stack([finest // 4, finest // 2, finest], axis=1)
    if not has_fine_classes:
        levels = levels[:, :1]
    explicit = levels if has_fine_classes else np.c_[levels, np.arange(n)]
    are_right = [
        is_joined_first(nodes_of(merges), labels, i, j, k)
        for coarse, fine in pairwise(explicit.T)
        for i, j, k in permutations(range(n), 3)
        if coarse[i] == coarse[j] != coarse[k] and fine[i] != fine[j]
    ]
    if are_right:
        expected = pytest.approx(np.mean(are_right))
        assert triplet_agreement(levels, merges, labels) == expected
    else:
        with pytest.raises(ValueError, match="two coarse classes"):
            triplet_agreement(levels, merges, labels)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ([["a", "x"], ["b", "x"], ["a", "y"]], "must be nested"),
        (np.zeros((3, 1, 1)), "must have shape"),
        (["a", "a", "a"], "two coarse classes"),
        (["a", "b"], "inconsistent numbers of samples"),
    ],
)
def test_references_without_triplets_are_refused(reference, message):
    with pytest.raises(ValueError, match=message):
        triplet_agreement(reference, linkage([[0.0], [1.0], [3.0]]))


@given(n=st.integers(3, 9), n_leaves=st.integers(2, 6), seed=st.integers(0, 99))
def test_triplets_of_a_reference_tree_are_those_of_brute_force(n, n_leaves, seed):
    rng = np.random.default_rng(seed)
    reference, tree = (linkage(rng.normal(size=(k, 2))) for k in (n, n_leaves))
    labels = rng.integers(n_leaves, size=n)
    are_right = [
        is_joined_first(nodes_of(tree), labels, *triplet)
        for triplet in permutations(range(n), 3)
        if is_joined_first(nodes_of(reference), range(n), *triplet)
    ]
    expected = pytest.approx(np.mean(are_right))
    assert triplet_agreement(reference, tree, labels) == expected


def test_a_dendrogram_can_be_the_reference(rng):
    X, y = make_blobs(60, 3, centers=4, random_state=0)
    model = AgglomerativeClustering(4, compute_distances=True).fit(X)
    Z = linkage(X, "ward")
    expected = triplet_agreement(Z, model)
    assert triplet_agreement(model, Z) == pytest.approx(expected)
    assert cophenetic_correlation(model, Z) == pytest.approx(1.0)


@given(n=st.integers(3, 12), seed=st.integers(0, 99))
def test_cophenetic_correlation_is_that_of_scipy(n, seed):
    X = np.random.default_rng(seed).normal(size=(n, 2))
    Z = linkage(X, "average")
    expected, _ = cophenet(Z, pdist(X))
    assert cophenetic_correlation(pdist(X), Z) == pytest.approx(expected)


@given(n=st.integers(4, 12), n_leaves=st.integers(2, 5), seed=st.integers(0, 99))
def test_cophenetic_correlation_of_trees_is_that_over_all_pairs(n, n_leaves, seed):
    rng = np.random.default_rng(seed)
    a, b = linkage(rng.normal(size=(n, 2))), linkage(rng.normal(size=(n_leaves, 2)))
    labels = rng.integers(n_leaves, size=n)
    inside = squareform(cophenet(b))[np.ix_(labels, labels)][np.triu_indices(n, 1)]
    if inside.std() < 1e-9:
        return
    expected = np.corrcoef(cophenet(a), inside)[0, 1]
    assert cophenetic_correlation(a, b, labels) == pytest.approx(expected)
    assert cophenetic_correlation(cophenet(a), b, labels) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (np.ones(5), "must have 6 distances, .* pair of the 4 samples, got 5"),
        (np.ones(6), "needs distances that differ"),
        ([1.0, np.nan, 2.0], "reference must be finite"),
    ],
)
def test_invalid_distances_are_refused(reference, message):
    with pytest.raises(ValueError, match=message):
        cophenetic_correlation(reference, linkage([[0.0], [1.0], [5.0], [7.0]]))


@pytest.mark.parametrize("height", [0.1, 0.3, 0.7, 1.1, 2.3])
def test_rounding_errors_are_no_spread(height):
    Z = linkage([[0.0], [1.0], [10.0], [13.0]])
    flat = Z.copy()
    flat[:, 2] = height
    for reference in (flat, np.full(6, 0.1)):
        with pytest.raises(ValueError, match="needs distances that differ"):
            cophenetic_correlation(reference, Z)


def test_large_heights_lose_no_digits():
    Z, other = linkage([[0], [1], [10], [13.0]]), linkage([[0], [3], [10], [11.5]])
    shifted = Z.copy()
    shifted[:, 2] += 1e8
    expected = cophenetic_correlation(cophenet(Z), other)
    assert cophenetic_correlation(shifted, other) == pytest.approx(expected, abs=1e-6)


def test_a_single_sample_has_no_correlation():
    tree = Dendrogram([-1], [0], labels=[0])
    with pytest.raises(ValueError, match="needs distances that differ"):
        cophenetic_correlation(np.zeros(0), tree)


def test_trees_without_heights_are_refused(rng):
    model = AgglomerativeClustering(2).fit(rng.normal(size=(9, 2)))
    with pytest.raises(ValueError, match="has no heights.*compute_distances=True"):
        cophenetic_correlation(model, linkage(rng.normal(size=(9, 2))))


def test_purity_of_nested_classes_has_one_value_a_level(rng):
    X = rng.normal(size=(40, 2))
    levels = np.stack([np.arange(40) % 2, np.arange(40) % 8], axis=1)
    Z = linkage(X)
    expected = [dendrogram_purity(level, Z) for level in levels.T]
    np.testing.assert_array_equal(dendrogram_purity(levels, Z), expected)
