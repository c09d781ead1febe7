"""Densities: samples as spread as the data, and likelihoods near those of mixtures."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.datasets import make_blobs
from sklearn.preprocessing import minmax_scale, normalize
from torch import nn

from sktreevae import TreeVAEClustering
from sktreevae.estimator.clustering import N_SCORE_DRAWS
from sktreevae.exceptions import OutlierWarning


def test_samples_are_as_spread_as_the_data():
    X, _ = make_blobs(300, centers=4, n_features=5, random_state=0)
    model = TreeVAEClustering(4, random_state=0).fit(X)
    new, labels = model.sample(4000)
    ratio = [
        new[labels == k].std(axis=0) / X[model.labels_ == k].std(axis=0)
        for k in range(4)
    ]
    assert 0.9 < np.median(ratio) < 1.2


def known_blobs(n, n_features, seed):
    """Return draws of four Gaussians, and their log-densities in nats."""
    rng = np.random.default_rng(0)
    centers = 3.0 * rng.standard_normal((4, n_features))
    scales = rng.uniform(0.5, 1.5, (4, n_features))
    centers[:, 0] += 9.0 * np.arange(4)
    # One direction has most of the variance of each.
    loadings = 2.0 * rng.standard_normal((4, n_features))
    gaussians = [
        multivariate_normal(center, np.outer(loading, loading) + np.diag(scale**2))
        for center, scale, loading in zip(centers, scales, loadings, strict=True)
    ]
    rng = np.random.default_rng(seed)
    X = np.vstack([gaussian.rvs(n // 4, rng) for gaussian in gaussians])
    log_density = np.stack([gaussian.logpdf(X) for gaussian in gaussians])
    return X, logsumexp(log_density - np.log(4), axis=0)


@pytest.mark.parametrize("n_features", [4, pytest.param(10, marks=pytest.mark.nightly)])
def test_the_score_is_precise_and_near_the_truth_from_below(n_features):
    train, _ = known_blobs(1000, n_features, seed=1)
    new, log_density = known_blobs(2000, n_features, seed=2)
    model = TreeVAEClustering(4, random_state=0).fit(train)
    module, x = model.module_, torch.tensor(model._standardizer.transform(new)).float()
    with torch.no_grad():
        scores = [
            module.mean_elbo(x, module.row_noise(x, N_SCORE_DRAWS, seed)).mean().item()
            for seed in range(6)
        ]
    assert np.std(scores, ddof=1) <= 0.02
    excess = model.score_samples(new) - log_density
    assert excess.mean() > -0.15 * n_features
    assert excess.mean() < 2.0 * excess.std() / np.sqrt(len(new))


@pytest.mark.parametrize(
    "growth", ["guided", pytest.param("iterative", marks=pytest.mark.nightly)]
)
def test_samples_have_the_sizes_of_the_clusters(growth):
    sizes = [900, 50, 30, 20]
    X, _ = make_blobs(sizes, centers=8.0 * np.eye(4), random_state=0)
    model = TreeVAEClustering(4, growth=growth, random_state=0).fit(X)
    expected = np.bincount(model.labels_) / len(X)
    actual = np.bincount(model.sample(4000)[1], minlength=4) / 4000
    assert np.abs(actual - expected).sum() / 2 <= 0.03


def test_the_history_is_in_units_of_the_data():
    unit = 100.0
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


COLUMNS = [(0, 0.0), (4, 1e6), (9, 3.0)]
"""Constant columns by their position and value."""


def with_constants(X, columns):
    for position, value in columns:
        X = np.insert(X, position, value, axis=1)
    return X


def blob_rows(n_features=8, **settings):
    settings = {"cluster_std": 2, **settings}
    return make_blobs(300, n_features, centers=6, random_state=0, **settings)[0]


def mixed_rows():
    X, y = blob_rows(6), np.arange(300)
    return np.column_stack([X[:, :3], np.eye(3)[y % 3], X[:, 3:], y % 2])


def counts():
    rates = np.exp(blob_rows(64, center_box=(-2.0, 2.0), cluster_std=1))
    return np.random.default_rng(0).poisson(rates).astype(float)


MAKERS = {
    "gaussian": blob_rows,
    "mixed": mixed_rows,
    "directions": lambda: normalize(blob_rows(70)),
    "bernoulli": lambda: minmax_scale(blob_rows(cluster_std=1)),
    "poisson": counts,
}


@pytest.fixture(scope="module", params=MAKERS)
def constant(request):
    """Return the kind of data, and a model and its data without and with constants."""
    likelihood = request.param if request.param in ("bernoulli", "poisson") else "auto"
    fits = [request.param]
    for columns in ([], COLUMNS):
        X = with_constants(MAKERS[request.param](), columns)
        model = TreeVAEClustering(6, likelihood=likelihood, max_iter=2, random_state=0)
        fits.append((model.fit(X), X))
    return fits


def test_constant_columns_do_not_change_trees_and_scores(constant):
    kind, (alone, X), (model, more) = copy.deepcopy(constant)
    assert kind in (model.likelihood_, model.choices_["features"])
    np.testing.assert_array_equal(model.labels_, alone.labels_)
    np.testing.assert_allclose(model.linkage_matrix_, alone.linkage_matrix_)
    assert model.score(more) == pytest.approx(alone.score(X), abs=1e-3)
    alone.partial_fit(X[:200])
    model.partial_fit(more[:200])
    assert model.score(more) == pytest.approx(alone.score(X), abs=1e-3)


def test_samples_and_means_have_the_constants(constant):
    *_, (model, X) = constant
    for rows in (model.sample(5)[0], model.reconstruct(X[:5]), model.node_means()):
        for position, value in COLUMNS:
            np.testing.assert_allclose(rows[:, position], value)


def test_other_values_in_constant_columns_are_ignored(constant):
    *_, (model, X) = constant
    new = X[:5].copy()
    new[:, [position for position, _ in COLUMNS]] -= 9.5
    for method in (model.predict, model.score_samples, model.transform):
        np.testing.assert_array_equal(method(new), method(X[:5]))


def test_constant_columns_have_no_effects(constant):
    *_, (model, _) = constant
    explanation = model.explain(0, n_features=None)
    effect = dict(zip(explanation.features, explanation.effect, strict=True))
    for position, _ in COLUMNS:
        assert effect[position] == pytest.approx(0.0, abs=1e-6)


def test_columns_keep_their_names():
    pandas = pytest.importorskip("pandas")
    X = blob_rows()
    X[7, 2] = 1e6
    X = pandas.DataFrame(X, columns=list("abcdefgh"))
    X.insert(2, "constant", 5.0)
    with pytest.warns(OutlierWarning, match="feature 'c', sample 7"):
        model = TreeVAEClustering(6, max_iter=2, random_state=0).fit(X)
    assert model.feature_names_in_.tolist() == X.columns.tolist()
    explanation = model.explain(0, n_features=None)
    means = dict(zip(explanation.feature_names, explanation.left_mean, strict=True))
    assert means["constant"] == pytest.approx(5.0)
    expected = X.loc[model.labels_ <= explanation.clusters[0].max(), "h"].mean()
    assert means["h"] == pytest.approx(expected, abs=1.5)


def test_an_empty_category_does_not_split_an_encoding():
    X = with_constants(mixed_rows(), [(4, 0.0)])
    model = TreeVAEClustering(6, max_iter=1, random_state=0).fit(X)
    assert model.module_.config.discrete == ((3, 4, 5), (9,))
    new = model.sample(50)[0]
    assert (new[:, [3, 5, 6]].sum(axis=1) == 1.0).all()
    assert not new[:, 4].any()


def test_networks_of_the_user_are_built_without_constant_columns():
    model = TreeVAEClustering(6, encoder=nn.Linear, max_iter=1, random_state=0)
    model.fit(with_constants(blob_rows(), [(3, 1.0)]))
    assert model.module_.encoder.in_features == 8


def test_augmentations_of_the_user_have_all_columns():
    widths = set()

    def augment(x, generator):
        widths.add(x.shape[1])
        assert (x[:, 3] == 5.0).all()
        return x + 0.1

    model = TreeVAEClustering(6, views=augment, max_iter=1, random_state=0)
    model.fit(with_constants(blob_rows(), [(3, 5.0)]))
    assert widths == {9}
