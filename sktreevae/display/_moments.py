"""Means of features at the nodes of a tree, and differences between branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .._chunks import row_slices
from .._effects import GroupMoments, effect_size
from ._base import Tree
from ._node_values import image_shape_of, mean_rows, subtree_sums

if TYPE_CHECKING:
    from ..data import Matrix

__all__ = [
    "DetailedTree",
    "branch_effects",
    "is_amount",
    "largest",
    "mean_data",
    "moments_of_leaves",
    "moments_of_rows",
]

Floats = NDArray[np.float64]


class DetailedTree(Tree, Protocol):
    """Attributes of `sktreevae.Dendrogram` that a page reads."""

    weight: Floats
    support: Floats
    support_error: Floats

    @property
    def internal_nodes(self) -> NDArray[np.int64]:
        """Nodes with children."""

    def levels(self) -> NDArray[np.int64]:
        """Return the numbers of clusters of the cuts that stand out."""


def moments_of_leaves(
    tree: DetailedTree, weight: Floats, mean: Floats, variance: Floats
) -> GroupMoments:
    """Return the moments of the nodes, which are mixtures of their leaves.

    Nodes whose leaves have no weight have NaN.

    Parameters
    ----------
    tree : Dendrogram
        The tree.
    weight : ndarray of shape (n_leaves,)
        Weight of each leaf, by label.
    mean, variance : ndarray of shape (n_leaves, n_features)
        Moments of the leaves; any finite values where the weight is 0.
    """
    w = weight[:, None]
    # Squares of large means with small differences would cancel.
    center = (w * mean).sum(axis=0) / w.sum()
    total = subtree_sums(tree, np.where(w > 0, w, 0.0))
    n = np.where(total > 0, total, np.nan)
    first = subtree_sums(tree, w * (mean - center)) / n
    second = subtree_sums(tree, w * (variance + np.square(mean - center))) / n
    return GroupMoments(center + first, np.maximum(second - np.square(first), 0.0))


def moments_of_rows(
    tree: DetailedTree, X: Matrix, labels: NDArray[np.int64]
) -> GroupMoments:
    """Return the moments of the rows below each node.

    Parameters
    ----------
    tree : Dendrogram
        The tree.
    X : ndarray, CSR matrix or LazyRows of shape (n_samples, n_features)
        Rows.
    labels : ndarray of int of shape (n_samples,)
        Leaf label of each row.
    """
    sums = np.zeros((tree.n_leaves, X.shape[1]))
    squares = np.zeros_like(sums)
    shift = None
    for rows in row_slices(*X.shape):
        members = _membership(labels[rows], tree.n_leaves)
        chunk = X[rows].astype(np.float64)
        if shift is None:
            # Squares of large values with small differences would cancel.
            shift = 0.0 if sparse.issparse(chunk) else chunk.mean(axis=0)
        if sparse.issparse(chunk):
            sums += (members @ chunk).toarray()
            squares += (members @ chunk.multiply(chunk)).toarray()
        else:
            chunk -= shift
            sums += members @ chunk
            squares += members @ np.square(chunk)
    counts = np.bincount(labels, minlength=tree.n_leaves).astype(np.float64)
    n = np.maximum(counts, 1.0)[:, None]
    mean = sums / n
    variance = np.maximum(squares / n - np.square(mean), 0.0)
    return moments_of_leaves(tree, counts, mean + shift, variance)


def mean_data(tree: Tree, labels: NDArray[np.int64], X: object) -> Floats:
    """Return the mean of the rows below each node, of any data of an estimator.

    Parameters
    ----------
    tree : Dendrogram
        The tree.
    labels : ndarray of int of shape (n_samples,)
        Leaf label of each row.
    X : array-like, sparse matrix, Dataset or Dask array of shape (n_samples, ...)
        Rows or images.
    """
    # Imported here so that drawings and pages of a dendrogram don't need torch.
    from ..data import LazyRows, as_matrix

    if image_shape_of(X) is not None:
        X = X.reshape((X.shape[0], -1))
    X = as_matrix(X)
    if isinstance(X, LazyRows):
        return moments_of_rows(tree, X, labels).mean
    return mean_rows(tree, labels, X)


def _membership(labels: NDArray[np.int64], n_leaves: int) -> sparse.csr_array:
    """Return which samples are in which leaf, (n_leaves, n_samples)."""
    entries = (np.ones(len(labels)), (labels, np.arange(len(labels))))
    return sparse.csr_array(entries, shape=(n_leaves, len(labels)))


def branch_effects(tree: DetailedTree, moments: GroupMoments) -> Floats:
    """Return how far each node is from its sibling, (n_nodes, n_features).

    Effects are those of `TreeVAEClustering.explain`, positive where the mean of the
    node is the larger one. Zeros for the root, and where one of the branches has no
    samples.
    """
    effects = np.zeros_like(moments.mean)
    for node in tree.internal_nodes:
        left, right = tree.children_left[node], tree.children_right[node]
        effects[left] = effect_size(
            GroupMoments(moments.mean[left], moments.variance[left]),
            GroupMoments(moments.mean[right], moments.variance[right]),
        )
        effects[right] = -effects[left]
    return effects


def is_amount(moments: GroupMoments) -> bool:
    """Return whether most features are non-negative and mostly zero, as word counts.

    If half of the values of a non-negative feature are zero, its standard deviation is
    at least its mean.
    """
    mean, deviation = moments.mean[0], np.sqrt(moments.variance[0])
    # Means of zeros may be negative by a rounding error.
    is_non_negative = (mean >= -1e-6 * deviation).all()
    return bool(is_non_negative and (deviation >= mean).mean() > 0.5)


def largest(size: Floats, n_features: int) -> list[int]:
    """Return the features of the largest positive sizes, the largest first."""
    order = np.argsort(-size, kind="stable")[:n_features]
    return order[size[order] > 0].tolist()
