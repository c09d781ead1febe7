"""Densities: samples as spread as the data, and likelihoods near those of mixtures."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.datasets import make_blobs
from sklearn.mixture import GaussianMixture

from sktreevae import TreeVAEClustering
from sktreevae.clustering import N_SCORE_DRAWS
from sktreevae.training.stopping_rule import StoppingRule


def test_samples_are_as_spread_as_the_data():
    X, _ = make_blobs(300, centers=4, n_features=5, random_state=0)
    model = TreeVAEClustering(4, random_state=0).fit(X)
    new, labels = model.sample(4000)
    ratio = [
        new[labels == k].std(axis=0) / X[model.labels_ == k].std(axis=0)
        for k in range(4)
    ]
    assert 0.9 < np.median(ratio) < 1.2


def correlated_gaussians(n, n_clusters, n_features, rng):
    """Return distant Gaussians; two directions have most of their variance."""
    y = np.arange(n) % n_clusters
    shape = n_clusters, 2, n_features
    loadings = np.random.default_rng(0).standard_normal(shape)
    z, noise = rng.standard_normal((n, 2)), rng.standard_normal((n, n_features))
    return np.einsum("bi,bij->bj", z, loadings[y]) + 0.5 * noise + 9.0 * y[:, None]


@pytest.mark.parametrize(("n_clusters", "n_features"), [(2, 5), (3, 8)])
def test_the_score_is_near_that_of_a_mixture_of_gaussians(n_clusters, n_features, rng):
    X, new = (
        correlated_gaussians(n, n_clusters, n_features, rng) for n in (1500, 1000)
    )
    model = TreeVAEClustering(n_clusters, random_state=0).fit(X)
    mixture = GaussianMixture(n_clusters, n_init=3, random_state=0).fit(X)
    assert model.score(new) > mixture.score(new) - 0.15 * n_features


def known_blobs(n, n_features, seed):
    """Return draws of four Gaussians, and their log-densities in nats."""
    rng = np.random.default_rng(0)
    centers = 3.0 * rng.standard_normal((4, n_features))
    scales = rng.uniform(0.5, 1.5, (4, n_features))
    rng = np.random.default_rng(seed)
    y = rng.integers(4, size=n)
    X = rng.normal(centers[y], scales[y])
    log_density = norm(centers, scales).logpdf(X[:, None]).sum(2)
    return X, logsumexp(log_density - np.log(4), axis=1)


@pytest.mark.parametrize("n_features", [4, 10])
def test_the_score_is_precise_and_not_above_the_truth(n_features):
    train, _ = known_blobs(2000, n_features, seed=1)
    new, log_density = known_blobs(2000, n_features, seed=2)
    model = TreeVAEClustering(4, random_state=0).fit(train)
    module, x = model.module_, torch.tensor(model._standardizer.transform(new)).float()
    with torch.no_grad():
        scores = [
            module.mean_elbo(x, module.row_noise(x, N_SCORE_DRAWS, seed)).mean().item()
            for seed in range(12)
        ]
    assert np.std(scores, ddof=1) <= 0.02
    excess = model.score_samples(new) - log_density
    assert excess.mean() < 2.0 * excess.std() / np.sqrt(len(new))


@pytest.mark.parametrize("growth", ["guided", "iterative"])
def test_samples_have_the_sizes_of_the_clusters(growth):
    sizes = [900, 50, 30, 20]
    X, _ = make_blobs(sizes, centers=8.0 * np.eye(4), random_state=0)
    model = TreeVAEClustering(4, growth=growth, random_state=0).fit(X)
    expected = np.bincount(model.labels_) / len(X)
    actual = np.bincount(model.sample(4000)[1], minlength=4) / 4000
    assert np.abs(actual - expected).sum() / 2 <= 0.03


@pytest.mark.parametrize("unit", [0.01, 100.0])
def test_the_history_is_in_units_of_the_data(unit):
    X, _ = make_blobs(300, 3, centers=3, random_state=0)
    one, two = (
        TreeVAEClustering(3, max_iter=2, early_stopping=True, random_state=0).fit(x)
        for x in (X, unit * X)
    )
    shift = X.shape[1] * np.log(unit)
    for name in ("elbo", "reconstruction", "validation_elbo"):
        expected = np.array(one.history_[name]) - shift
        np.testing.assert_allclose(two.history_[name], expected, atol=0.1)
    assert two.history_["elbo"][-1] == two.lower_bound_


def fit_all_epochs(X):
    """Return a fit that doesn't end early, so that scores differ little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoppingRule, "should_stop", lambda *_: False)
        return TreeVAEClustering(6, random_state=0).fit(X)


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(1000, 8, centers=6, cluster_std=2, random_state=0)[0]


@pytest.fixture(scope="module")
def blobs_score(blobs):
    return fit_all_epochs(blobs).score(blobs)


@pytest.mark.parametrize("columns", [[(3, -7.0)], [(0, 0.0), (4, 1e6), (9, 3.0)]])
def test_constant_columns_have_no_density(columns, blobs, blobs_score):
    X = blobs
    for position, value in columns:
        X = np.insert(X, position, value, axis=1)
    model = fit_all_epochs(X)
    assert model.score(X) == pytest.approx(blobs_score, abs=0.1)
    new = X[:5].copy()
    for position, value in columns:
        np.testing.assert_allclose(model.sample(5)[0][:, position], value)
        np.testing.assert_allclose(model.reconstruct(X[:5])[:, position], value)
        new[:, position] += 1.0
    np.testing.assert_array_equal(model.score_samples(new), model.score_samples(X[:5]))
