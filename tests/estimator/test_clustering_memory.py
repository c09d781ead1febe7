"""Fits with a cache for features, neighbor graph and proposed trees."""

from pathlib import Path

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import make_blobs

from sktreevae import TreeVAEClustering

QUICK = {"max_iter": 1, "hidden_dim": 16, "random_state": 0}
FEATURES = "sktreevae.data.training_data.choose_kind"
GRAPH = "sktreevae.graph.proposal.nearest_neighbors"
PROPOSAL = "sktreevae.graph.proposal.partition"


@pytest.fixture(scope="module")
def X():  # noqa: N802
    return make_blobs(150, 5, centers=4, random_state=0)[0]


def assert_same(one, other, X):
    assert np.array_equal(one.labels_, other.labels_)
    assert np.array_equal(one.dendrogram_.height, other.dendrogram_.height)
    assert np.array_equal(one.transform(X), other.transform(X))
    np.testing.assert_equal(one.history_, other.history_)


@pytest.mark.parametrize(("growth", "n_clusters"), [("guided", 3), ("iterative", None)])
def test_a_cache_does_not_change_the_result(X, growth, n_clusters, tmp_path):
    model = TreeVAEClustering(n_clusters, growth=growth, **QUICK)
    expected = model.fit(X)
    for _ in range(2):
        cached = TreeVAEClustering(n_clusters, growth=growth, memory=tmp_path, **QUICK)
        assert_same(cached.fit(X), expected, X)


def test_other_training_options_reuse_everything(X, tmp_path, monkeypatch):
    TreeVAEClustering(3, memory=tmp_path, **QUICK).fit(X)
    expected = TreeVAEClustering(3, **{**QUICK, "learning_rate": 1e-3}).fit(X)
    for function in (FEATURES, GRAPH, PROPOSAL):
        monkeypatch.setattr(function, None)
    settings = {**QUICK, "learning_rate": 1e-3, "memory": tmp_path}
    assert_same(TreeVAEClustering(3, **settings).fit(X), expected, X)


def test_another_number_of_clusters_reuses_features_and_graph(X, tmp_path, monkeypatch):
    TreeVAEClustering(3, memory=tmp_path, **QUICK).fit(X)
    expected = TreeVAEClustering(5, **QUICK).fit(X)
    for function in (FEATURES, GRAPH):
        monkeypatch.setattr(function, None)
    assert_same(TreeVAEClustering(5, memory=tmp_path, **QUICK).fit(X), expected, X)


@pytest.mark.parametrize("change", ["data", "seed", "likelihood"])
def test_other_data_and_seeds_are_computed(X, change, tmp_path):
    TreeVAEClustering(3, memory=tmp_path, **QUICK).fit(X)
    settings = dict(QUICK)
    if change == "data":
        X = X + np.arange(5)
    elif change == "seed":
        settings["random_state"] = 1
    else:
        X = np.abs(X).round()
        settings["likelihood"] = "poisson"
    expected = TreeVAEClustering(3, **settings).fit(X)
    assert_same(TreeVAEClustering(3, memory=tmp_path, **settings).fit(X), expected, X)


def test_sparse_data_and_files_can_have_a_cache(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    for data in (
        sparse.csr_array(np.abs(X)),
        np.load(tmp_path / "X.npy", mmap_mode="r"),
    ):
        expected = TreeVAEClustering(3, **QUICK).fit(data)
        for _ in range(2):
            cached = TreeVAEClustering(3, memory=tmp_path / "cache", **QUICK)
            assert_same(cached.fit(data), expected, data)


@pytest.mark.parametrize("make", [Path, lambda path: joblib.Memory(path, verbose=0)])
def test_a_memory_is_a_path_or_an_object(X, make, tmp_path, capsys):
    TreeVAEClustering(3, memory=make(tmp_path), **QUICK).fit(X)
    assert list(tmp_path.rglob("*.pkl"))
    assert capsys.readouterr() == ("", "")
