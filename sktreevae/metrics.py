"""Agreement of clusters and hierarchies with classes.

All metrics take the classes first, as in `sklearn.metrics`. The scorers take an
estimator and can be passed to ``GridSearchCV(scoring=...)``.
"""

from __future__ import annotations

from itertools import pairwise
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import is_valid_linkage
from scipy.optimize import linear_sum_assignment
from sklearn.base import BaseEstimator, clone
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import check_consistent_length, column_or_1d

from .dendrogram import Dendrogram

__all__ = [
    "clustering_accuracy",
    "clustering_accuracy_scorer",
    "dendrogram_purity",
    "dendrogram_purity_scorer",
    "leaf_purity",
    "leaf_purity_scorer",
    "triplet_agreement",
]


def clustering_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Fraction of correctly clustered samples under the best matching.

    The Hungarian algorithm matches each class with at most one cluster.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels.
    y_pred : array-like of shape (n_samples,)
        Cluster labels.

    Returns
    -------
    accuracy : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If the lengths differ or are 0.

    Examples
    --------
    >>> from sktreevae.metrics import clustering_accuracy
    >>> clustering_accuracy(["a", "a", "b", "b"], [1, 1, 0, 1])
    0.75
    """
    counts = _contingency(y_true, y_pred)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, columns].sum() / counts.sum())


def leaf_purity(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Fraction of samples that belong to the most frequent class of their cluster.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels.
    y_pred : array-like of shape (n_samples,)
        Cluster labels, such as the leaves of a tree.

    Returns
    -------
    purity : float
        Between 0 and 1. Purity tends to grow with the number of clusters.

    Raises
    ------
    ValueError
        If the lengths differ or are 0.

    Examples
    --------
    >>> from sktreevae.metrics import leaf_purity
    >>> leaf_purity(["a", "a", "b", "b"], [0, 0, 1, 2])
    1.0
    """
    counts = _contingency(y_true, y_pred)
    return float(counts.max(axis=0).sum() / counts.sum())


def dendrogram_purity(
    y_true: ArrayLike,
    tree: Dendrogram | ArrayLike | BaseEstimator,
    labels: ArrayLike | None = None,
    *,
    n_leaves: int | None = None,
) -> float:
    """Mean purity of the lowest common ancestors of samples of the same class.

    The mean is over all pairs of samples of the same class. The purity of a pair is the
    fraction of that class among the samples below their lowest common ancestor (Heller
    and Ghahramani 2005; Kobren et al. 2017). The result is exact and is computed from
    class counts in O(n_nodes * n_classes).

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Class labels.
    tree : Dendrogram, ndarray of shape (n_leaves - 1, 4), or fitted estimator
        Hierarchy. The ndarray is a SciPy linkage matrix; the estimator has an attribute
        ``dendrogram_`` (`TreeVAEClustering`) or ``children_``
        (`sklearn.cluster.AgglomerativeClustering`).
    labels : array-like of int of shape (n_samples,), default=None
        Leaf of each sample. By default the labels of a Dendrogram; in all other
        hierarchies, sample i is leaf i by default.
    n_leaves : int, default=None
        If given, cut the tree to this number of leaves first. Purity is higher for
        trees with more leaves, so trees of different size should be cut to be compared.

    Returns
    -------
    purity : float
        Between 0 and 1; 1 if every class is a subtree.

    Raises
    ------
    ValueError
        If `tree` is not a tree or is incomplete, the lengths differ, or no class has
        two samples.

    Examples
    --------
    >>> from scipy.cluster.hierarchy import linkage
    >>> from sktreevae.metrics import dendrogram_purity
    >>> Z = linkage([[0], [1], [10], [12]])
    >>> dendrogram_purity(["a", "a", "b", "b"], Z)
    1.0
    >>> round(dendrogram_purity(["a", "b", "a", "b"], Z), 3)
    0.5
    """
    merges, labels = _read_tree(tree, labels)
    n_tree_leaves = len(merges) + 1
    y_true = column_or_1d(y_true)
    check_consistent_length(y_true, labels)
    classes, y = np.unique(y_true, return_inverse=True)
    counts = np.zeros((n_tree_leaves + len(merges), len(classes)))
    np.add.at(counts, (labels, y), 1.0)
    n_cut = 0 if n_leaves is None else _n_merges_below_cut(n_leaves, n_tree_leaves)
    # Number of pairs of each class whose lowest common ancestor is each node.
    pairs = counts * (counts - 1.0) / 2.0
    for row, (left, right) in enumerate(merges):
        node = n_tree_leaves + row
        counts[node] = counts[left] + counts[right]
        if row < n_cut:
            # The node becomes a leaf. All pairs below it now belong to it.
            pairs[node] = counts[node] * (counts[node] - 1.0) / 2.0
            pairs[left] = pairs[right] = 0.0
        else:
            pairs[node] = counts[left] * counts[right]
    n_pairs = pairs.sum()
    if n_pairs == 0:
        raise ValueError("dendrogram_purity needs a class with two samples or more.")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return float((pairs * share).sum() / n_pairs)


