import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.covariance import oas
from sklearn.datasets import make_circles, make_moons
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import normalize

from sktreevae.data import FeatureTable
from sktreevae.graph import GraphOptions, NeighborGraph
from sktreevae.graph.gaussians import (
    neighbor_log_density,
    overlapping_gaussians,
    principal_axes,
    refine_gaussians,
    shrunk_covariance,
    stable_refinement,
)


@pytest.mark.parametrize(("n_samples", "scale"), [(4, 1.0), (30, 1.0), (30, 5.0)])
def test_the_covariance_is_that_of_oracle_approximating_shrinkage(
    n_samples, scale, rng
):
    sample = rng.standard_normal((n_samples, 4)) * [scale, 1, 1, 1]
    expected, _ = oas(sample)
    actual = shrunk_covariance(sample)
    np.testing.assert_allclose(actual, expected, atol=1e-10)


@pytest.mark.parametrize("n_more", [0, 1, 3])
def test_collinear_and_constant_features_have_no_axes(n_more, rng):
    X = rng.standard_normal((200, 4)) @ rng.standard_normal((4, 4 + n_more))
    X = np.c_[X, np.full(200, 7.0)].astype(np.float32)
    axes = principal_axes(X, 10)
    np.testing.assert_allclose(axes.T @ axes, np.eye(4), atol=1e-10)
    centered = X - X.mean(axis=0)
    np.testing.assert_allclose(centered @ axes @ axes.T, centered, atol=1e-4)


def touching(rng, n=600):
    """Three long clusters side by side: most of the spread is within them."""
    y = np.arange(n) % 3
    X = rng.standard_normal((n, 5)) * [9, 1, 1, 1, 1]
    X[:, 1] += 5.0 * y
    return X, y


def test_the_result_is_that_of_its_own_linear_discriminants(rng):
    X, y = touching(rng, 3000)
    cluster = refine_gaussians(X, y, alike, 0.0, rng)
    model = LinearDiscriminantAnalysis(priors=np.full(3, 1 / 3)).fit(X, cluster)
    assert np.mean(model.predict(X) == cluster) > 0.999


def alike(cluster):
    """All clusters have the same share of the neighbors of every sample."""
    n_clusters = cluster.max() + 1
    return np.full((len(cluster), n_clusters), 1 / n_clusters)


def test_neighbors_decide_where_gaussians_do_not(rng):
    X = np.repeat([[0.0], [1.0], [0.5]], [40, 40, 2], axis=0)
    cluster = np.repeat([0, 1, 0], [40, 40, 2])
    share = np.eye(2)[np.repeat([0, 1], [40, 42])]
    moved = refine_gaussians(X, cluster, lambda _: share, 1.0, rng)
    np.testing.assert_array_equal(moved, np.repeat([0, 1], [40, 42]))


def test_the_refinement_after_which_partitions_agree_is_taken(rng):
    # Gaussians: both partitions become the same.
    X, y = touching(rng)
    one, two = (
        np.where(rng.random(len(y)) < 0.3, rng.integers(3, size=len(y)), y)
        for _ in range(2)
    )
    refined = stable_refinement(X, one, two, alike, rng)
    assert adjusted_rand_score(y, refined) > adjusted_rand_score(y, one) + 0.2
    # Partitions that agree can't agree more.
    np.testing.assert_array_equal(stable_refinement(X, one, one, alike, rng), one)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(s, marks=pytest.mark.nightly) for s in (1, 2))]
)
def test_embeddings_are_clustered_as_well_as_by_kmeans(seed):
    rng = np.random.default_rng(seed)
    y = np.arange(900) % 3
    X = normalize(rng.standard_normal((900, 80)) + 2.5 * np.eye(3, 80)[y])
    X = normalize(X - X.mean(axis=0)).astype(np.float32)
    options = GraphOptions(round_clusters=True, n_restarts=2)
    random = torch.Generator().manual_seed(seed)
    features = FeatureTable.from_tensor(torch.from_numpy(X))
    cluster = NeighborGraph(features, random, 3, options=options).propose(3).cluster
    kmeans = KMeans(3, n_init=10, random_state=0).fit(X).labels_
    reference = adjusted_rand_score(y, kmeans)
    assert adjusted_rand_score(y, cluster) > reference - 0.03


