"""CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import os
from typing import Any

from sklearn.utils import Bunch

from ._bunch import Form, image_bunch
from ._files import Files, choose_parts
from ._formats import read_cifar

CIFAR10 = {
    "train": [f"data_batch_{number}.bin" for number in range(1, 6)],
    "test": ["test_batch.bin"],
}
"""Names of the files of each part."""


def fetch_cifar10(
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
    """Load CIFAR-10: 60 000 color images in ten classes, 32 by 32 pixels.

    The binary version is read, which needs no pickle.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of scikit-learn's datasets, ``~/scikit_learn_data`` by default. The file
        ``cifar-10-binary.tar.gz`` is read from ``sktreevae/cifar10`` in it.
    subset : {"train", "test", "all"}, default="train"
        The 50 000 images of the training part, the 10 000 of the test part, or both, in
        this order.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a DataFrame and target a Series.
    download_if_missing : bool, default=True
        Whether to download a missing file, 170 MB. If False, an OSError is raised.
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

        data : ndarray of float32 of shape (n_samples, 3072)
            Levels of red, green and blue in [0, 1], pixel by pixel; 0.7 GB for all
            images.
        images : ndarray of float32 of shape (n_samples, 32, 32, 3)
            The same values.
        target : ndarray of int of shape (n_samples,)
            Classes, 0 to 9.
        feature_names : list of 3072 str
            Names of the columns.
        target_names : ndarray of 10 str
            Names of the classes.
        frame : DataFrame of shape (n_samples, 3073)
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
        If the file is missing and can't be downloaded, or the download has the wrong
        checksum.
    ValueError
        If the file is damaged or has another format.

    Examples
    --------
    >>> from sktreevae.datasets import fetch_cifar10
    >>> X, y = fetch_cifar10(subset="test", return_X_y=True)  # doctest: +SKIP
    >>> X.shape  # doctest: +SKIP
    (10000, 3072)
    """
    form = Form("cifar10", return_X_y, as_frame)
    parts = choose_parts(subset, ("train", "test"))
    files = Files("cifar10", data_home, download_if_missing, n_retries, delay, verbose)
    path = files.path("cifar-10-binary.tar.gz")
    names = [name for part in parts for name in CIFAR10[part]]
    images, (target,), (target_names,) = read_cifar(
        path, "cifar-10-batches-bin", names, ["batches.meta.txt"]
    )
    return image_bunch(form, images, target, target_names)


def fetch_cifar100(
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
    """Load CIFAR-100: 60 000 color images in 100 classes, 32 by 32 pixels.

    Five classes each form a superclass, such as apples, mushrooms, oranges, pears and
    sweet peppers. The binary version is read, which needs no pickle.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of scikit-learn's datasets, ``~/scikit_learn_data`` by default. The file
        ``cifar-100-binary.tar.gz`` is read from ``sktreevae/cifar100`` in it.
    subset : {"train", "test", "all"}, default="train"
        The 50 000 images of the training part, the 10 000 of the test part, or both, in
        this order.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a DataFrame and target a Series.
    download_if_missing : bool, default=True
        Whether to download a missing file, 169 MB. If False, an OSError is raised.
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

        data : ndarray of float32 of shape (n_samples, 3072)
            Levels of red, green and blue in [0, 1], pixel by pixel; 0.7 GB for all
            images.
        images : ndarray of float32 of shape (n_samples, 32, 32, 3)
            The same values.
        target : ndarray of int of shape (n_samples,)
            Classes, 0 to 99.
        target_coarse : ndarray of int of shape (n_samples,)
            Superclasses, 0 to 19.
        feature_names : list of 3072 str
            Names of the columns.
        target_names : ndarray of 100 str
            Names of the classes.
        target_coarse_names : ndarray of 20 str
            Names of the superclasses.
        frame : DataFrame of shape (n_samples, 3073)
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
        If the file is missing and can't be downloaded, or the download has the wrong
        checksum.
    ValueError
        If the file is damaged or has another format.

    Examples
    --------
    >>> from sktreevae.datasets import fetch_cifar100
    >>> objects = fetch_cifar100(subset="test")  # doctest: +SKIP
    >>> len(objects.target_names), len(objects.target_coarse_names)  # doctest: +SKIP
    (100, 20)
    """
    form = Form("cifar100", return_X_y, as_frame)
    parts = choose_parts(subset, ("train", "test"))
    files = Files("cifar100", data_home, download_if_missing, n_retries, delay, verbose)
    path = files.path("cifar-100-binary.tar.gz")
    # A sample begins with the label of its superclass, then that of its class.
    names = [f"{part}.bin" for part in parts]
    label_names = ["coarse_label_names.txt", "fine_label_names.txt"]
    images, (coarse, fine), (coarse_names, fine_names) = read_cifar(
        path, "cifar-100-binary", names, label_names
    )
    return image_bunch(
        form,
        images,
        fine,
        fine_names,
        target_coarse=coarse,
        target_coarse_names=coarse_names,
    )
