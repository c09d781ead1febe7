"""Fits and predictions of data that isn't a dense array in memory."""

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.utils.data import Dataset

from sktreevae import TreeVAEClustering
from sktreevae.estimator.parameters import validate_rows

from ..data.cases import as_memmap, dask_array
from .cases import METHODS, QUICK


class Labeled(Dataset):
    """Rows, in a shape of their own, with labels."""

    def __init__(self, X, shape=(-1,)):
        self.X = X
        self.shape = shape

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return torch.from_numpy(self.X[i].reshape(self.shape)), i % 2


MAKERS = {
    "memmap": as_memmap,
    "csr": lambda X, folder: sparse.csr_array(X),
    "dataset": lambda X, folder: Labeled(X),
    "dask": lambda X, folder: dask_array(X, chunks=(101, 17)),
}


@pytest.fixture(scope="module", name="X")
def few_digits(digits):
    return digits[0][:200]


@pytest.fixture(scope="module")
def model(X):
    return TreeVAEClustering(4, **QUICK).fit(X)


@pytest.mark.parametrize("kind", MAKERS)
def test_every_source_gives_the_same_results(kind, X, model, tmp_path):
    source = MAKERS[kind](X, tmp_path)
    other = TreeVAEClustering(4, **QUICK).fit(source)
    assert other.n_features_in_ == 64
    assert np.array_equal(other.labels_, model.labels_)
    for method in METHODS:
        if (kind, method) == ("csr", "predict_proba"):
            continue  # takes no sparse matrix
        expected = getattr(model, method)(X)
        for fitted in (other, model):
            actual = np.asarray(getattr(fitted, method)(source))
            if kind == "csr":
                # Moments of sparse features are summed in another order.
                np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3)
            else:
                assert np.array_equal(actual, expected)
    assert other.score(source) == pytest.approx(model.score(X), rel=1e-4)


@pytest.mark.parametrize(
    ("growth", "views"),
    [
        ("guided", None),
        ("guided", "neighbors"),
        ("iterative", lambda x, generator: x + 0.1),
    ],
)
def test_a_fit_of_rows_on_disk_is_that_in_memory(growth, views, X, tmp_path):
    settings = {**QUICK, "growth": growth, "views": views, "early_stopping": True}
    settings["split_criterion"] = "elbo"
    X = X[:150]
    in_memory, on_disk = (
        TreeVAEClustering(3, **settings).fit(data)
        for data in (X, as_memmap(X, tmp_path))
    )
    for method in ("transform", "predict_proba"):
        one, other = (getattr(model, method)(X) for model in (in_memory, on_disk))
        assert np.array_equal(one, other)


IMAGES = {"image_shape": (8, 8), "encoder": "mlp", "decoder": "mlp", "views": "image"}


@pytest.mark.parametrize(
    ("kind", "settings", "shape"),
    [
        ("image", IMAGES, (1, 8, 8)),
        ("roots", {"likelihood": "poisson"}, (-1,)),
        ("text", {}, (-1,)),
    ],
)
def test_a_dataset_has_the_kind_of_its_rows(X, kind, settings, shape, rng):
    rows = X[:100].astype(np.uint8)
    if kind == "text":
        share = rng.dirichlet(np.full(500, 0.1), 3)
        rows = np.stack([rng.multinomial(20, share[i % 3]) for i in range(150)])
    in_memory, read = (
        TreeVAEClustering(3, **QUICK, **settings).fit(data)
        for data in (rows, Labeled(rows, shape))
    )
    assert read.module_.feature_map.kind == kind
    assert np.array_equal(read.transform(rows), in_memory.transform(rows))


@pytest.mark.parametrize("kind", ["dataset", "dask"])
def test_values_that_are_not_finite_are_found_before_training(
    kind, X, model, tmp_path, monkeypatch
):
    X = X.copy()
    X[150, 7] = np.nan
    source = MAKERS[kind](X, tmp_path)
    with pytest.raises(ValueError, match="contains NaN"):
        np.asarray(model.predict(source))
    monkeypatch.setattr("sktreevae.data.training_data.choose_kind", None)
    with pytest.raises(ValueError, match="contains NaN, in row 150 and column 7"):
        TreeVAEClustering(2).fit(source)


def test_datasets_of_other_features_are_refused(X, model):
    with pytest.raises(ValueError, match=r"X has 9 features.* expecting 64"):
        model.predict(Labeled(X[:, :9]))


def test_files_of_another_byte_order_are_not_copied(X, tmp_path):
    swapped = X.astype(np.float32).astype(np.dtype(np.float32).newbyteorder())
    on_disk = as_memmap(swapped, tmp_path)
    model = TreeVAEClustering(3, **QUICK)
    assert np.shares_memory(validate_rows(model, on_disk, reset=True), on_disk)
    expected = TreeVAEClustering(3, **QUICK).fit(X.astype(np.float32)).labels_
    assert np.array_equal(model.fit(on_disk).labels_, expected)
    assert model.transform(on_disk).dtype == np.float32
