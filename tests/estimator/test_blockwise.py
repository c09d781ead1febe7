"""Predictions of Dask arrays stay lazy, and are those of the array in memory."""

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from sktreevae import TreeVAEClustering
from sktreevae.metrics import dendrogram_purity_scorer

from .cases import QUICK

da = pytest.importorskip("dask.array")
dask = pytest.importorskip("dask")

METHODS = ("predict", "predict_proba", "transform", "score_samples")


@pytest.fixture(scope="module", name="X")
def few_digits(digits):
    return digits[0][:200].astype(np.float32)


@pytest.fixture(scope="module")
def model(X):
    return TreeVAEClustering(4, **QUICK).fit(X)


def counted(X, sizes):
    """Return a Dask array of blocks of rows, and the list of those computed."""
    computed = []

    def block(start, size):
        computed.append(start)
        return X[start : start + size]

    starts = np.cumsum([0, *sizes])[:-1]
    blocks = [
        da.from_delayed(dask.delayed(block)(s, n), (n, *X.shape[1:]), X.dtype)
        for s, n in zip(starts.tolist(), sizes, strict=True)
    ]
    return da.concatenate(blocks), computed


@pytest.mark.parametrize("method", METHODS)
def test_blocks_are_computed_once_and_give_the_same_bits(method, X, model):
    expected = getattr(model, method)(X)
    blocks, computed = counted(X, [70, 1, 129])
    lazy = getattr(model, method)(blocks)
    assert not computed
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype) == (expected.shape, expected.dtype)
    assert lazy.chunks[0] == (70, 1, 129)
    assert np.array_equal(lazy.compute(), expected)
    assert sorted(computed) == [0, 70, 71]


def test_arguments_reach_the_method(X, model):
    blocks = da.from_array(X, chunks=(50, 13))
    for method in ("predict", "predict_proba"):
        function = getattr(model, method)
        for lazy in (function(blocks, 2), function(blocks, n_clusters=2)):
            assert np.array_equal(lazy.compute(), function(X, 2))


def test_a_part_needs_its_blocks_only(X, model):
    blocks, computed = counted(X, [50] * 4)
    model.predict(blocks)[60:70].compute()
    assert computed == [50]


def test_the_number_of_rows_may_be_unknown(X, model):
    blocks = da.from_array(X, chunks=(50, 64))
    some = blocks[
        (blocks.sum(axis=1) > float(X.sum(axis=1).mean()))
        & (da.arange(200, chunks=50) >= 50)
    ]
    assert np.isnan(model.predict(some).shape[0])
    assert np.array_equal(model.predict(some).compute(), model.predict(some.compute()))


def test_images_are_blocks_of_rows(X):
    images = X.reshape(-1, 8, 8)
    model = TreeVAEClustering(3, image_shape=(8, 8), **QUICK).fit(images)
    blocks = da.from_array(images, chunks=(60, 4, 4))
    assert np.array_equal(model.predict(blocks).compute(), model.predict(images))


def test_a_frame_is_made_of_all_blocks(X, model):
    framed = TreeVAEClustering(4, **QUICK).fit(X).set_output(transform="pandas")
    frame = framed.transform(da.from_array(X, chunks=(50, 64)))
    assert np.array_equal(frame.to_numpy(), model.transform(X))


def test_the_model_is_one_task_of_the_graph(X, model):
    lazy = model.predict(da.from_array(X, chunks=(20, 64)))
    holders = [key for key, task in dict(lazy.dask).items() if "TreeVAE" in str(key)]
    assert len(holders) == 1


def test_errors_come_before_anything_is_computed(X, model):
    blocks, computed = counted(X[:, :9], [100, 100])
    with pytest.raises(ValueError, match=r"X has 9 features.* expecting 64"):
        model.predict(blocks)
    with pytest.raises(NotFittedError):
        TreeVAEClustering().predict(blocks)
    with pytest.raises(ValueError, match="n_clusters must be"):
        model.predict(da.from_array(X), n_clusters=9)
    assert not computed


@pytest.fixture(params=[False, True], ids=["threads", "processes"])
def cluster(request):
    """A cluster of two workers, with the default configuration otherwise."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=request.param,
            dashboard_address=None,
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield


@pytest.mark.nightly
def test_searches_and_predictions_run_on_a_cluster(X, model, cluster):
    blocks = da.from_array(X, chunks=(50, 64))
    for method in METHODS:
        lazy = getattr(model, method)(blocks)
        assert np.array_equal(lazy.compute(), getattr(model, method)(X))
    search = GridSearchCV(model, {"n_clusters": [2, 3]}, cv=2)
    scores = search.fit(X).cv_results_["mean_test_score"]
    with joblib.parallel_config("dask"):
        again = clone(search).fit(X).cv_results_["mean_test_score"]
    assert np.array_equal(again, scores)


def test_the_score_is_that_of_the_array(X, model):
    assert model.score(da.from_array(X, chunks=(50, 64))) == model.score(X)


def test_findings_explanations_and_scorers_take_dask_arrays(X, model):
    blocks, y = da.from_array(X, chunks=(50, 64)), model.labels_
    assert dendrogram_purity_scorer(model, blocks, y) == 1.0
    assert [f.name for f in model.diagnose(blocks)] == [
        f.name for f in model.diagnose(X)
    ]
    np.testing.assert_array_equal(
        model.explain(0, blocks).effect, model.explain(0, X).effect
    )
