import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.dendrogram import Dendrogram
from sktreevae.hierarchy import (
    LeafStatistics,
    build_dendrogram,
    cut_proba,
    update_dendrogram,
)
from sktreevae.model import Topology

from .model.strategies import topologies


def build(tree, seed=0, n=40):
    rng = np.random.default_rng(seed)
    n_leaves = len(tree.leaves)
    labels = np.r_[np.arange(n_leaves), rng.integers(0, n_leaves, n)]
    leaf_elbo = rng.standard_normal((len(labels), n_leaves))
    mass = rng.dirichlet(np.ones(n_leaves))
    statistics = LeafStatistics(mass, labels, np.arange(len(labels)), leaf_elbo)
    return build_dendrogram(tree, statistics), statistics


@given(topologies(), st.integers(0, 99))
def test_leaves_and_samples_are_kept(tree, seed):
    dendrogram, statistics = build(tree, seed)
    assert dendrogram.n_leaves == len(tree.leaves)
    assert (dendrogram.labels == statistics.labels).all()
    np.testing.assert_allclose(dendrogram.weight[dendrogram.leaves], statistics.weight)
    assert dendrogram.weight[0] == pytest.approx(1.0)


@given(topologies(), st.integers(0, 99))
def test_leaves_that_share_an_ancestor_still_do(tree, seed):
    dendrogram, _ = build(tree, seed)
    for node in tree.splits:
        labels = {i for i, leaf in enumerate(tree.leaves) if node in tree.path(leaf)}
        found = []
        for internal in dendrogram.internal_nodes:
            stack, leaves = [internal], set()
            while stack:
                current = stack.pop()
                if dendrogram.leaf_label[current] >= 0:
                    leaves.add(int(dendrogram.leaf_label[current]))
                else:
                    stack += [
                        dendrogram.children_left[current],
                        dendrogram.children_right[current],
                    ]
            found.append(leaves)
        assert labels in found


def test_height_is_the_jeffreys_divergence():
    # Two normal densities, known exactly: J = (difference of means) ** 2.
    rng = np.random.default_rng(0)
    x = np.r_[rng.normal(0.0, 1.0, 20_000), rng.normal(3.0, 1.0, 20_000)]
    log_density = -0.5 * (x[:, None] - [0.0, 3.0]) ** 2
    labels = np.repeat([0, 1], 20_000)
    mass = np.array([0.5, 0.5])
    statistics = LeafStatistics(mass, labels, np.arange(40_000), log_density)
    dendrogram = build_dendrogram(Topology((-1, 0, 0)), statistics)
    assert dendrogram.height[0] == pytest.approx(9.0, abs=0.1)


def test_branches_are_mixtures_of_their_leaves():
    labels = np.array([2, 2, 2, 0, 1])
    leaf_elbo = np.log(
        [
            [0.1, 0.2, 0.9],
            [0.1, 0.2, 0.9],
            [0.1, 0.2, 0.9],
            [0.5, 0.4, 0.1],
            [0.3, 0.4, 0.1],
        ]
    )
    # Leaves 0 and 1 are the children of node 1, and leaf 2 is a child of the root.
    tree = Topology((-1, 0, 0, 1, 1))
    mass = np.full(3, 1 / 3)
    statistics = LeafStatistics(mass, labels, np.arange(5), leaf_elbo)
    dendrogram = build_dendrogram(tree, statistics)
    density = np.exp(leaf_elbo)
    right = density[:, 2]
    left = density[:, :2] @ [0.5, 0.5]
    below = np.isin(labels, [0, 1])
    ratio = np.log(left) - np.log(right)
    expected = ratio[below].mean() - ratio[~below].mean()
    assert dendrogram.height[0] == pytest.approx(expected)


@given(topologies(), st.integers(0, 99))
def test_an_update_without_news_changes_nothing(tree, seed):
    dendrogram, *_ = build(tree, seed)
    updated = update_dendrogram(dendrogram, 7, dendrogram)
    np.testing.assert_allclose(updated.weight, dendrogram.weight)
    np.testing.assert_allclose(updated.height, dendrogram.height)


def test_an_update_weighs_by_samples():
    old = Dendrogram([-1, 0, 0, 1, 1], [8, 4, 0, 0, 0], labels=[0] * 4 + [1] * 2 + [2])
    new = Dendrogram([-1, 0, 0, 1, 1], [9, 7, 0, 0, 0], labels=[0] * 3 + [1] * 3 + [2])
    updated = update_dendrogram(old, 14, new)
    np.testing.assert_array_equal(updated.labels, new.labels)
    np.testing.assert_allclose(updated.height[:2], [25 / 3, 5])
    np.testing.assert_allclose(
        updated.weight[updated.leaves], [11 / 21, 7 / 21, 3 / 21]
    )


def test_heights_wait_for_samples_on_both_sides():
    old = Dendrogram([-1, 0, 0, 1, 1], [8, 4, 0, 0, 0], labels=[0, 1, 2])
    new = Dendrogram([-1, 0, 0, 1, 1], [10, 2, 0, 0, 0], labels=[0, 0, 2])
    updated = update_dendrogram(old, 3, new)
    np.testing.assert_allclose(updated.height[:2], [9, 4])


@given(topologies(), st.integers(0, 99))
def test_probabilities_of_cuts_nest(tree, seed):
    dendrogram, _ = build(tree, seed)
    rng = np.random.default_rng(seed)
    log_proba = np.log(rng.dirichlet(np.ones(dendrogram.n_leaves), 20))
    leaf = log_proba.argmax(axis=1)
    for n_clusters in range(1, dendrogram.n_leaves + 1):
        proba = cut_proba(dendrogram, log_proba, n_clusters)
        np.testing.assert_allclose(proba.sum(axis=1), 1.0)
        assert (proba.argmax(axis=1) == dendrogram.cut(n_clusters)[leaf]).all()


def test_the_order_of_close_probabilities_is_kept():
    dendrogram = Dendrogram([-1, 0, 0], [1.0, 0.0, 0.0], labels=[])
    low = np.float32(-0.6931472)
    log_proba = np.array([[low, np.nextafter(low, np.float32(0))]], np.float32)
    proba = cut_proba(dendrogram, log_proba, None)
    assert proba.argmax() == log_proba.argmax() == 1
