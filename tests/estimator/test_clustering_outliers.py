"""Fits of data with one wrong value."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from sktreevae import TreeVAEClustering
from sktreevae.exceptions import OutlierWarning, UnsupportedClustersWarning

BLOBS = make_blobs(
    [75] * 4, centers=np.random.default_rng(0).uniform(-10, 10, (4, 5)), random_state=0
)[0]


def fit(X, n_clusters):
    return TreeVAEClustering(n_clusters, max_iter=1, random_state=0).fit(X)


@pytest.mark.parametrize(
    "value", [1e6, *(pytest.param(v, marks=pytest.mark.nightly) for v in (1e2, 1e20))]
)
@pytest.mark.parametrize("n_clusters", [4, None])
def test_one_wrong_value_does_not_change_the_clusters_of_others(value, n_clusters):
    X = BLOBS.copy()
    X[0, 0] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutlierWarning)
        warnings.simplefilter("error", UnsupportedClustersWarning)
        model = fit(X, n_clusters)
    expected = fit(BLOBS, n_clusters)
    n_more = model.n_clusters_ - expected.n_clusters_
    assert n_more == 0 if n_clusters else n_more in (0, 1)
    labels = expected.labels_[1:]
    assert adjusted_rand_score(labels, model.predict(X, 4)[1:]) == 1.0


@pytest.mark.filterwarnings("ignore::sktreevae.exceptions.OutlierWarning")
def test_a_wrong_value_of_a_constant_feature_does_not_hide_the_clusters():
    X = np.c_[BLOBS, np.zeros(len(BLOBS))]
    X[0, -1] = 1e20
    labels = fit(BLOBS, 4).labels_[1:]
    assert adjusted_rand_score(labels, fit(X, 4).labels_[1:]) == 1.0


def test_outliers_have_low_and_finite_scores():
    model = fit(BLOBS, 4)
    X = BLOBS[:3].copy()
    X[:, 0] = [1e3, 1e6, 1e100]
    scores = model.score_samples(X)
    assert np.isfinite(scores).all()
    assert scores.max() < model.score_samples(BLOBS).min()


@pytest.mark.nightly
def test_gray_levels_have_the_clusters_of_values_between_0_and_1(data_dir):
    with np.load(data_dir / "mnist.npz") as file:
        X = file["X_train"][:4000, ::2, ::2].reshape(4000, -1)
    model = TreeVAEClustering(10, max_iter=4, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = model.fit_predict(X)
    assert adjusted_rand_score(model.fit_predict(X / 255), labels) > 0.9
