import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.estimator.attributes import (
    build_dendrogram,
    cut_proba,
    update_dendrogram,
)
from sktreevae.tree import Dendrogram

from ..model.strategies import topologies


def build(tree, seed=0, n=40):
    rng = np.random.default_rng(seed)
    n_leaves = len(tree.leaves)
    labels = np.r_[np.arange(n_leaves), rng.integers(0, n_leaves, n)]
    weight = rng.dirichlet(np.ones(n_leaves))
    height = np.array([10.0 - depth for depth in tree.node_depths])
    return build_dendrogram(tree, height, weight, labels), height, weight, labels


@given(topologies(), st.integers(0, 99))
def test_leaves_and_samples_are_kept(tree, seed):
    dendrogram, _, weight, labels = build(tree, seed)
    assert dendrogram.n_clusters == len(tree.leaves)
    assert (dendrogram.labels == labels).all()
    np.testing.assert_allclose(dendrogram.weight[dendrogram.leaves], weight)
    assert dendrogram.weight[0] == pytest.approx(1.0)


@given(topologies(), st.integers(0, 99))
def test_leaves_that_share_an_ancestor_still_do(tree, seed):
    dendrogram, height, *_ = build(tree, seed)
    below = [{label} - {-1} for label in dendrogram.leaf_label.tolist()]
    for node in reversed(range(1, dendrogram.n_nodes)):
        below[dendrogram.parent[node]] |= below[node]
    for node in tree.splits:
        labels = {i for i, leaf in enumerate(tree.leaves) if node in tree.path(leaf)}
        assert dendrogram.height[below.index(labels)] == height[node]


@given(topologies(), st.integers(0, 99))
def test_an_update_without_news_changes_nothing(tree, seed):
    dendrogram, _, weight, labels = build(tree, seed)
    updated = update_dendrogram(dendrogram, 7, weight, labels)
    np.testing.assert_allclose(updated.weight, dendrogram.weight)
    np.testing.assert_array_equal(updated.height, dendrogram.height)


@given(topologies(), st.integers(0, 99))
def test_probabilities_of_cuts_nest(tree, seed):
    dendrogram, *_ = build(tree, seed)
    rng = np.random.default_rng(seed)
    log_proba = np.log(rng.dirichlet(np.ones(dendrogram.n_clusters), 20))
    leaf = log_proba.argmax(axis=1)
    for n_clusters in range(1, dendrogram.n_clusters + 1):
        proba = cut_proba(dendrogram, log_proba, n_clusters)
        np.testing.assert_allclose(proba.sum(axis=1), 1.0)
        assert (proba.argmax(axis=1) == dendrogram.cut(n_clusters)[leaf]).all()


def test_the_order_of_close_probabilities_is_kept():
    dendrogram = Dendrogram([-1, 0, 0], [1.0, 0.0, 0.0], labels=[])
    low = np.float32(-0.6931472)
    log_proba = np.array([[low, np.nextafter(low, np.float32(0))]], np.float32)
    proba = cut_proba(dendrogram, log_proba, None)
    assert proba.argmax() == log_proba.argmax() == 1
