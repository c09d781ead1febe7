"""Results are functions of the row; see `make test-processors` for other kernels."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from sktreevae import TreeVAEClustering

N_ROWS = 300
IMAGES = {"image_shape": (8, 8), "encoder": "cnn", "decoder": "cnn"}
COLOR_IMAGES = {"image_shape": (8, 8, 3), "encoder": "resnet", "decoder": "resnet"}

CASES = {
    # Products of few columns have kernels of their own.
    "3 columns": ("gaussian", 3, {"latent_dim": 2}),
    "7 columns": ("gaussian", 7, {}),
    "splits": ("gaussian", 5, {"growth": "iterative"}),
    "unit interval": ("bernoulli", 64, {}),
    "mixed": ("mixed", 6, {}),
    "counts": ("poisson", 9, {}),
    "overdispersed counts": ("negative_binomial", 9, {}),
    "images": ("bernoulli", 64, IMAGES),
    "color images": ("gaussian", 192, COLOR_IMAGES),
    # Blocks of wide rows are small. As embeddings, they would not be reduced, and
    # eigenvectors of a matrix of all columns would take most of the time.
    "wide rows": ("gaussian", 5000, {"kind": "table"}),
}


def make_data(likelihood, n_features):
    X, y = make_blobs(N_ROWS, n_features, centers=4, random_state=0)
    if likelihood == "bernoulli":
        return 1.0 / (1.0 + np.exp(-X))
    if likelihood == "mixed":
        X[:, :3] = np.eye(3)[y % 3]
    if likelihood in ("poisson", "negative_binomial"):
        return np.random.default_rng(0).poisson(np.exp(X / 10.0))
    return X


NIGHTLY = {"7 columns", "splits", "unit interval", "counts", "color images"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.nightly if name in NIGHTLY else ())
        for name in CASES
    ],
)
def case(request):
    likelihood, n_features, settings = CASES[request.param]
    X = make_data(likelihood, n_features)
    model = TreeVAEClustering(
        4, likelihood=likelihood, hidden_dim=20, max_iter=1, random_state=0, **settings
    )
    return model.fit(X), X


METHODS = {
    "predict_proba": TreeVAEClustering.predict_proba,
    "transform": TreeVAEClustering.transform,
    "score_samples": TreeVAEClustering.score_samples,
    "reconstruct": TreeVAEClustering.reconstruct,
    "log_likelihood": lambda model, X: model.log_likelihood(X, 3),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_result_depends_on_its_row_only(case, method):
    (model, X), function = case, METHODS[method]
    whole = function(model, X)
    order = np.random.default_rng(0).permutation(N_ROWS)
    for rows in (order, order[-5:], order[:1]):
        np.testing.assert_array_equal(function(model, X[rows]), whole[rows])


@pytest.mark.parametrize("method", ["transform", "score_samples", "reconstruct"])
def test_a_result_does_not_depend_on_the_number_of_threads(case, method):
    model, X = case
    expected = METHODS[method](model, X)
    try:
        actual = METHODS[method](model.set_params(n_jobs=3), X)
    finally:
        model.set_params(n_jobs=None)
    np.testing.assert_array_equal(actual, expected)


def test_the_labels_of_the_fit_are_those_of_the_rows(case):
    model, X = case
    np.testing.assert_array_equal(model.predict(X[::-1])[::-1], model.labels_)
