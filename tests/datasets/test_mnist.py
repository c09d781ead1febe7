import gzip
import sys

import numpy as np
import pandas as pd
import pytest

from sktreevae.datasets import fetch_fashion_mnist, fetch_mnist

from .cases import folder, idx, random_digits, write_mnist

FETCHERS = {"mnist": fetch_mnist, "fashion_mnist": fetch_fashion_mnist}


@pytest.mark.parametrize("name", FETCHERS)
@pytest.mark.parametrize("subset", ["train", "test", "all"])
@pytest.mark.parametrize("is_compressed", [True, False])
def test_parts_are_read(tmp_path, rng, name, subset, is_compressed):
    parts = write_mnist(tmp_path, rng, name)
    for path in [] if is_compressed else [*folder(tmp_path, name).iterdir()]:
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    bunch = FETCHERS[name](data_home=tmp_path, subset=subset)
    chosen = [parts[part] for part in parts if subset in (part, "all")]
    images, labels = (np.concatenate(arrays) for arrays in zip(*chosen, strict=True))
    assert np.array_equal(bunch.images, images / np.float32(255))
    assert np.array_equal(bunch.target, labels)


def test_bunch_has_the_attributes_of_scikit_learns(tmp_path, rng):
    write_mnist(tmp_path, rng)
    bunch = fetch_mnist(data_home=tmp_path)
    assert bunch.data.shape == (12, 784)
    assert bunch.data.dtype == bunch.images.dtype == np.float32
    assert np.shares_memory(bunch.data, bunch.images)
    assert bunch.target.dtype == np.int64
    assert len(bunch.feature_names) == 784
    assert bunch.target_names[bunch.target].tolist() == [str(d) for d in bunch.target]
    assert bunch.frame is None
    assert bunch.DESCR.startswith("MNIST\n")


def test_frames(tmp_path, rng):
    write_mnist(tmp_path, rng)
    bunch = fetch_mnist(data_home=tmp_path, as_frame=True)
    assert isinstance(bunch.target, pd.Series)
    assert bunch.data.columns.tolist() == bunch.feature_names
    assert bunch.frame.columns.tolist() == [*bunch.feature_names, "target"]
    X, y = fetch_mnist(data_home=tmp_path, as_frame=True, return_X_y=True)
    pd.testing.assert_frame_equal(X, bunch.data)
    pd.testing.assert_series_equal(y, bunch.frame["target"])
    assert np.array_equal(X, fetch_mnist(data_home=tmp_path).data)


def test_frames_need_pandas(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'sktreevae\[io\]'"):
        fetch_mnist(data_home=tmp_path, as_frame=True)


def test_labels_are_classes(tmp_path, rng):
    write_mnist(tmp_path, rng)
    path = folder(tmp_path, "mnist") / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.arange(12))))
    with pytest.raises(ValueError, match="must be from 0 to 9, got 0 to 11"):
        fetch_mnist(data_home=tmp_path)


def test_an_archive_of_arrays_takes_precedence(tmp_path, rng):
    write_mnist(tmp_path, rng)
    images, labels = random_digits(rng, 3)
    np.savez(tmp_path / "mnist.npz", X_train=images, y_train=labels)
    bunch = fetch_mnist(data_home=tmp_path)
    assert np.array_equal(bunch.images, images / np.float32(255))
