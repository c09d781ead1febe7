"""Fits with views: augmentations of samples for contrastive learning."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from sktreevae import TreeVAEClustering
from sktreevae.data import TrainingData

from .cases import make_images

TINY = {"max_iter": 10, "hidden_dim": 16, "batch_size": 64, "random_state": 0}
PHASES = {"guided": ["joint"], "iterative": ["initial", "split", "finetune"]}


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(60, 4, centers=3, cluster_std=0.5, random_state=0)


@pytest.fixture(params=PHASES)
def growth(request):
    return request.param


def shaken(rows, generator):
    """Return rows with a little noise."""
    return rows + 0.1 * torch.empty_like(rows).normal_(generator=generator)


@pytest.fixture(params=["callable", "neighbors"])
def views(request):
    return shaken if request.param == "callable" else request.param


# What it finds


def test_clusters_are_found_with_views(blobs, growth, views):
    X, y = blobs
    settings = {**TINY, "early_stopping": growth == "iterative"}
    model = TreeVAEClustering(3, growth=growth, views=views, **settings).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1.0
    assert list(dict.fromkeys(model.history_["phase"])) == PHASES[growth]
    assert np.isfinite(model.history_["contrast"]).all()
    assert len(model.history_["contrast"]) == model.n_iter_


@pytest.mark.parametrize("n_clusters", [None, 1])
def test_views_need_no_decisions_and_no_number_of_clusters(blobs, growth, n_clusters):
    model = TreeVAEClustering(n_clusters, growth=growth, views=shaken, **TINY)
    assert model.fit(blobs[0]).n_clusters_ == (n_clusters or 3)
    assert np.isfinite(model.history_["contrast"]).all()


@pytest.mark.parametrize(
    ("name", "value"), [("contrastive_weight", 1), ("temperature", 2)]
)
def test_weight_and_temperature_matter(blobs, name, value):
    settings = {**TINY, "views": shaken}
    one = TreeVAEClustering(3, **settings).fit(blobs[0])
    other = TreeVAEClustering(3, **settings, **{name: value}).fit(blobs[0])
    ours, theirs = one.history_["contrast"], other.history_["contrast"]
    assert not np.allclose(ours[:5], theirs[:5], rtol=1e-3)
    assert not np.array_equal(one.transform(blobs[0]), other.transform(blobs[0]))


# Input


def test_views_of_sparse_input_are_those_of_dense_input(blobs, views):
    X, y = blobs
    X = np.where(np.abs(X) < 2, 0, X)
    settings = {**TINY, "views": views}
    dense, thin = (
        TreeVAEClustering(3, **settings).fit(data) for data in (X, sparse.csr_array(X))
    )
    assert np.array_equal(dense.labels_, thin.labels_)
    np.testing.assert_allclose(
        dense.history_["contrast"], thin.history_["contrast"], rtol=0.01
    )


@pytest.mark.parametrize(("n_channels", "growth"), [(1, "iterative"), (3, "guided")])
def test_images_have_views(n_channels, growth):
    first, y = make_images(n_channels, 60)
    last = first.transpose(0, 2, 3, 1)
    settings = {**TINY, "growth": growth, "views": "image", "encoder": "mlp"}
    settings |= {"decoder": "mlp", "likelihood": "gaussian"}
    for X in (first, last):
        shape = X.shape[1:]
        model = TreeVAEClustering(3, image_shape=shape, **settings)
        model.fit(255 * X.reshape(60, -1))
        assert adjusted_rand_score(y, model.labels_) == 1.0
        assert np.isfinite(model.history_["contrast"]).all()


def test_views_of_images_have_the_range_of_the_data(monkeypatch):
    from sktreevae import ImageAugmentation

    made = []
    monkeypatch.setattr(
        "sktreevae.training.fitting.ImageAugmentation",
        lambda *arguments: made.append(arguments) or ImageAugmentation(*arguments),
    )
    X = 7 * make_images(1, 60)[0].reshape(60, -1) - 2
    settings = {**TINY, "encoder": "mlp", "decoder": "mlp"}
    TreeVAEClustering(3, views="image", image_shape=(16, 16), **settings).fit(X)
    assert made == [((16, 16), X.min(), X.max())]


# Bad input


def test_callables_are_checked_before_any_work(blobs, monkeypatch):
    monkeypatch.setattr(TrainingData, "prepare", None)
    model = TreeVAEClustering(3, views=lambda rows, _: rows[:, 1:], **TINY)
    with pytest.raises(ValueError, match=r"of its rows, \(2, 4\), got \(2, 3\)"):
        model.fit(blobs[0])
    assert not hasattr(model, "module_")
