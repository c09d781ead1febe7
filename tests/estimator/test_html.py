import re

import dask.array as dask_array
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from torch.utils.data import TensorDataset

from sktreevae import TreeVAEClustering

from ..display.pages import labels, read


@pytest.fixture(scope="module")
def model(iris):
    return TreeVAEClustering(n_clusters=2, max_iter=1, random_state=0).fit(iris[0])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tree.html"


def export(model, path, *args, **kwargs):
    model.export_html(path, *args, **kwargs)
    return path.read_text(encoding="utf-8")


def test_the_page_of_the_training_samples_has_their_numbers(model, iris, path):
    page = export(model, path, iris[0])
    tree, sizes = model.dendrogram_, model.dendrogram_.n_node_samples
    n_samples = {name: label.split(" ")[0] for name, label in labels(page).items()}
    assert n_samples["node 0"] == str(sizes[0])
    for i, node in enumerate(tree.leaves):
        assert n_samples[f"cluster {i}"] == str(sizes[node])


def test_the_model_gives_means_without_samples(model, iris, path):
    page = export(model, path)
    assert "150 samples" in page
    assert "petal length (cm)" in page
    values = re.findall(r"petal length \(cm\)</span><span>([\d.]+)", page)
    mean = iris[0]["petal length (cm)"].groupby(model.labels_).mean()
    np.testing.assert_allclose(sorted(map(float, values)), sorted(mean), rtol=0.1)


def test_labels_without_samples_are_those_of_the_training(model, iris, path):
    page = export(model, path, y=load_iris().target_names[iris[1]])
    assert {"setosa", "versicolor", "virginica"} <= set(read(page).texts)


def test_images_have_the_shape_of_the_estimator_or_one_that_is_given(
    model, digits, path
):
    settings = {"image_shape": (8, 8), "max_iter": 1, "random_state": 0}
    of_digits = TreeVAEClustering(3, **settings).fit(digits[0])
    for X in (digits[0], None):
        page = export(of_digits, path, X)
        assert page.count("data:image/png") == of_digits.dendrogram_.n_nodes
    assert export(model, path, image_shape=(2, 2)).count("data:image/png") == 3


@pytest.mark.parametrize(
    "make",
    [
        sparse.csr_matrix,
        lambda X: TensorDataset(torch.from_numpy(X), torch.arange(len(X))),
        lambda X: dask_array.from_array(X, chunks=50),
    ],
    ids=["sparse", "dataset", "dask"],
)
def test_samples_of_every_source_have_the_same_page(make, model, iris, path):
    X, names = iris[0].to_numpy(), list(iris[0])
    model = clone(model).fit(X)
    expected = export(model, path, X, feature_names=names)
    assert export(model, path, make(X), feature_names=names) == expected


@pytest.mark.parametrize("shape", [(8, 8, 2), (2, 8, 8)])
def test_images_that_cannot_be_drawn_are_features(shape, path):
    X = np.random.default_rng(0).normal(size=(60, 128))
    model = TreeVAEClustering(2, max_iter=1, image_shape=shape, random_state=0).fit(X)
    for samples in (None, X, X.reshape(-1, *shape)):
        page = export(model, path, samples)
        assert "<img" not in page
        assert '<div class="feature' in page
    path.unlink()
    with pytest.raises(ValueError, match="with 1, 3 or 4 channels first or last, got"):
        export(model, path, image_shape=shape)
    assert not path.exists()


def test_the_representation_of_a_fitted_estimator_is_short(model):
    assert len(repr(model)) < 200
    page = model._repr_html_()
    assert len(page) < 100_000
    assert "&lt;Dendrogram: 2 leaves&gt;" in page
