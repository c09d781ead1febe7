import numpy as np
import pytest

from sktreevae import datasets
from sktreevae.datasets import load_fashion_mnist, load_mnist, load_npz


def write(path, **changes):
    arrays = {
        "X_train": np.full((3, 2, 2), 255, dtype=np.uint8),
        "y_train": np.array([0, 1, 2], dtype=np.uint8),
        "X_test": np.zeros((2, 2, 2), dtype=np.uint8),
        "y_test": np.array([0, 1], dtype=np.uint8),
        **changes,
    }
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


@pytest.mark.parametrize(
    ("load", "file"),
    [(load_mnist, "mnist.npz"), (load_fashion_mnist, "fashion_mnist.npz")],
)
def test_local_files_come_first(load, file, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "fetch_openml", None)
    write(tmp_path / file)
    X, y, X_test, y_test = load(tmp_path)
    assert X.shape == (3, 4)
    assert X.dtype == np.float32
    assert (X == 1.0).all()
    assert y.tolist() == [0, 1, 2]
    assert X_test.shape == (2, 4)
    assert y_test.dtype == np.int64


@pytest.mark.parametrize("data_dir", [None, "missing"])
def test_the_network_comes_second(data_dir, monkeypatch):
    names = []

    def fetch(name, **arguments):
        names.append(name)
        return np.full((70_000, 1), 51.0), np.full(70_000, "7")

    monkeypatch.setattr(datasets, "fetch_openml", fetch)
    X, y, X_test, y_test = load_mnist(data_dir)
    assert names == ["mnist_784"]
    assert (len(X), len(X_test)) == (60_000, 10_000)
    assert X[0, 0] == np.float32(0.2)
    assert set(y) | set(y_test) == {7}


def test_missing_arrays_are_named(tmp_path):
    write(tmp_path / "x.npz", y_test=None)
    with pytest.raises(ValueError, match=r"lacks the arrays \['y_test'\]"):
        load_npz(tmp_path / "x.npz")


def test_images_must_be_bytes(tmp_path):
    write(tmp_path / "x.npz", X_train=np.zeros((3, 4)))
    with pytest.raises(ValueError, match="must be of dtype uint8, got float64"):
        load_npz(tmp_path / "x.npz")


def test_real_files_are_read(data_dir):
    X, y, X_test, _ = load_mnist(data_dir)
    assert X.shape == (60_000, 784)
    assert X_test.shape == (10_000, 784)
    assert set(y) == set(range(10))
