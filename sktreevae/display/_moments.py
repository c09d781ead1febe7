"""Means of features at the nodes of a tree, and differences between branches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ._base import Tree

__all__ = [
    "NodeMoments",
    "branch_effects",
    "is_amount",
    "largest",
    "moments_of_rows",
    "sum_up",
]

MAX_CHUNK_VALUES = 1 << 22
"""Maximum number of values that are converted to float64 at a time."""

MIN_RELATIVE_SPREAD = 0.01
"""Minimum spread inside the branches, relative to the spread of all samples."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NodeMoments:
    """Mean and variance of each feature at each node; NaN at nodes without samples.

    Parameters
    ----------
    mean, variance : ndarray of shape (n_nodes, n_features)
        In the units of X.
    weight : ndarray of shape (n_nodes,)
        Number of samples, or probability mass, below each node.
    """

    mean: Floats
    variance: Floats
    weight: Floats


def sum_up(tree: Tree, at_leaves: NDArray[Any]) -> NDArray[Any]:
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


def moments_of_rows(
    tree: Tree, X: NDArray[Any] | sparse.csr_matrix, labels: NDArray[np.int64]
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
    # Squares of large values with a small spread would cancel.
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
    weight = sum_up(tree, counts)
    n = np.where(weight > 0, weight, np.nan)[:, None]
    mean = sum_up(tree, sums) / n
    variance = np.maximum(sum_up(tree, squares) / n - np.square(mean), 0.0)
    return NodeMoments(mean + shift, variance, weight)


def _membership(labels: NDArray[np.int64], n_leaves: int) -> sparse.csr_array:
    """Return which samples are in which leaf, (n_leaves, n_samples)."""
    entries = (np.ones(len(labels)), (labels, np.arange(len(labels))))
    return sparse.csr_array(entries, shape=(n_leaves, len(labels)))


def branch_effects(tree: Tree, moments: NodeMoments) -> Floats:
    """Return how far each node is from its sibling, (n_nodes, n_features).

    The effect size of a feature is the difference of the means of the two branches,
    relative to the standard deviation inside them. It is positive where the mean of the
    node is the larger one. Zeros for the root, and for children of a node of which one
    has no samples.
    """
    effects = np.zeros_like(moments.mean)
    total = np.nan_to_num(moments.variance[0])
    for node in tree.internal_nodes:
        left, right = tree.children_left[node], tree.children_right[node]
        if not (moments.weight[left] > 0 and moments.weight[right] > 0):
            continue
        share = moments.weight[left] / (moments.weight[left] + moments.weight[right])
        within = share * moments.variance[left] + (1 - share) * moments.variance[right]
        spread = np.sqrt(np.maximum(within, MIN_RELATIVE_SPREAD**2 * total))
        difference = moments.mean[left] - moments.mean[right]
        np.divide(difference, spread, out=effects[left], where=spread > 0)
        effects[right] = -effects[left]
    return effects


def is_amount(moments: NodeMoments) -> bool:
    """Return whether most features are non-negative and mostly zero, as word counts.

    If half of the values of a non-negative feature are zero, its standard deviation is
    at least its mean.
    """
    mean, deviation = moments.mean[0], np.sqrt(moments.variance[0])
    return bool((mean >= 0).all() and (deviation >= mean).mean() > 0.5)


def largest(size: Floats, n_features: int) -> list[int]:
    """Return the features of the largest positive sizes, the largest first."""
    order = np.argsort(-size, kind="stable")[:n_features]
    return order[size[order] > 0].tolist()
