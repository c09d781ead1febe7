import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.stats import multivariate_normal

from sktreevae.training import selection
from sktreevae.training.selection import count_supported


def ward_tree(X, n_leaves):
    """Ward's tree over as many clusters, as labels and merges."""
    labels = cut_tree(linkage(X, "ward"), n_leaves)[:, 0]
    means = np.stack([X[labels == k].mean(axis=0) for k in range(n_leaves)])
    return labels, linkage(means, "ward")[:, :2].astype(int)


@pytest.mark.parametrize("n_leaves", [2, 5, 20])
def test_one_gaussian_supports_one_cluster(n_leaves, rng):
    X = rng.standard_normal((600, 5))
    assert count_supported(torch.from_numpy(X), *ward_tree(X, n_leaves), rng) == 1


@pytest.mark.parametrize("n_leaves", [4, 6, 12])
def test_four_gaussians_support_four(n_leaves, rng):
    X = rng.standard_normal((600, 3))
    X[:, :2] += 10 * np.stack([np.arange(600) % 2, np.arange(600) // 2 % 2], axis=1)
    assert count_supported(torch.from_numpy(X), *ward_tree(X, n_leaves), rng) == 4


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_few_rows_support_one(n, rng):
    X = rng.standard_normal((n, 2))
    k = min(n, 2)
    assert (
        count_supported(
            torch.from_numpy(X), np.arange(n) % k, np.array([[0, 1]])[: k - 1], rng
        )
        == 1
    )


def test_constant_rows_support_one(rng):
    labels = np.arange(40) % 2
    assert count_supported(torch.ones(40, 3), labels, np.array([[0, 1]]), rng) == 1


def test_log_density_is_that_of_a_gaussian(rng):
    sample = rng.standard_normal((5000, 3)) @ np.diag([1.0, 2.0, 3.0]) + 5
    x = rng.standard_normal((10, 3))
    expected = multivariate_normal(sample.mean(axis=0), np.cov(sample.T)).logpdf(x)
    actual = selection._log_density(x, sample)
    np.testing.assert_allclose(actual, expected, rtol=0.01)


def test_rows_are_not_predicted_by_themselves(rng):
    x = rng.standard_normal((50, 2))
    fold = np.arange(50) % selection.N_FOLDS
    everyone = np.ones(50, dtype=bool)
    density = selection._held_out_log_density(x, everyone, fold)
    expected = selection._log_density(x[fold == 1], x[fold != 1])
    np.testing.assert_allclose(density[fold == 1], expected)
