"""A tree as one HTML page that unfolds."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from .._dendrogram_export import check_cluster_names
from ._base import FittedTree, Tree, get_tree
from ._moments import NodeMoments, moments_of_rows
from ._node_contents import (
    LabelShare,
    add_differences,
    add_images,
    add_labels,
    name_nodes,
)
from ._page import format_page

__all__ = ["export_html"]


def export_html(
    tree: Tree | FittedTree,
    path: str | os.PathLike,
    X: ArrayLike | None = None,
    *,
    y: ArrayLike | None = None,
    feature_names: Sequence[str] | None = None,
    image_shape: tuple[int, ...] | None = None,
    cluster_names: Sequence[str] | None = None,
) -> None:
    """Write a tree as one HTML page that unfolds.

    The page needs no network and no other file. Each node shows the mean image of its
    samples, or the features that tell it from its sibling; its number and share of the
    samples, the height of its split in nats, and the mix of known labels. Pointing at a
    node shows the probabilities and the support of its split as well. Splits without
    support are dashed. Images have at most 64 pixels a side.

    Parameters
    ----------
    tree : Dendrogram or fitted estimator
        Tree to write, or an estimator with a ``dendrogram_`` attribute.
    path : str or path-like
        File to write. It is replaced at once when the page is complete. Its name
        without the ending is the title of the page.
    X : array-like or sparse matrix of shape (n_samples, n_features), or images of \
            shape (n_samples, height, width[, channels]), default=None
        Samples to describe: those of the ``labels`` of a dendrogram, or any samples
        that a fitted estimator can predict. Numbers of samples, means and labels are
        theirs. By default the page describes the training samples, and an estimator
        with ``node_means`` gives the images.
    y : array-like of shape (n_samples,), default=None
        Known labels of the samples.
    feature_names : sequence of str of length n_features, default=None
        Names of the features, by default the column names of X, or x0, x1, ...
    image_shape : tuple of int, default=None
        Shape of the images in the rows of X: (height, width), or with 1, 3 or 4
        channels first or last. By default that of the estimator, or of X.
    cluster_names : sequence of str of length n_leaves, default=None
        Names of the leaves, by default "cluster 0", "cluster 1", ...

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If `tree` is neither a dendrogram nor an estimator that has one.
    ValueError
        If X, `y`, `feature_names`, `image_shape` or `cluster_names` doesn't fit the
        tree or each other.

    Examples
    --------
    >>> import tempfile
    >>> from sktreevae import Dendrogram
    >>> from sktreevae.display import export_html
    >>> tree = Dendrogram([-1, 0, 0], [2, 0, 0], labels=[0, 0, 1])
    >>> X = [[4.0, 40.0], [4.0, 60.0], [2.0, 80.0]]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/animals.html"
    ...     export_html(tree, path, X, feature_names=["legs", "weight"])
    """
    estimator, tree = tree, get_tree(tree)
    names = [f"cluster {label}" for label in range(tree.n_leaves)]
    if cluster_names is not None:
        names = check_cluster_names(cluster_names, tree.n_leaves)
    if image_shape is None:
        image_shape = _find_image_shape(estimator, X)
    labels, moments = _describe(estimator, tree, X)
    contents = name_nodes(tree, labels, names)
    if moments is None and not (feature_names is None and image_shape is None):
        raise ValueError("feature_names and image_shape describe X, but X is None.")
    if moments is not None and image_shape is not None:
        add_images(contents, moments.mean, image_shape)
    elif moments is not None:
        n_features = moments.mean.shape[1]
        feature_names = _find_feature_names(estimator, X, feature_names, n_features)
        add_differences(contents, tree, moments, feature_names)
    legend: list[LabelShare] = []
    if y is not None:
        legend = add_labels(contents, tree, labels, _check_labels(y, len(labels)))
    path = Path(path)
    _write(path, format_page(path.stem, tree, contents, legend))


def _find_image_shape(estimator: object, X: object) -> tuple[int, ...] | None:
    """Return the shape of the images of an estimator or of an array."""
    shape = getattr(X, "shape", ())
    return shape[1:] if len(shape) > 2 else getattr(estimator, "image_shape", None)


def _describe(
    estimator: Any, tree: Tree, X: Any
) -> tuple[NDArray[np.int64], NodeMoments | None]:
    """Return the leaf label of each sample, and the moments of the nodes if known.

    Raises
    ------
    ValueError
        If X has not one row for each sample of a dendrogram.
    """
    if X is None:
        return tree.labels, None
    labels = tree.labels if estimator is tree else estimator.predict(X)
    if not sparse.issparse(X):
        X = np.asarray(X)
        X = X.reshape(len(X), -1) if X.ndim > 2 else X
    X = check_array(X, accept_sparse="csr", input_name="X")
    if len(labels) != X.shape[0]:
        raise ValueError(
            f"X must have one row for each of the {len(labels)} samples of the "
            f"dendrogram, got {X.shape[0]}."
        )
    return labels, moments_of_rows(tree, X, labels)


def _find_feature_names(
    estimator: object, X: object, names: Sequence[str] | None, n_features: int
) -> list[str]:
    """Return the names of the features.

    Raises
    ------
    ValueError
        If there is not exactly one name for each feature.
    """
    if names is None:
        names = getattr(X, "columns", getattr(estimator, "feature_names_in_", None))
    if names is None:
        return [f"x{i}" for i in range(n_features)]
    names = [str(name) for name in names]
    if len(names) != n_features:
        raise ValueError(
            f"feature_names must have one name for each of the {n_features} features, "
            f"got {len(names)}."
        )
    return names


def _check_labels(y: ArrayLike, n_samples: int) -> NDArray[Any]:
    """Return known labels as an array.

    Raises
    ------
    ValueError
        If they are no labels of classes, or there is not one for each sample.
    """
    y = column_or_1d(y)
    if len(y) != n_samples:
        raise ValueError(
            f"y must have one label for each of the {n_samples} samples, got {len(y)}."
        )
    check_classification_targets(y)
    return y


def _write(path: Path, page: str) -> None:
    """Write a file, and replace an older one only when it is complete."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        # Names may have lone surrogates, which UTF-8 lacks.
        part.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
