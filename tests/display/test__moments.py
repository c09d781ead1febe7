import numpy as np
import pytest
from scipy import sparse

from sktreevae import Dendrogram
from sktreevae.data import row_slices
from sktreevae.display._moments import (
    branch_effects,
    is_amount,
    largest,
    moments_of_leaves,
    moments_of_rows,
)

PARENT = [-1, 0, 0, 1, 1, 2, 2]


@pytest.fixture
def tree():
    return Dendrogram(PARENT, [9, 4, 3, 0, 0, 0, 0], labels=[])


def leaves_below(tree):
    """Return the leaf labels below each node, by going up from every leaf."""
    below = [set() for _ in range(tree.n_nodes)]
    for label, node in enumerate(tree.leaves.tolist()):
        while node >= 0:
            below[node].add(label)
            node = int(tree.parent[node])
    return [sorted(labels) for labels in below]


def brute_force(tree, X, labels):
    rows = [X[np.isin(labels, below)] for below in leaves_below(tree)]
    return (
        np.array([getattr(x, name)(axis=0) for x in rows]) for name in ("mean", "var")
    )


@pytest.mark.parametrize(
    ("convert", "offset"),
    [
        (np.asarray, 0.0),
        (np.asarray, 1e6),
        (sparse.csr_matrix, 0.0),
        (sparse.csr_array, 0.0),
    ],
)
def test_moments_of_rows_are_those_of_the_rows_below(tree, rng, convert, offset):
    X = rng.normal(size=(50, 3)) * (rng.random((50, 3)) < 0.5) + offset
    labels = np.r_[np.arange(4), rng.integers(0, 4, 46)]
    moments = moments_of_rows(tree, convert(X), labels)
    mean, variance = brute_force(tree, X, labels)
    np.testing.assert_allclose(moments.mean, mean, atol=1e-12)
    np.testing.assert_allclose(moments.variance, variance, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, bool])
def test_sums_of_small_types_do_not_overflow(tree, dtype):
    X = np.full((3000, 2), 200).astype(dtype)
    moments = moments_of_rows(tree, X, np.arange(3000) % 4)
    np.testing.assert_allclose(moments.mean, float(X[0, 0]))
    np.testing.assert_allclose(moments.variance, 0.0, atol=1e-12)


def test_data_is_read_in_parts(tree, rng):
    X, labels = rng.normal(size=(40_000, 2)) + 100, rng.integers(0, 4, 40_000)
    mean, variance = brute_force(tree, X, labels)
    assert len(list(row_slices(*X.shape))) > 2
    moments = moments_of_rows(tree, X, labels)
    np.testing.assert_allclose(moments.mean, mean)
    np.testing.assert_allclose(moments.variance, variance)


def test_nodes_without_samples_have_no_moments(tree):
    X = np.arange(6.0).reshape(3, 2)
    moments = moments_of_rows(tree, X, np.array([0, 0, 1]))
    assert np.isnan(moments.mean[[2, 5, 6]]).all()
    assert np.isfinite(moments.mean[[0, 1, 3, 4]]).all()


@pytest.mark.parametrize("weight", [[1, 1, 1, 1], [0.1, 5, 80, 2], [1e-6, 1, 3, 0]])
def test_moments_of_mixtures_follow_from_those_of_their_parts(tree, weight):
    weight = np.array(weight, dtype=float)
    mean, variance = np.array([[0.0], [1.0], [5.0], [9.0]]), np.full((4, 1), 2.0)
    moments = moments_of_leaves(tree, weight, mean, variance)
    for node, below in enumerate(leaves_below(tree)):
        if not weight[below].any():
            assert np.isnan(moments.mean[node])
            continue
        share = weight[below] / weight[below].sum()
        center = share @ mean[below]
        second = share @ (variance[below] + mean[below] ** 2)
        np.testing.assert_allclose(moments.mean[node], center, atol=1e-12)
        np.testing.assert_allclose(moments.variance[node], second - center**2)


def test_effects_are_differences_in_standard_deviations(tree):
    mean, variance = (
        np.array([[0.0], [3.0], [1.0], [1.0]]),
        np.array([[1.0], [2.0]] * 2),
    )
    moments = moments_of_leaves(tree, np.ones(4), mean, variance)
    effects = branch_effects(tree, moments)
    np.testing.assert_allclose(effects[3], -3 / np.sqrt(1.5))
    np.testing.assert_allclose(effects[4], 3 / np.sqrt(1.5))
    assert effects[0] == effects[5] == effects[6] == 0


def test_effects_do_not_depend_on_units(tree, rng):
    X, labels = rng.normal(size=(40, 3)), np.arange(40) % 4
    effects = branch_effects(tree, moments_of_rows(tree, X, labels))
    scaled = branch_effects(tree, moments_of_rows(tree, X * [2, 9, 0.1] + 7, labels))
    np.testing.assert_allclose(scaled, effects, rtol=1e-9)


def test_effects_of_constant_features_are_finite(tree):
    X = np.array([[1.0, 5.0], [1.0, 5.0], [2.0, 5.0], [2.0, 5.0]])
    effects = branch_effects(tree, moments_of_rows(tree, X, np.arange(4)))
    assert np.isfinite(effects).all()
    assert (effects[:, 1] == 0).all()
    assert effects[1, 0] < -10


def test_a_branch_without_samples_has_no_effect(tree):
    moments = moments_of_rows(tree, np.arange(4.0)[:, None], np.array([0, 0, 1, 1]))
    effects = branch_effects(tree, moments)
    assert np.nan_to_num(effects[[1, 2, 5, 6]]).tolist() == [[0], [0], [0], [0]]


def test_word_counts_are_amounts_and_measurements_are_not(tree, rng):
    labels = np.arange(400) % 4
    words = rng.poisson(0.3, size=(400, 5))
    lengths = rng.normal(10, 1, size=(400, 5))
    assert is_amount(moments_of_rows(tree, words, labels))
    assert not is_amount(moments_of_rows(tree, lengths, labels))
    assert not is_amount(moments_of_rows(tree, lengths - 10, labels))


def test_largest_sizes_come_first_and_zeros_not_at_all():
    assert largest(np.array([0.0, 2.0, -1.0, 3.0, 0.5]), 2) == [3, 1]
    assert largest(np.array([0.0, 2.0, np.nan]), 5) == [1]
