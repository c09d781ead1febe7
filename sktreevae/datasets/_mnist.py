"""MNIST and Fashion-MNIST."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from ._bunch import Form, image_bunch
from ._files import Files, choose_parts
from ._formats import check_labels, read_idx, read_npz, reading

PREFIXES = {"train": "train", "test": "t10k"}
"""Beginnings of the names of the idx files of each part."""

SHAPE = (28, 28)

DIGITS = [str(digit) for digit in range(10)]
CLOTHES = (
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]
    + ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
)  # fmt: skip


def fetch_mnist(
    *,
    data_home: str | os.PathLike[str] | None = None,
    subset: str = "train",
    return_X_y: bool = False,
    as_frame: bool = False,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    verbose: bool = True,
) -> Bunch | tuple[Any, Any]:
    """Load MNIST: 70 000 gray images of handwritten digits, 28 by 28 pixels.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of scikit-learn's datasets, ``~/scikit_learn_data`` by default. The four
        idx files are read from ``sktreevae/mnist`` in it, compressed or not. An archive
        ``mnist.npz`` in the folder itself takes precedence: it holds the arrays
        ``X_train``, ``y_train``, ``X_test`` and ``y_test``, images as uint8.
    subset : {"train", "test", "all"}, default="train"
        The 60 000 images of the training part, the 10 000 of the test part, or both, in
        this order.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a DataFrame and target a Series.
    download_if_missing : bool, default=True
        Whether to download missing files, 12 MB. If False, an OSError is raised.
    n_retries : int, default=3
        Number of times that a failed download is tried again.
    delay : float, default=1.0
        Seconds between two tries.
    verbose : bool, default=True
        Whether to show the progress of a download in a terminal.

    Returns
    -------
    data : Bunch
        With the attributes

        data : ndarray of float32 of shape (n_samples, 784)
            Gray levels in [0, 1].
        images : ndarray of float32 of shape (n_samples, 28, 28)
            The same values.
        target : ndarray of int of shape (n_samples,)
            Digits.
        feature_names : list of 784 str
            Names of the columns.
        target_names : ndarray of 10 str
            Names of the classes.
        frame : DataFrame of shape (n_samples, 785)
            Data and target if `as_frame` is set, or None.
        DESCR : str
            Description of the dataset.

    (data, target) : tuple
        If `return_X_y` is set.

    Raises
    ------
    ImportError
        If a file is missing, and pooch is not installed to download it.
    OSError
        If a file is missing and can't be downloaded, or a download has the wrong
        checksum.
    ValueError
        If a file is damaged or has another format.

    Examples
    --------
    >>> from sktreevae.datasets import fetch_mnist
    >>> X, y = fetch_mnist(return_X_y=True)  # doctest: +SKIP
    >>> X.shape  # doctest: +SKIP
    (60000, 784)
    """
    files = Files("mnist", data_home, download_if_missing, n_retries, delay, verbose)
    return _fetch(files, subset, DIGITS, Form("mnist", return_X_y, as_frame))


def fetch_fashion_mnist(
    *,
    data_home: str | os.PathLike[str] | None = None,
    subset: str = "train",
    return_X_y: bool = False,
    as_frame: bool = False,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    verbose: bool = True,
) -> Bunch | tuple[Any, Any]:
    """Load Fashion-MNIST: 70 000 gray images of clothes, 28 by 28 pixels.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of scikit-learn's datasets, ``~/scikit_learn_data`` by default. The four
        idx files are read from ``sktreevae/fashion_mnist`` in it, compressed or not. An
        archive ``fashion_mnist.npz`` in the folder itself takes precedence: it holds
        the arrays ``X_train``, ``y_train``, ``X_test`` and ``y_test``, images as uint8.
    subset : {"train", "test", "all"}, default="train"
        The 60 000 images of the training part, the 10 000 of the test part, or both, in
        this order.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a DataFrame and target a Series.
    download_if_missing : bool, default=True
        Whether to download missing files, 31 MB. If False, an OSError is raised.
    n_retries : int, default=3
        Number of times that a failed download is tried again.
    delay : float, default=1.0
        Seconds between two tries.
    verbose : bool, default=True
        Whether to show the progress of a download in a terminal.

    Returns
    -------
    data : Bunch
        With the attributes

        data : ndarray of float32 of shape (n_samples, 784)
            Gray levels in [0, 1].
        images : ndarray of float32 of shape (n_samples, 28, 28)
            The same values.
        target : ndarray of int of shape (n_samples,)
            Classes, 0 to 9.
        feature_names : list of 784 str
            Names of the columns.
        target_names : ndarray of 10 str
            Names of the classes.
        frame : DataFrame of shape (n_samples, 785)
            Data and target if `as_frame` is set, or None.
        DESCR : str
            Description of the dataset.

    (data, target) : tuple
        If `return_X_y` is set.

    Raises
    ------
    ImportError
        If a file is missing, and pooch is not installed to download it.
    OSError
        If a file is missing and can't be downloaded, or a download has the wrong
        checksum.
    ValueError
        If a file is damaged or has another format.

    Examples
    --------
    >>> from sktreevae.datasets import fetch_fashion_mnist
    >>> clothes = fetch_fashion_mnist(subset="test")  # doctest: +SKIP
    >>> clothes.target_names[clothes.target[:2]]  # doctest: +SKIP
    array(['Ankle boot', 'Pullover'], dtype='<U11')
    """
    files = Files(
        "fashion_mnist", data_home, download_if_missing, n_retries, delay, verbose
    )
    return _fetch(files, subset, CLOTHES, Form("fashion_mnist", return_X_y, as_frame))


def _fetch(
    files: Files, subset: str, target_names: Sequence[str], form: Form
) -> Bunch | tuple[Any, Any]:
    """Read images in the formats of MNIST."""
    parts = choose_parts(subset, ("train", "test"))
    archive = files.home / f"{files.dataset}.npz"
    n_classes = len(target_names)
    if archive.exists():
        read = [read_npz(archive, part, SHAPE, n_classes) for part in parts]
    else:
        read = [_read_idx(files, part, n_classes) for part in parts]
    images, target = (np.concatenate(arrays) for arrays in zip(*read, strict=True))
    return image_bunch(form, images, target, target_names)


def _read_idx(
    files: Files, part: str, n_classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images and labels of a part."""
    images = read_idx(files.path(f"{PREFIXES[part]}-images-idx3-ubyte.gz"), SHAPE)
    path = files.path(f"{PREFIXES[part]}-labels-idx1-ubyte.gz")
    labels = read_idx(path)
    with reading(path):
        return images, check_labels(labels, len(images), n_classes)
