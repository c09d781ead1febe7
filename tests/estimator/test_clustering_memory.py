"""Fits with a cache for features, neighbor graph and proposed trees."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from sktreevae import TreeVAEClustering

from .cases import assert_same

QUICK = {"max_iter": 1, "hidden_dim": 16, "random_state": 0}
FEATURES = "sktreevae.data.training_data.choose_kind"
GRAPH = "sktreevae.graph.proposal.nearest_neighbors"
PROPOSAL = "sktreevae.graph.proposal.partition"


@pytest.fixture(scope="module")
def X():  # noqa: N802
    return make_blobs(150, 5, centers=4, random_state=0)[0]


@pytest.mark.parametrize(
    ("settings", "shift", "reused"),
    [
        ({"learning_rate": 1e-3}, 0, (FEATURES, GRAPH, PROPOSAL)),
        ({"n_clusters": 5}, 0, (FEATURES, GRAPH)),
        ({"random_state": 1}, 0, ()),
        ({"likelihood": "poisson"}, 0, ()),
        ({}, np.arange(5), ()),
    ],
    ids=["training", "number of clusters", "seed", "likelihood", "data"],
)
def test_what_a_change_leaves_alone_is_reused(
    X, settings, shift, reused, tmp_path, monkeypatch
):
    X, settings = np.abs(X).round(), {"n_clusters": 3, **QUICK, **settings}
    TreeVAEClustering(3, memory=tmp_path, **QUICK).fit(X)
    expected = TreeVAEClustering(**settings).fit(X + shift)
    for function in reused:
        monkeypatch.setattr(function, None)
    cached = TreeVAEClustering(memory=tmp_path, **settings).fit(X + shift)
    assert_same(cached, expected, X)
