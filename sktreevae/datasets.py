"""Loaders for datasets, from a local folder or from OpenML."""

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
    """Load MNIST: 70 000 gray images of handwritten digits, 28 by 28 pixels.

    Parameters
    ----------
    data_dir : str or Path, default=None
        Folder with the file ``mnist.npz``. If the file is missing or no folder is
        given, the data are downloaded from OpenML and cached by scikit-learn.

    Returns
    -------
    X_train : ndarray of float32 of shape (60000, 784)
        Gray levels in [0, 1].
    y_train : ndarray of int of shape (60000,)
        Digits.
    X_test : ndarray of float32 of shape (10000, 784)
        Gray levels in [0, 1].
    y_test : ndarray of int of shape (10000,)
        Digits.
    """
    return _load(data_dir, "mnist.npz", "mnist_784")


def load_fashion_mnist(data_dir: str | Path | None = None) -> Split:
    """Load Fashion-MNIST: 70 000 gray images of clothes, 28 by 28 pixels.

    Parameters
    ----------
    data_dir : str or Path, default=None
        Folder with the file ``fashion_mnist.npz``. If the file is missing or no folder
        is given, the data are downloaded from OpenML and cached by scikit-learn.

    Returns
    -------
    X_train : ndarray of float32 of shape (60000, 784)
        Gray levels in [0, 1].
    y_train : ndarray of int of shape (60000,)
        Classes, 0 to 9.
    X_test : ndarray of float32 of shape (10000, 784)
        Gray levels in [0, 1].
    y_test : ndarray of int of shape (10000,)
        Classes, 0 to 9.
    """
    return _load(data_dir, "fashion_mnist.npz", "Fashion-MNIST")


def load_npz(path: str | Path) -> Split:
    """Load images from an archive of NumPy arrays.

    Parameters
    ----------
    path : str or Path
        File with the arrays ``X_train``, ``y_train``, ``X_test`` and ``y_test``. Images
        may have any shape and must have dtype uint8.

    Returns
    -------
    X_train : ndarray of float32 of shape (n_train, n_features)
        Values in [0, 1].
    y_train : ndarray of int of shape (n_train,)
        Classes.
    X_test : ndarray of float32 of shape (n_test, n_features)
        Values in [0, 1].
    y_test : ndarray of int of shape (n_test,)
        Classes.

    Raises
    ------
    ValueError
        If an array is missing, or images are not of dtype uint8.
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
    """Load a dataset from a file if it exists, and from OpenML otherwise."""
    if data_dir is not None and (Path(data_dir) / file).exists():
        return load_npz(Path(data_dir) / file)
    X, y = fetch_openml(
        openml_name, version=1, return_X_y=True, as_frame=False, parser="auto"
    )
    X, y = (X / 255.0).astype(np.float32), y.astype(np.int64)
    return X[:N_TRAIN], y[:N_TRAIN], X[N_TRAIN:], y[N_TRAIN:]
