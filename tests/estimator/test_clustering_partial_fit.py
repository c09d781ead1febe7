import copy
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_equal
from scipy.cluster.hierarchy import is_valid_linkage
from sklearn.metrics import adjusted_rand_score

from sktreevae import TreeVAEClustering
from sktreevae.metrics import dendrogram_purity

from .cases import QUICK, assert_same


@pytest.fixture
def model(blob_model):
    return blob_model


def fit_blobs(X, **settings):
    return TreeVAEClustering(4, **QUICK, **settings).fit(X)


# What it learns


def test_first_call_is_a_fit(blobs):
    X, _ = blobs
    assert_same(TreeVAEClustering(4, **QUICK).partial_fit(X), fit_blobs(X), X)


def test_clusters_survive_many_calls(digits):
    X, y = digits
    model = TreeVAEClustering(10, random_state=0).fit(X)
    before = dendrogram_purity(y, model)
    rng = np.random.default_rng(0)
    for _ in range(6):
        model.partial_fit(X[rng.permutation(len(X))[:150]])
    assert dendrogram_purity(y, model, model.predict(X)) > before - 0.02


def test_rows_of_other_clusters_are_warned_of(model, blobs):
    X, y = blobs
    with pytest.warns(UserWarning, match="other clusters than .* Shuffle the rows"):
        model.partial_fit(X[y == 0])
    assert [finding.name for finding in model.diagnose()].count("drift") == 1
    for rows in (X, X[::9], X[:1]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.partial_fit(rows)
        assert "drift" not in [finding.name for finding in model.diagnose()]


# What is kept, and what changes


@pytest.mark.parametrize("only_one", [False, True])
def test_labels_are_those_of_the_last_rows_and_empty_leaves_stay(
    model, blobs, only_one
):
    X, y = blobs
    rows, parent = X[y == 0] if only_one else X[:30], model.dendrogram_.parent
    model.partial_fit(rows)
    assert_equal(model.labels_, model.predict(rows))
    assert len(set(model.labels_)) == (1 if only_one else 4)
    assert_equal(model.dendrogram_.labels, model.labels_)
    assert_equal(model.dendrogram_.parent, parent)
    assert model.dendrogram_.n_node_samples[0] == model.n_leaves_ == len(rows)
    assert model.children_.shape == (len(rows) - 1, 2)
    assert model.n_clusters_ == 4
    assert is_valid_linkage(model.linkage_matrix_)
    assert adjusted_rand_score(y, model.predict(X)) == 1.0


def test_weights_are_means_over_all_rows(model, blobs):
    X, y = blobs
    tree = model.dendrogram_
    weights = 200 * tree.weight[tree.leaves]
    for rows in (X[y == 0], X[:30]):
        tree = model.partial_fit(rows).dendrogram_
        weights = weights + model.predict_proba(rows).sum(axis=0)
    assert_allclose(tree.weight[tree.leaves], weights / 280)
    assert_allclose(tree.weight[0], 1.0)


def test_history_goes_on(blobs):
    X, _ = blobs
    model = fit_blobs(X, batch_size=32)
    before, n_iter = model.history_, model.n_iter_
    model.partial_fit(X).partial_fit(X)
    assert model.n_iter_ == n_iter + 2
    for name, values in model.history_.items():
        assert len(values) == model.n_iter_
        assert_equal(values[:n_iter], before[name])
    assert model.history_["phase"][-2:] == ["partial_fit", "partial_fit"]
    assert model.history_["learning_rate"][-1] == 0.25 * 2e-3
    assert model.history_["kl_weight"][-1] == 1.0
    assert model.lower_bound_ == model.history_["elbo"][-1]


def test_a_fit_starts_anew(model, blobs):
    X, _ = blobs
    model.partial_fit(X[:50])
    assert_same(model.fit(X), fit_blobs(X), X)


@pytest.mark.parametrize(
    ("growth", "likelihood"),
    [("guided", "poisson"), ("iterative", "bernoulli"), ("published", "poisson")],
)
def test_every_growth_and_likelihood_goes_on(digits, growth, likelihood):
    X = digits[0][:200] > 8 if likelihood == "bernoulli" else digits[0][:200]
    settings = {"growth": growth, "likelihood": likelihood, "early_stopping": True}
    model = TreeVAEClustering(2, **QUICK, **settings).fit(X)
    bound = model.lower_bound_
    for _ in range(20):
        model.partial_fit(X)
    assert model.lower_bound_ > bound


def test_variants_take_part_but_for_neighbors(digits):
    X = digits[0][:200]
    contrast = {}
    for views in ("image", "neighbors"):
        model = TreeVAEClustering(2, views=views, image_shape=(8, 8), **QUICK).fit(X)
        contrast[views] = model.partial_fit(X[:1]).history_["contrast"][-1]
    assert np.isfinite(contrast["image"])
    assert np.isnan(contrast["neighbors"])


# Determinism


def test_calls_draw_different_noise(model, blobs):
    X, _ = blobs
    seeds = [model._seed, *(model.partial_fit(X[:9])._seed for _ in range(3))]
    assert len(set(seeds)) == 4


# What can go wrong


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X: np.where(X == X[3, 1], np.nan, X), "NaN"),
        (lambda X: X[:, :1], "X has 1 features, but TreeVAEClustering is expecting 2"),
        (lambda X: X[:0], "0 sample"),
        (lambda X: 1e200 * X, "too large to standardize"),
    ],
)
def test_rows_that_are_refused_change_nothing(model, blobs, spoil, message):
    X, _ = blobs
    untouched = copy.deepcopy(model)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(spoil(X))
    assert_same(model, untouched, X)
    assert_same(model.partial_fit(X), untouched.partial_fit(X), X)


def test_a_call_that_diverges_changes_nothing(model, blobs, monkeypatch):
    X, _ = blobs
    untouched = copy.deepcopy(model)
    # As if the last step had gone wrong.
    monkeypatch.setattr("torch.nn.utils.get_total_norm", lambda _: torch.tensor(np.nan))
    with pytest.raises(FloatingPointError, match="diverged in phase 'partial_fit'"):
        model.partial_fit(X)
    assert_same(model, untouched, X)


def test_parameters_are_checked(model, blobs):
    X, _ = blobs
    model.set_params(batch_size=0)
    with pytest.raises(ValueError, match="'batch_size' parameter"):
        model.partial_fit(X)
    model.set_params(batch_size=8, views="image")
    with pytest.raises(ValueError, match="views='image' needs an image_shape"):
        model.partial_fit(X)
    model.set_params(views=lambda rows, generator: rows[:, :1])
    with pytest.raises(ValueError, match="views must return a tensor of the shape"):
        model.partial_fit(X)
