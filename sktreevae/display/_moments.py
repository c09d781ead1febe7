"""Means of features at the nodes of a tree, and differences between branches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ._base import Tree

__all__ = [
    "DetailedTree",
    "NodeMoments",
    "branch_effects",
    "is_amount",
    "largest",
    "moments_of_leaves",
    "moments_of_rows",
    "sum_up",
]

MAX_CHUNK_VALUES = 1 << 20
"""Maximum number of values that are converted to float64 at a time."""

MIN_VARIANCE_SHARE = 1e-3
"""Minimum of the variance inside two branches, relative to that of both together."""

Floats = NDArray[np.float64]


class DetailedTree(Tree, Protocol):
    """Attributes of `sktreevae.Dendrogram` that a page reads."""

    children_left: NDArray[np.int64]
    children_right: NDArray[np.int64]
    leaf_label: NDArray[np.int64]
    height: Floats
    weight: Floats
    support: Floats
    support_error: Floats

    @property
    def internal_nodes(self) -> NDArray[np.int64]:
        """Nodes with children."""

    @property
    def is_supported(self) -> NDArray[np.bool_]:
        """Whether the split of each node is supported."""

    def levels(self) -> NDArray[np.int64]:
        """Return the numbers of clusters of the cuts that stand out."""


@dataclass(frozen=True, eq=False)
class NodeMoments:
    """Mean and variance of each feature at each node; NaN at nodes without samples.

    Parameters
    ----------
    mean, variance : ndarray of shape (n_nodes, n_features)
        In the units of X.
    """

    mean: Floats
    variance: Floats


def sum_up(tree: DetailedTree, at_leaves: NDArray[Any]) -> NDArray[Any]:
    """Return sums over the leaves below each node, (n_nodes, ...).

    Parameters
    ----------
    tree : Dendrogram
        The tree.
    at_leaves : ndarray of shape (n_leaves, ...)
        Values of the leaves, by label.
    """
    sums = np.zeros((tree.n_nodes, *at_leaves.shape[1:]), dtype=at_leaves.dtype)
    sums[tree.leaves] = at_leaves
    for node in range(tree.n_nodes - 1, 0, -1):
        sums[tree.parent[node]] += sums[node]
    return sums


def moments_of_leaves(
    tree: DetailedTree, weight: Floats, mean: Floats, variance: Floats
) -> NodeMoments:
    """Return the moments of the nodes, which are mixtures of their leaves.

    The variance of a mixture is the mean variance of its parts, plus the variance of
    their means.

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
    total = sum_up(tree, np.where(w > 0, w, 0.0))
    n = np.where(total > 0, total, np.nan)
    first = sum_up(tree, w * (mean - center)) / n
    second = sum_up(tree, w * (variance + np.square(mean - center))) / n
    return NodeMoments(center + first, np.maximum(second - np.square(first), 0.0))


def moments_of_rows(
    tree: DetailedTree, X: NDArray[Any] | sparse.csr_matrix, labels: NDArray[np.int64]
) -> NodeMoments:
    """Return the moments of the rows below each node.

    Parameters
    ----------
    tree : Dendrogram
        The tree.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows.
    labels : ndarray of int of shape (n_samples,)
        Leaf label of each row.
    """
    n_samples, n_features = X.shape
    shift = 0.0 if sparse.issparse(X) else X.mean(axis=0, dtype=np.float64)
    sums = np.zeros((tree.n_leaves, n_features))
    squares = np.zeros((tree.n_leaves, n_features))
    n_rows = max(1, MAX_CHUNK_VALUES // n_features)
    for start in range(0, n_samples, n_rows):
        rows = slice(start, start + n_rows)
        members = _membership(labels[rows], tree.n_leaves)
        chunk = X[rows].astype(np.float64)
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


def _membership(labels: NDArray[np.int64], n_leaves: int) -> sparse.csr_array:
    """Return which samples are in which leaf, (n_leaves, n_samples)."""
    entries = (np.ones(len(labels)), (labels, np.arange(len(labels))))
    return sparse.csr_array(entries, shape=(n_leaves, len(labels)))


def branch_effects(tree: DetailedTree, moments: NodeMoments) -> Floats:
    """Return how far each node is from its sibling, (n_nodes, n_features).

    The effect size of a feature is the difference of the means of the two branches,
    relative to the standard deviation inside them (Cohen's d). It is positive where the
    mean of the node is the larger one. Zeros for the root, and where one of the
    branches has no samples.
    """
    effects = np.zeros_like(moments.mean)
    for node in tree.internal_nodes:
        left, right = tree.children_left[node], tree.children_right[node]
        difference = moments.mean[left] - moments.mean[right]
        within = (moments.variance[left] + moments.variance[right]) / 2
        total = within + np.square(difference / 2)
        spread = np.sqrt(np.maximum(within, MIN_VARIANCE_SHARE * total))
        np.divide(difference, spread, out=effects[left], where=spread > 0)
        effects[right] = -effects[left]
    return effects


def is_amount(moments: NodeMoments) -> bool:
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
