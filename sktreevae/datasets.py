"""Loaders for the datasets of the paper: a local folder first, the network second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import fetch_openml

__all__ = ["load_fashion_mnist", "load_mnist", "load_npz"]

Split = tuple[
    NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]
]

N_TRAIN = 60_000


def load_mnist(data_dir: str | Path | None = None) -> Split:
    """Load MNIST: 70 000 grey images of handwritten digits, 28 by 28 pixels.

    Parameters
    ----------
    data_dir : str or Path, default=None
        Folder with ``mnist.npz``. Without it, or where it has no such file, the data
        is fetched from OpenML and cached by scikit-learn.

    Returns
    -------
    X_train, y_train, X_test, y_test : ndarrays
        Rows of 784 grey levels in [0, 1], and digits; 60 000 and 10 000 of them.
    """
    return _load(data_dir, "mnist.npz", "mnist_784")


def load_fashion_mnist(data_dir: str | Path | None = None) -> Split:
    """Load Fashion-MNIST: 70 000 grey images of clothes, 28 by 28 pixels.

    Parameters
    ----------
    data_dir : str or Path, default=None
        Folder with ``fashion_mnist.npz``. Without it, or where it has no such file,
        the data is fetched from OpenML and cached by scikit-learn.

    Returns
    -------
    X_train, y_train, X_test, y_test : ndarrays
        Rows of 784 grey levels in [0, 1], and classes; 60 000 and 10 000 of them.
    """
    return _load(data_dir, "fashion_mnist.npz", "Fashion-MNIST")


def load_npz(path: str | Path) -> Split:
    """Load images from an archive of numpy arrays.

    Parameters
    ----------
    path : str or Path
        File with the arrays ``X_train``, ``y_train``, ``X_test`` and ``y_test``;
        images as unsigned bytes, of any shape.

    Returns
    -------
    X_train, y_train, X_test, y_test : ndarrays
        Rows of grey levels in [0, 1], and classes.

    Raises
    ------
    ValueError
        If an array is missing, or images aren't unsigned bytes.
    """
    with np.load(path, allow_pickle=False) as archive:
        missing = {"X_train", "y_train", "X_test", "y_test"} - set(archive.files)
        if missing:
            raise ValueError(f"{path} lacks the arrays {sorted(missing)}.")
        parts = []
        for part in ("train", "test"):
            images = archive[f"X_{part}"]
            if images.dtype != np.uint8:
                raise ValueError(
                    f"X_{part} of {path} must be of dtype uint8, got {images.dtype}."
                )
            rows = images.reshape(len(images), -1).astype(np.float32) / 255.0
            parts += [rows, archive[f"y_{part}"].astype(np.int64)]
    return tuple(parts)


def _load(data_dir: str | Path | None, file: str, openml_name: str) -> Split:
    if data_dir is not None and (Path(data_dir) / file).exists():
        return load_npz(Path(data_dir) / file)
    X, y = fetch_openml(
        openml_name, version=1, return_X_y=True, as_frame=False, parser="auto"
    )
    X, y = (X / 255.0).astype(np.float32), y.astype(np.int64)
    return X[:N_TRAIN], y[:N_TRAIN], X[N_TRAIN:], y[N_TRAIN:]
