"""Searches, cross-validation, metadata routing and outputs of scikit-learn."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.cluster import AgglomerativeClustering
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sktreevae import TreeVAEClustering
from sktreevae.metrics import dendrogram_purity_scorer

QUICK = {"max_iter": 1, "hidden_dim": 8, "random_state": 0}
COLUMNS = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(120, 4, centers=4, cluster_std=0.5, random_state=3)


@pytest.fixture(scope="module")
def pipeline(blobs):
    steps = [("scale", StandardScaler()), ("cluster", TreeVAEClustering(4, **QUICK))]
    return Pipeline(steps).fit(blobs[0])


def search(estimator, grid, X, y=None, **settings):
    search = GridSearchCV(estimator, grid, cv=2, error_score="raise", **settings)
    return search.fit(X, y)


# Comparisons with other clusterers


def test_the_last_step_is_swapped_in_a_search(pipeline, blobs):
    clusterers = [TreeVAEClustering(**QUICK), AgglomerativeClustering()]
    grid = {"cluster": clusterers, "cluster__n_clusters": [2, 4]}
    found = search(pipeline, grid, *blobs, scoring=dendrogram_purity_scorer)
    scores = dict.fromkeys([TreeVAEClustering, AgglomerativeClustering], ())
    for params, score in zip(
        found.cv_results_["params"], found.cv_results_["mean_test_score"], strict=True
    ):
        scores[type(params["cluster"])] += (score,)
    for two, four in scores.values():
        assert two < 0.6
        assert four == 1.0
    assert found.best_params_["cluster__n_clusters"] == 4


# Scores


def test_cross_validation_is_by_the_elbo(pipeline, blobs):
    X, _ = blobs
    folds = KFold(2, shuffle=True, random_state=0)
    scores = cross_val_score(pipeline, X, cv=folds, error_score="raise")
    expected = [
        clone(pipeline).fit(X[train]).score_samples(X[test]).mean(dtype=np.float64)
        for train, test in folds.split(X)
    ]
    assert scores.tolist() == expected


def test_the_elbo_chooses_the_number_of_clusters(blobs):
    X, _ = blobs
    model = TreeVAEClustering(**{**QUICK, "max_iter": 10})
    found = search(model, {"n_clusters": [1, 4]}, X, refit=False)
    assert found.best_params_ == {"n_clusters": 4}


# Metadata routing


@pytest.fixture
def _routing():
    with config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("_routing")
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_cuts_are_routed_through_a_pipeline(pipeline, blobs, method):
    X, _ = blobs
    model = pipeline[-1]
    getattr(model, f"set_{method}_request")(n_clusters=True)
    expected = getattr(model, method)(pipeline[:-1].transform(X), n_clusters=2)
    assert np.array_equal(getattr(pipeline, method)(X, n_clusters=2), expected)


@pytest.mark.usefixtures("_routing")
def test_weights_of_samples_are_routed_to_the_score(blobs):
    X, _ = blobs
    weights = np.arange(len(X)) % 3
    model = TreeVAEClustering(2, **QUICK).set_score_request(sample_weight=True)
    scores = cross_validate(
        make_pipeline(model),
        X,
        cv=KFold(2),
        params={"sample_weight": weights},
        return_estimator=True,
        return_indices=True,
        error_score="raise",
    )
    for fitted, test, score in zip(
        scores["estimator"],
        scores["indices"]["test"],
        scores["test_score"],
        strict=True,
    ):
        assert score == fitted[-1].score(X[test], sample_weight=weights[test])
        assert score != fitted[-1].score(X[test])


# Outputs


@pytest.mark.parametrize(
    ("library", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)]
)
def test_frames_go_through_a_pipeline(pipeline, blobs, library, frame):
    X, _ = blobs
    data = frame(dict(zip(COLUMNS, X.T, strict=True)))
    model = clone(pipeline).set_output(transform=library).fit(data)
    embedding = model.transform(data)
    assert isinstance(embedding, frame)
    assert list(embedding.columns) == list(model.get_feature_names_out())
    assert embedding.columns[0] == "treevaeclustering0"
    assert list(model[-1].feature_names_in_) == COLUMNS
    assert np.array_equal(model.predict(data), pipeline.predict(X))
    assert np.array_equal(embedding.to_numpy(), pipeline.transform(X))


PARALLEL_SEARCH = """
import sys
from joblib import parallel_config
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV
from sktreevae import TreeVAEClustering

X, _ = make_blobs(120, 4, centers=4, random_state=3)
model = TreeVAEClustering(max_iter=1, hidden_dim=8, random_state=0)
grid, settings = {"n_clusters": [2, 4]}, {"refit": False, "error_score": "raise"}
with parallel_config(sys.argv[1]):
    search = GridSearchCV(model, grid, cv=2, n_jobs=2, **settings).fit(X)
print(search.cv_results_["mean_test_score"].tolist())
"""


@pytest.mark.nightly
def test_parallel_searches_give_the_same_scores_and_end():
    # A process of its own, without settings of threads, so that a hang is an error.
    environment = {k: v for k, v in os.environ.items() if "NUM_THREADS" not in k}
    settings = {"env": environment, "text": True, "timeout": 240}
    command = [sys.executable, "-c", PARALLEL_SEARCH]
    one, other = (
        subprocess.check_output([*command, backend], **settings)
        for backend in ("sequential", "loky")
    )
    assert one == other
    assert len(set(one.split(","))) == 2
