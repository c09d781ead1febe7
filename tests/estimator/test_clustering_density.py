"""Densities: samples as spread as the data, and likelihoods near those of mixtures."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.datasets import make_blobs
from sklearn.mixture import GaussianMixture
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


def correlated_gaussians(n, n_clusters, n_features, rng):
    """Return distant Gaussians; two directions have most of their variance."""
    y = np.arange(n) % n_clusters
    shape = n_clusters, 2, n_features
    loadings = np.random.default_rng(0).standard_normal(shape)
    z, noise = rng.standard_normal((n, 2)), rng.standard_normal((n, n_features))
    return np.einsum("bi,bij->bj", z, loadings[y]) + 0.5 * noise + 9.0 * y[:, None]


@pytest.mark.parametrize(
    ("n_clusters", "n_features"),
    [(2, 5), pytest.param(3, 8, marks=pytest.mark.nightly)],
)
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


@pytest.mark.parametrize("n_features", [4, pytest.param(10, marks=pytest.mark.nightly)])
def test_the_score_is_precise_and_not_above_the_truth(n_features):
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


def gaussian_rows():
    return make_blobs(300, 8, centers=6, cluster_std=2, random_state=0)[0]


def mixed_rows():
    X, y = make_blobs(300, 6, centers=6, cluster_std=2, random_state=0)
    return np.column_stack([X[:, :3], np.eye(3)[y % 3], X[:, 3:], y > 2])


def unit_rows():
    X, _ = make_blobs(300, 70, centers=6, cluster_std=2, random_state=0)
    return normalize(X)


def probabilities():
    return minmax_scale(make_blobs(300, 8, centers=6, random_state=0)[0])


def counts():
    X, _ = make_blobs(300, 64, centers=6, center_box=(-2.0, 2.0), random_state=0)
    return np.random.default_rng(0).poisson(np.exp(X)).astype(float)


MAKERS = {
    "gaussian": gaussian_rows,
    "mixed": mixed_rows,
    "directions": unit_rows,
    "bernoulli": probabilities,
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
    X = gaussian_rows()
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
    model.fit(with_constants(gaussian_rows(), [(3, 1.0)]))
    assert model.module_.encoder.in_features == 8


def test_augmentations_of_the_user_have_all_columns():
    widths = set()

    def augment(x, generator):
        widths.add(x.shape[1])
        assert (x[:, 3] == 5.0).all()
        return x + 0.1

    model = TreeVAEClustering(6, views=augment, max_iter=1, random_state=0)
    model.fit(with_constants(gaussian_rows(), [(3, 5.0)]))
    assert widths == {9}
