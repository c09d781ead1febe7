"""CelebA."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from ._bunch import Form, image_bunch
from ._files import Files, choose_parts
from ._formats import check_images, read_images, read_table

PARTS = ("train", "valid", "test")
"""In the order of their codes in ``list_eval_partition.txt``."""

BORDER = (15, 35)
"""Columns and rows around the 148 by 148 pixels that show the face."""


def fetch_celeba(
    *,
    data_home: str | os.PathLike[str] | None = None,
    subset: str = "train",
    image_size: int = 64,
    return_X_y: bool = False,
    as_frame: bool = False,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    verbose: bool = True,
) -> Bunch | tuple[Any, Any]:
    """Load CelebA: 202 599 color photographs of faces with 40 attributes each.

    The images are for non-commercial research only. Needs Pillow: ``pip install
    'sktreevae[images]'``.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of scikit-learn's datasets, ``~/scikit_learn_data`` by default. The files
        ``img_align_celeba.zip``, ``list_attr_celeba.txt`` and
        ``list_eval_partition.txt`` are read from ``sktreevae/celeba`` in it.
    subset : {"train", "valid", "test", "all"}, default="train"
        The 162 770 images of the training part, the 19 867 of the validation part, the
        19 962 of the test part, or all, in the order of the source.
    image_size : int, default=64
        Height and width of the images in pixels. The 148 by 148 pixels in the middle of
        the released images are scaled.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Whether data and target are DataFrames.
    download_if_missing : bool, default=True
        Whether to download missing files, 1.5 GB. If False, an OSError is raised.
        The source limits the number of downloads a day. If it refuses, download the
        files in a browser.
    n_retries : int, default=3
        Number of times that a failed download is tried again.
    delay : float, default=1.0
        Seconds between two tries.
    verbose : bool, default=True
        Whether to show the progress in a terminal.

    Returns
    -------
    data : Bunch
        With the attributes

        data : ndarray of float32 of shape (n_samples, 3 * image_size**2)
            Levels of red, green and blue in [0, 1], pixel by pixel. With 64 pixels a
            side, the training part takes 8 GB and the test part 1 GB.
        images : ndarray of float32 of shape (n_samples, image_size, image_size, 3)
            The same values.
        target : ndarray of int of shape (n_samples, 40)
            1 if an image has an attribute, else 0.
        feature_names : list of str
            Names of the columns.
        target_names : ndarray of 40 str
            Names of the attributes.
        frame : DataFrame of shape (n_samples, 3 * image_size**2 + 40)
            Data and target if `as_frame` is set, or None.
        DESCR : str
            Description of the dataset.

    (data, target) : tuple
        If `return_X_y` is set.

    Raises
    ------
    ImportError
        If Pillow is not installed, or a file is missing and pooch is not installed to
        download it.
    OSError
        If a file is missing and can't be downloaded, or a download has the wrong
        checksum.
    ValueError
        If a file is damaged or has another format.

    Examples
    --------
    >>> from sktreevae.datasets import fetch_celeba
    >>> faces = fetch_celeba(subset="test", image_size=32)  # doctest: +SKIP
    >>> faces.images.shape, faces.target.shape  # doctest: +SKIP
    ((19962, 32, 32, 3), (19962, 40))
    """
    form = Form("celeba", return_X_y, as_frame)
    parts = choose_parts(subset, PARTS)
    check_images(image_size)
    files = Files("celeba", data_home, download_if_missing, n_retries, delay, verbose)
    attribute_path = files.path("list_attr_celeba.txt")
    part_path = files.path("list_eval_partition.txt")
    image_path = files.path("img_align_celeba.zip")
    names, attributes, attribute_names = read_table(attribute_path)
    part_names, codes, _ = read_table(part_path, ["part"])
    if not np.array_equal(part_names, names):
        raise ValueError(f"{attribute_path} and {part_path} name other images.")
    is_chosen = np.isin(codes[:, 0], [PARTS.index(part) for part in parts])
    images = read_images(
        image_path,
        [f"img_align_celeba/{name}" for name in names[is_chosen]],
        image_size,
        mode="RGB",
        border=BORDER,
        verbose=verbose,
    )
    target = (attributes[is_chosen] > 0).astype(np.int64)
    return image_bunch(form, images, target, attribute_names)
