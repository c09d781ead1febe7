import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import cut_tree, linkage

from sktreevae.data import FeatureTable
from sktreevae.graph import count_supported, n_clusters, split_support


def ward_tree(X, n_leaves):
    """Ward's tree over as many clusters, as labels and merges."""
    labels = cut_tree(linkage(X, "ward"), n_leaves)[:, 0]
    means = np.stack([X[labels == k].mean(axis=0) for k in range(n_leaves)])
    return labels, linkage(means, "ward")[:, :2].astype(int)


def estimate(X, cluster, merges, rng):
    features = FeatureTable.from_tensor(torch.from_numpy(X))
    return count_supported(merges, *split_support(features, cluster, merges, rng))


@pytest.mark.parametrize(
    ("distance", "n_leaves", "expected"),
    [(0, 2, 1), (0, 5, 1), (0, 20, 1), (10, 4, 4), (10, 6, 4), (10, 12, 4)],
)
def test_the_supported_clusters_are_the_gaussians(distance, n_leaves, expected, rng):
    X = rng.standard_normal((600, 3))
    X[:, :2] += distance * np.stack(np.divmod(np.arange(600) % 4, 2), axis=1)
    assert estimate(X, *ward_tree(X, n_leaves), rng) == expected


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_few_rows_support_one(n, rng):
    X = rng.standard_normal((n, 2))
    k = min(n, 2)
    merges = np.array([[0, 1]])[: k - 1]
    assert estimate(X, np.arange(n) % k, merges, rng) == 1


@pytest.mark.filterwarnings("error")
def test_a_leaf_without_samples_is_not_supported(rng):
    X = rng.standard_normal((60, 2))
    merges = np.array([[0, 2], [1, 3]])
    assert estimate(X, np.ones(60, dtype=int), merges, rng) == 1


def test_rows_are_not_predicted_by_themselves(rng):
    x = rng.standard_normal((50, 2))
    fold = np.arange(50) % n_clusters.N_FOLDS
    all_rows = np.ones(50, dtype=bool)
    density = n_clusters._held_out_log_density(x, all_rows, fold)
    expected = n_clusters._log_density(x[fold == 1], x[fold != 1])
    np.testing.assert_allclose(density[fold == 1], expected)


def test_gains_are_those_of_known_densities(rng):
    # Two far Gaussians of variance 1: the gain of the split is the difference of the
    # entropies, short of the entropy of the choice.
    X = rng.standard_normal((8000, 2))
    X[:4000, 0] += 20.0
    features = FeatureTable.from_tensor(torch.from_numpy(X))
    cluster = np.repeat([0, 1], 4000)
    gain, error = split_support(features, cluster, np.array([[0, 1]]), rng)
    assert gain[0] == pytest.approx(0.5 * np.log(101.0) - np.log(2.0), abs=0.03)
    assert 0 < error[0] < 0.02


@pytest.mark.parametrize("n_more", [0, 1, 4])
def test_rotations_and_constant_features_do_not_change_the_support(n_more, rng):
    X = rng.standard_normal((400, 4)) + 4.0 * np.eye(4)[np.arange(400) % 4]
    tree = np.arange(400) % 4, np.array([[0, 1], [2, 3], [4, 5]])
    rotation = np.linalg.qr(rng.standard_normal((4 + n_more, 4)))[0].T
    one, two = (
        split_support(
            FeatureTable.from_tensor(torch.from_numpy(rows)),
            *tree,
            np.random.default_rng(0),
        )
        for rows in (X, X @ rotation + 5.0)
    )
    np.testing.assert_allclose(one, two, atol=1e-6)