def triplet_agreement(
    reference: ArrayLike,
    tree: Dendrogram | ArrayLike | BaseEstimator,
    labels: ArrayLike | None = None,
) -> float:
    """Fraction of the triplets of known classes that a tree orders right.

    A triplet is two samples of the same coarse class, but of different fine classes,
    and a third sample of another coarse class. The tree orders it right if the first
    two have a common ancestor that isn't one of the third. Chance is a third. With more
    than two levels, the fraction is over the triplets of all levels. The result is
    exact and is computed from class counts in O(n_nodes * n_classes).

    Parameters
    ----------
    reference : array-like of shape (n_samples,) or (n_samples, n_levels)
        Nested classes, the coarsest first. With a single level, all pairs of samples of
        a class count.
    tree : Dendrogram, ndarray of shape (n_leaves - 1, 4), or fitted estimator
        Hierarchy, as for `dendrogram_purity`.
    labels : array-like of int of shape (n_samples,), default=None
        Leaf of each sample, as for `dendrogram_purity`.

    Returns
    -------
    agreement : float
        Between 0 and 1. Samples of the same leaf have no order.

    Raises
    ------
    ValueError
        If `tree` is not a tree or is incomplete, the lengths differ, classes aren't
        nested, or there is no triplet.

    Examples
    --------
    >>> from scipy.cluster.hierarchy import linkage
    >>> from sktreevae.metrics import triplet_agreement
    >>> Z = linkage([[0], [1], [10], [13]])
    >>> triplet_agreement([["a", "a1"], ["a", "a2"], ["b", "b1"], ["b", "b2"]], Z)
    1.0
    >>> triplet_agreement([["a", "a1"], ["b", "b1"], ["a", "a2"], ["b", "b2"]], Z)
    0.0
    """
    merges, labels = _read_tree(tree, labels)
    levels = np.asarray(reference)
    levels = levels[:, None] if levels.ndim == 1 else levels
    if levels.ndim != 2 or not levels.size:
        raise ValueError(
            "reference must have shape (n_samples,) or (n_samples, n_levels), got "
            f"{np.shape(reference)}."
        )
    check_consistent_length(levels, labels)
    classes = [np.unique(level, return_inverse=True)[1] for level in levels.T]
    for coarse, fine in pairwise(classes):
        if len(np.unique([coarse, fine], axis=1).T) > fine.max() + 1:
            raise ValueError("reference must be nested: a class has two parents.")
    if len(classes) == 1:
        classes.append(np.arange(len(labels)))
    n_right = n_triplets = 0.0
    for coarse, fine in pairwise(classes):
        n_of_class = _count_below(merges, labels, coarse)
        # Number of pairs below each node, and whose lowest common ancestor it is.
        below = n_of_class**2 - _sum_squares(merges, labels, coarse, fine)
        pairs = below.copy()
        n_leaves = len(merges) + 1
        pairs[n_leaves:] -= below[merges[:, 0]] + below[merges[:, 1]]
        others = n_of_class.sum(axis=1, keepdims=True) - n_of_class
        n_right += (pairs * (others[-1] - others)).sum()
        n_triplets += (below[-1] * others[-1]).sum()
    if n_triplets == 0:
        raise ValueError(
            "reference must have two coarse classes, one of them with two fine classes."
        )
    return float(n_right / n_triplets)


