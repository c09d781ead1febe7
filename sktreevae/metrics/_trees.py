"""Reading of hierarchies: dendrograms, linkage matrices and fitted estimators."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import is_valid_linkage
from sklearn.base import BaseEstimator
from sklearn.utils import column_or_1d

from ..tree import Dendrogram
from ..tree.arrays import leaves_below_merges

Tree = Dendrogram | ArrayLike | BaseEstimator
"""A hierarchy that metrics take; an array is a SciPy linkage matrix."""

ReadTree = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The merges, lowest first and numbered as in SciPy, and the leaf of each sample."""


def is_tree(value: object, n_samples: int) -> bool:
    """Return whether a value is a hierarchy of samples, and not an array of labels."""
    if isinstance(value, Dendrogram | BaseEstimator):
        return True
    return np.shape(value) == (n_samples - 1, 4)


def read_tree(tree: Tree, labels: ArrayLike | None) -> ReadTree:
    """Return the merges and the checked leaf of each sample."""
    merges, _, default_labels = _read_merges(tree)
    labels = column_or_1d(default_labels if labels is None else labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, got dtype {labels.dtype}.")
    if len(labels) and not (0 <= labels.min() and labels.max() <= len(merges)):
        raise ValueError(f"labels must lie between 0 and {len(merges)}.")
    return merges, labels


def read_heights(
    tree: Tree, labels: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the cophenetic distances of leaves, and the leaf of each sample.

    Returns
    -------
    height : ndarray of shape (n_leaves, n_leaves)
        Height of the lowest common ancestor of each pair of leaves; 0 on the diagonal.
    labels : ndarray of int of shape (n_samples,)
        Leaf of each sample.
    """
    merges, labels = read_tree(tree, labels)
    _, heights, _ = _read_merges(tree)
    if heights is None:
        raise ValueError(
            f"{tree!r} has no heights: fit AgglomerativeClustering with "
            "compute_distances=True."
        )
    is_below = leaves_below_merges(merges)
    distance = np.zeros((len(merges) + 1, len(merges) + 1))
    for (left, right), height in zip(merges, heights, strict=True):
        distance[np.ix_(is_below[left], is_below[right])] = height
    return np.maximum(distance, distance.T), labels


def _read_merges(
    tree: Tree,
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None, NDArray[np.int64]]:
    """Return the merges, their heights if there are any, and each sample's leaf."""
    tree = getattr(tree, "dendrogram_", tree)
    if isinstance(tree, Dendrogram):
        Z = tree.to_linkage()
        return Z[:, :2].astype(int), Z[:, 2], tree.labels
    if hasattr(tree, "children_"):
        merges, n = np.asarray(tree.children_), tree.n_leaves_
        if len(merges) != n - 1:
            raise ValueError(
                f"The tree is not complete: {len(merges)} merges of {n} samples. Fit "
                "AgglomerativeClustering with compute_full_tree=True."
            )
        return merges, getattr(tree, "distances_", None), np.arange(n)
    if isinstance(tree, BaseEstimator):
        raise ValueError(
            f"{tree!r} has no tree: it is not fitted, or it has no dendrogram_ or "
            "children_ attribute."
        )
    Z = np.asarray(tree)
    if Z.dtype.kind not in "fiu" or not is_valid_linkage(Z.astype(np.float64)):
        raise ValueError(
            "tree must be a Dendrogram, a scipy linkage matrix or a fitted estimator "
            f"with a hierarchy, got {type(tree).__name__}."
        )
    return Z[:, :2].astype(int), Z[:, 2], np.arange(len(Z) + 1)
