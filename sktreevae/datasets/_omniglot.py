"""Omniglot."""

from __future__ import annotations

import os
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from ..exceptions import InvalidParameterError
from ._bunch import Form, image_bunch
from ._files import Files, choose_parts
from ._formats import check_images, read_images, reading

IMAGE_NAME = re.compile(r"images_\w+/[^/]+/[^/]+/[^/]+\.png")


def fetch_omniglot(
    *,
    data_home: str | os.PathLike[str] | None = None,
    subset: str = "all",
    alphabets: Sequence[str] | None = None,
    image_size: int = 28,
    return_X_y: bool = False,
    as_frame: bool = False,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
    verbose: bool = True,
) -> Bunch | tuple[Any, Any]:
    """Load Omniglot: handwritten characters of 50 alphabets, 20 images of each.

    Needs Pillow: ``pip install 'sktreevae[images]'``.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of scikit-learn's datasets, ``~/scikit_learn_data`` by default. The files
        ``images_background.zip`` and ``images_evaluation.zip`` are read from
        ``sktreevae/omniglot`` in it.
    subset : {"background", "evaluation", "all"}, default="all"
        The 30 alphabets of the background set, the 20 of the evaluation set, or both.
    alphabets : sequence of str, default=None
        Names of the alphabets to load, such as ``["Braille", "Bengali"]``; None for
        all of the subset.
    image_size : int, default=28
        Height and width of the images in pixels. The released images have 105, and are
        averaged.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a DataFrame and target a Series.
    download_if_missing : bool, default=True
        Whether to download missing files, 16 MB. If False, an OSError is raised.
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

        data : ndarray of float32 of shape (n_samples, image_size**2)
            Gray levels in [0, 1]. As released, 0 is ink and 1 is paper.
        images : ndarray of float32 of shape (n_samples, image_size, image_size)
            The same values.
        target : ndarray of int of shape (n_samples,)
            Alphabets.
        target_character : ndarray of int of shape (n_samples,)
            Characters, which are parts of the alphabets.
        feature_names : list of str
            Names of the columns.
        target_names : ndarray of str
            Names of the alphabets, in alphabetical order.
        target_character_names : ndarray of str
            Names of the characters: ``Bengali/character01``.
        frame : DataFrame of shape (n_samples, image_size**2 + 1)
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
        If a file is damaged or has another format, or the subset does not have one of
        the alphabets.

    Examples
    --------
    >>> from sktreevae.datasets import fetch_omniglot
    >>> letters = fetch_omniglot(alphabets=["Braille", "Oriya"])  # doctest: +SKIP
    >>> letters.images.shape  # doctest: +SKIP
    (1440, 28, 28)
    """
    form = Form("omniglot", return_X_y, as_frame)
    parts = choose_parts(subset, ("background", "evaluation"))
    check_images(image_size)
    files = Files("omniglot", data_home, download_if_missing, n_retries, delay, verbose)
    paths = [files.path(f"images_{part}.zip") for part in parts]
    names = {path: _list_images(path) for path in paths}
    found = {_alphabet(name) for members in names.values() for name in members}
    chosen = found if alphabets is None else set(alphabets)
    if not chosen or not chosen <= found:
        raise InvalidParameterError(
            f"alphabets must be names of {sorted(found)}, got {list(alphabets)}."
        )
    images, characters = [], []
    for path, members in names.items():
        members = [name for name in members if _alphabet(name) in chosen]
        images.append(read_images(path, members, image_size, mode="L", verbose=verbose))
        characters += ["/".join(name.split("/")[1:3]) for name in members]
    character_names, character = np.unique(characters, return_inverse=True)
    alphabet = [name.split("/")[0] for name in characters]
    target_names, target = np.unique(alphabet, return_inverse=True)
    return image_bunch(
        form,
        np.concatenate(images),
        target,
        target_names,
        target_character=character,
        target_character_names=character_names,
    )


def _list_images(path: Path) -> list[str]:
    """Return the names ``images_background/Bengali/character01/0134_01.png``."""
    with reading(path), zipfile.ZipFile(path) as archive:
        names = sorted(filter(IMAGE_NAME.fullmatch, archive.namelist()))
        counts = set(Counter(name.rpartition("/")[0] for name in names).values())
        if len(counts) != 1:
            raise ValueError(f"its characters have {sorted(counts) or 'no'} images")
        return names


def _alphabet(name: str) -> str:
    return name.split("/")[1]