def _count_below(
    merges: NDArray[np.int64], labels: NDArray[np.int64], y: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Count the samples of each class below each node, (n_nodes, n_classes)."""
    n_leaves = len(merges) + 1
    counts = np.zeros((n_leaves + len(merges), y.max() + 1))
    np.add.at(counts, (labels, y), 1.0)
    for node, (left, right) in enumerate(merges, start=n_leaves):
        counts[node] = counts[left] + counts[right]
    return counts


def _sum_squares(
    merges: NDArray[np.int64],
    labels: NDArray[np.int64],
    coarse: NDArray[np.int64],
    fine: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Sum the squared counts of fine classes over the fine classes of each coarse one.

    Returns
    -------
    sums : ndarray of shape (n_nodes, n_coarse_classes)
    """
    n_fine = fine.max() + 1
    if n_fine == len(labels):  # each sample is a class
        return _count_below(merges, labels, coarse)
    parent = np.empty(n_fine, dtype=np.int64)
    parent[fine] = coarse
    squares = _count_below(merges, labels, fine) ** 2
    sums = np.zeros((len(squares), coarse.max() + 1))
    np.add.at(sums.T, parent, squares.T)
    return sums


def _n_merges_below_cut(n_leaves: int, n_tree_leaves: int) -> int:
    """Return the number of merges inside the leaves of a cut to `n_leaves` leaves."""
    if not isinstance(n_leaves, Integral) or not 1 <= n_leaves <= n_tree_leaves:
        raise ValueError(
            f"n_leaves must be an int from 1 to {n_tree_leaves}, the number of leaves "
            f"of the tree, got {n_leaves!r}."
        )
    return n_tree_leaves - n_leaves


def _read_tree(
    tree: Dendrogram | ArrayLike | BaseEstimator, labels: ArrayLike | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the merges, lowest first, and the checked leaf of each sample."""
    merges, default_labels = _read_merges(tree)
    labels = column_or_1d(default_labels if labels is None else labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, got dtype {labels.dtype}.")
    if len(labels) and not (0 <= labels.min() and labels.max() <= len(merges)):
        raise ValueError(f"labels must lie between 0 and {len(merges)}.")
    return merges, labels


def _read_merges(
    tree: Dendrogram | ArrayLike | BaseEstimator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the merges, lowest first, and the default of each sample's leaf."""
    tree = getattr(tree, "dendrogram_", tree)
    if isinstance(tree, Dendrogram):
        return tree.to_linkage()[:, :2].astype(int), tree.labels
    if hasattr(tree, "children_"):
        merges, n = np.asarray(tree.children_), tree.n_leaves_
        if len(merges) != n - 1:
            raise ValueError(
                f"The tree is not complete: {len(merges)} merges of {n} samples. Fit "
                "AgglomerativeClustering with compute_full_tree=True."
            )
        return merges, np.arange(n)
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
    return Z[:, :2].astype(int), np.arange(len(Z) + 1)


def _contingency(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.int64]:
    """Count the samples of each class (rows) in each cluster (columns)."""
    y_true, y_pred = column_or_1d(y_true), column_or_1d(y_pred)
    check_consistent_length(y_true, y_pred)
    if len(y_true) == 0:
        raise ValueError("y_true and y_pred must not be empty.")
    return contingency_matrix(y_true, y_pred)


def _labels_for(
    estimator: BaseEstimator, X: ArrayLike
) -> tuple[BaseEstimator, NDArray[np.int64]]:
    """Return a fitted estimator and the clusters it assigns to X.

    An estimator without `predict`, such as AgglomerativeClustering, is refitted on X.
    """
    if hasattr(estimator, "predict"):
        return estimator, estimator.predict(X)
    refitted = clone(estimator)
    clusterer = _final_step(refitted)
    if "compute_full_tree" in clusterer.get_params():
        clusterer.set_params(compute_full_tree=True)
    return refitted, refitted.fit_predict(X)


def dendrogram_purity_scorer(
    estimator: BaseEstimator, X: ArrayLike, y: ArrayLike
) -> float:
    """Score a fitted estimator by its `dendrogram_purity`.

    The leaves of the samples are predicted. An estimator without `predict`, such as
    AgglomerativeClustering, is refitted on X, and its tree is cut to ``n_clusters``
    leaves for comparability.

    Parameters
    ----------
    estimator : estimator
        Fitted estimator, or a Pipeline that ends with it.
    X : array-like of shape (n_samples, n_features)
        Samples to score.
    y : array-like of shape (n_samples,)
        Class labels of the samples.

    Returns
    -------
    purity : float
        Between 0 and 1.
    """
    fitted, labels = _labels_for(estimator, X)
    if fitted is estimator:
        return dendrogram_purity(y, _final_step(estimator), labels)
    tree = _final_step(fitted)
    return dendrogram_purity(y, tree, n_leaves=tree.n_clusters_)


def _final_step(estimator: BaseEstimator) -> BaseEstimator:
    """Return the clusterer at the end of a Pipeline."""
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def leaf_purity_scorer(estimator: BaseEstimator, X: ArrayLike, y: ArrayLike) -> float:
    """Score a fitted estimator by its `leaf_purity`.

    An estimator without `predict`, such as AgglomerativeClustering, is refitted on X.

    Parameters
    ----------
    estimator : estimator
        Fitted estimator, or a Pipeline that ends with it.
    X : array-like of shape (n_samples, n_features)
        Samples to score.
    y : array-like of shape (n_samples,)
        Class labels of the samples.

    Returns
    -------
    purity : float
        Between 0 and 1.
    """
    return leaf_purity(y, _labels_for(estimator, X)[1])


def clustering_accuracy_scorer(
    estimator: BaseEstimator, X: ArrayLike, y: ArrayLike
) -> float:
    """Score a fitted estimator by its `clustering_accuracy`.

    An estimator without `predict`, such as AgglomerativeClustering, is refitted on X.

    Parameters
    ----------
    estimator : estimator
        Fitted estimator, or a Pipeline that ends with it.
    X : array-like of shape (n_samples, n_features)
        Samples to score.
    y : array-like of shape (n_samples,)
        Class labels of the samples.

    Returns
    -------
    accuracy : float
        Between 0 and 1.
    """
    return clustering_accuracy(y, _labels_for(estimator, X)[1])