def test_no_cluster_becomes_too_small(rng):
    X, y = touching(rng, 300)
    start = np.where(rng.random(300) < 0.6, rng.integers(3, size=300), y)
    for min_size in (1, 95, 300):
        size = np.bincount(
            refine_gaussians(X, start, alike, 0.0, rng, min_size), minlength=3
        )
        assert size.min() >= min(min_size, np.bincount(start).min())


# Mixtures


def two_gaussians(rng, n=2000, distance=2.0, n_features=2):
    """Return two Gaussians, the nearer mean of each sample, and P(second | x)."""
    y = np.arange(n) % 2
    X = rng.standard_normal((n, n_features))
    X[:, 0] += distance * y
    log_odds = distance * (X[:, 0] - distance / 2)
    return X, (log_odds > 0).astype(int), 1 / (1 + np.exp(-log_odds))


def test_probabilities_of_overlapping_gaussians_are_near_the_true_ones(rng):
    X, cluster, truth = two_gaussians(rng)
    proba = overlapping_gaussians(X, cluster, rng).predict_proba(X)
    assert np.abs(proba[:, 1] - truth).mean() < 0.03


def moons(n):
    return make_moons(n, noise=0.05, random_state=0)


def rings(n):
    return make_circles(n, noise=0.05, factor=0.4, random_state=0)


def triangles(n):
    # Their long sides are in parallel: Gaussians of them overlap, they don't.
    rng = np.random.default_rng(0)
    X = rng.random((n, 2))
    X = X[X.sum(axis=1) < 1]
    return np.r_[X, 1.1 - X], np.repeat([0, 1], len(X))


@pytest.mark.parametrize("make", [moons, rings, triangles])
@pytest.mark.parametrize("n_samples", [400, 2000])
def test_clusters_of_other_shapes_have_no_mixture(make, n_samples, rng):
    X, cluster = make(n_samples)
    assert overlapping_gaussians(X, cluster, rng) is None


@pytest.mark.parametrize(("smallest", "is_large"), [(9, False), (10, True)])
def test_clusters_have_two_samples_for_each_feature(smallest, is_large, rng):
    cluster = np.repeat([0, 1], [200, smallest])
    X = rng.standard_normal((len(cluster), 5)) + 9.0 * cluster[:, None]
    assert (overlapping_gaussians(X, cluster, rng) is not None) == is_large


def test_constant_features_do_not_change_the_mixture(rng):
    X, cluster, _ = two_gaussians(rng)
    Z = np.c_[np.full(len(X), 5.0), X, np.zeros((len(X), 2))]
    one, two = (overlapping_gaussians(x, cluster, rng).predict_proba(x) for x in (X, Z))
    np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.mark.parametrize(("n_features", "is_narrow"), [(32, True), (33, False)])
def test_wide_tables_have_no_mixture(n_features, is_narrow, rng):
    X, cluster, _ = two_gaussians(rng, 600, 9.0, n_features)
    assert (overlapping_gaussians(X, cluster, rng) is not None) == is_narrow


@pytest.mark.parametrize(("scale", "expected"), [(1.0, "tied"), (4.0, "full")])
def test_gaussians_share_a_covariance_if_theirs_are_equal(scale, expected, rng):
    cluster = np.arange(1000) % 2
    X = rng.standard_normal((1000, 3)) * np.where(cluster, scale, 1.0)[:, None]
    X[:, 0] += 20.0 * cluster
    assert overlapping_gaussians(X, cluster, rng).mixture.covariance_type == expected


def test_the_density_of_neighbors_estimates_the_entropy(rng):
    for n_features in (1, 2, 5):
        X = rng.standard_normal((2000, n_features))
        entropy = 0.5 * n_features * np.log(2 * np.pi * np.e)
        assert neighbor_log_density(X).mean() == pytest.approx(-entropy, abs=0.1)
