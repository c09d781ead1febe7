"""20 Newsgroups as tf-idf."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.datasets import fetch_20newsgroups, get_data_home
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils import Bunch

from ..exceptions import InvalidParameterError
from ._bunch import Form
from ._files import choose_parts

ARCHIVE = "20news-bydate.tar.gz"
URL = "https://ndownloader.figshare.com/files/5975967"
"""What scikit-learn downloads."""

REMOVABLE = ("headers", "footers", "quotes")


def fetch_20newsgroups_tfidf(
    *,
    data_home: str | os.PathLike[str] | None = None,
    subset: str = "train",
    remove: tuple[str, ...] = REMOVABLE,
    max_features: int | None = 2000,
    return_X_y: bool = False,
    as_frame: bool = False,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Bunch | tuple[Any, Any]:
    """Load the tf-idf of 2000 terms in 18 846 posts to 20 newsgroups.

    The posts of each part are in the order of
    :func:`sklearn.datasets.fetch_20newsgroups`. Terms and their weights are determined
    on the training part.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder of scikit-learn's datasets, ``~/scikit_learn_data`` by default.
        scikit-learn stores the posts there, as a pickle.
    subset : {"train", "test", "all"}, default="train"
        The 11 314 posts of the training part, the 7532 of the test part, or both, in
        this order.
    remove : tuple of {"headers", "footers", "quotes"}, \
            default=("headers", "footers", "quotes")
        What is removed from the posts, as it names authors and other posts. ``()``
        removes nothing.
    max_features : int, default=2000
        Number of terms, the most frequent ones; None for all.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a DataFrame of sparse columns and target a Series.
    download_if_missing : bool, default=True
        Whether to download missing posts, 14 MB. If False, an OSError is raised.
    n_retries : int, default=3
        Number of times that a failed download is tried again, at least 1.
    delay : float, default=1.0
        Seconds between two tries.

    Returns
    -------
    data : Bunch
        With the attributes

        data : sparse matrix of float32 of shape (n_samples, 2000)
            Tf-idf in CSR format, rows of unit length. A post without any of the terms
            is a row of zeros.
        target : ndarray of int of shape (n_samples,)
            Newsgroups, 0 to 19.
        feature_names : list of 2000 str
            Terms.
        target_names : ndarray of 20 str
            Names of the newsgroups.
        frame : DataFrame of shape (n_samples, 2001)
            Data and target if `as_frame` is set, or None.
        DESCR : str
            Description of the dataset.

    (data, target) : tuple
        If `return_X_y` is set.

    Raises
    ------
    OSError
        If the posts are missing and can't be downloaded.
    ValueError
        If `remove` has another name.

    Examples
    --------
    >>> from sktreevae.datasets import fetch_20newsgroups_tfidf
    >>> news = fetch_20newsgroups_tfidf()  # doctest: +SKIP
    >>> news.data.shape  # doctest: +SKIP
    (11314, 2000)
    """
    form = Form("20newsgroups", return_X_y, as_frame)
    parts = choose_parts(subset, ("train", "test"))
    if not set(remove) <= set(REMOVABLE):
        raise InvalidParameterError(
            f"remove must be a tuple of names in {REMOVABLE}, got {remove!r}."
        )
    fetch = partial(
        fetch_20newsgroups,
        data_home=data_home,
        remove=remove,
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        delay=delay,
    )
    try:
        train = fetch(subset="train")
    except OSError as error:
        path = Path(get_data_home(data_home)) / "20news_home" / ARCHIVE
        raise OSError(
            f"Could not load 20 Newsgroups: {error}. Without a network connection, put "
            f"the file {URL} there by hand, and set download_if_missing=True: {path}"
        ) from error
    vectorizer = TfidfVectorizer(max_features=max_features, dtype=np.float32)
    vectorizer.fit(train.data)
    posts = [train if part == "train" else fetch(subset=part) for part in parts]
    data = [vectorizer.transform(part.data) for part in posts]
    bunch = Bunch(
        data=sparse.vstack(data, format="csr"),
        target=np.concatenate([part.target for part in posts]),
        feature_names=vectorizer.get_feature_names_out().tolist(),
        target_names=np.array(train.target_names),
    )
    return form.apply(bunch)
