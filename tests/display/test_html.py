import numpy as np
import pytest

from sktreevae import Dendrogram

from .test__page import read

N_LEAVES = 40


@pytest.fixture(scope="module")
def large_tree():
    parent = [-1, *np.repeat(np.arange(N_LEAVES - 1), 2)]
    height = np.arange(len(parent))[::-1]
    return Dendrogram(parent, height, labels=np.arange(400) % N_LEAVES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "my tree.html"


def export(tree, path, *args, **kwargs):
    tree.export_html(path, *args, **kwargs)
    return path.read_text(encoding="utf-8")


def test_the_title_is_the_name_of_the_file(tree, path):
    assert "<title>my tree</title>" in export(tree, path)


@pytest.mark.parametrize(
    "image_shape", [(28, 28), (64, 64, 3), (3, 64, 64), (218, 178)]
)
def test_a_page_of_forty_images_has_less_than_two_megabytes(
    large_tree, path, rng, image_shape
):
    # Noise doesn't compress at all.
    X = rng.random((400, np.prod(image_shape)), dtype=np.float32)
    page = export(large_tree, path, X, image_shape=image_shape, y=np.arange(400) % 7)
    assert path.stat().st_size < 2e6
    images = [a["src"] for tag, a in read(page).tags if tag == "img"]
    assert len(images) == 2 * N_LEAVES - 1


@pytest.mark.parametrize("shape", [(4, 8, 9), (4, 8, 9, 3), (4, 3, 8, 9)])
def test_arrays_of_images_need_no_shape(tree, path, rng, shape):
    X = rng.random(shape)
    page = export(tree, path, X)
    flat = export(tree, path, X.reshape(4, -1), image_shape=shape[1:])
    assert page == flat
    assert page.count("data:image/png") == tree.n_nodes


def test_features_are_named_by_columns(tree, path, rng):
    import pandas as pd

    X = pd.DataFrame(rng.normal(size=(4, 2)), columns=["petal", "sepal"])
    page = export(tree, path, X)
    assert {"petal", "sepal"} <= set(read(page).texts)
    assert page == export(tree, path, X.to_numpy(), feature_names=["petal", "sepal"])


def test_known_labels_have_a_legend(tree, path):
    page = export(tree, path, y=["cat", "cat", "dog", "<fish>"])
    assert page.count('class="mix"') == tree.n_nodes
    assert {"cat", "dog", "<fish>"} <= set(read(page).texts)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (
            {"X": np.zeros((3, 2))},
            "X must have one entry for each of the 4 samples .* 3",
        ),
        ({"X": np.full((4, 2), np.nan)}, "Input X contains NaN"),
        (
            {"X": np.zeros((4, 2)), "feature_names": ["a"]},
            "each of the 2 features, got 1",
        ),
        (
            {"X": np.zeros((4, 2)), "image_shape": (8, 8)},
            "means 64 features, but X has 2",
        ),
        (
            {"feature_names": ["a"]},
            "feature_names and image_shape describe X, but X is",
        ),
        ({"image_shape": (8, 8)}, "feature_names and image_shape describe X, but X is"),
        ({"cluster_names": ["a"]}, "one name for each of the 3 clusters, got 1"),
        ({"y": [0, 1]}, "y must have one entry for each of the 4 samples .* got 2"),
        (
            {"y": [0.1, 0.2, 0.3, 0.4]},
            "y must have an int or a name for each sample, got 0.1",
        ),
        ({"y": np.zeros((4, 2))}, "y should be a 1d array"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tree, path, arguments, match):
    with pytest.raises(ValueError, match=match):
        tree.export_html(path, **arguments)
    assert not path.exists()
