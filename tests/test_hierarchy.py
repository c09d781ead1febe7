import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.dendrogram import Dendrogram
from sktreevae.hierarchy import build_dendrogram, update_dendrogram
from sktreevae.model import Topology

from .model.strategies import topologies


def build(tree, seed=0, n=40):
    rng = np.random.default_rng(seed)
    n_leaves = len(tree.leaves)
    labels = np.r_[np.arange(n_leaves), rng.integers(0, n_leaves, n)]
    leaf_elbo = rng.standard_normal((len(labels), n_leaves))
    mass = rng.dirichlet(np.ones(n_leaves))
    dendrogram, order = build_dendrogram(tree, mass, labels, leaf_elbo, labels)
    return dendrogram, order, labels, mass


@given(topologies(), st.integers(0, 99))
def test_leaves_and_samples_are_kept(tree, seed):
    dendrogram, order, labels, mass = build(tree, seed)
    assert dendrogram.n_leaves == len(tree.leaves)
    assert (order[dendrogram.labels] == labels).all()
    np.testing.assert_allclose(dendrogram.weight[dendrogram.leaves], mass[order])
    assert dendrogram.weight[0] == pytest.approx(1.0)


@given(topologies(), st.integers(0, 99))
def test_leaves_that_share_an_ancestor_still_do(tree, seed):
    dendrogram, order, _, _ = build(tree, seed)
    for node in tree.branchings:
        below = {i for i, leaf in enumerate(tree.leaves) if node in tree.path(leaf)}
        labels = {i for i, position in enumerate(order) if position in below}
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
    dendrogram, _ = build_dendrogram(
        Topology((-1, 0, 0)), np.array([0.5, 0.5]), labels, log_density, labels
    )
    assert dendrogram.height[0] == pytest.approx(9.0, abs=0.1)


def test_branches_are_mixtures_of_their_leaves():
    labels = np.array([0, 0, 0, 1, 2])
    leaf_elbo = np.log(
        [
            [0.9, 0.1, 0.2],
            [0.9, 0.1, 0.2],
            [0.9, 0.1, 0.2],
            [0.1, 0.5, 0.4],
            [0.1, 0.3, 0.4],
        ]
    )
    tree = Topology((-1, 0, 0, 1, 1))
    dendrogram, order = build_dendrogram(
        tree, np.full(3, 1 / 3), labels, leaf_elbo, labels
    )
    # In the order of the topology: leaf 2 hangs from the root, 3 and 4 from node 1.
    assert order.tolist() == [1, 2, 0]
    density = np.exp(leaf_elbo)
    right = density[:, 0]
    left = density[:, 1:] @ [0.5, 0.5]
    below = np.isin(labels, [1, 2])
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
