"""Agreement of flat clusters with classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import check_consistent_length, column_or_1d


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


def _contingency(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.int64]:
    """Count the samples of each class (rows) in each cluster (columns)."""
    y_true, y_pred = column_or_1d(y_true), column_or_1d(y_pred)
    check_consistent_length(y_true, y_pred)
    if len(y_true) == 0:
        raise ValueError("y_true and y_pred must not be empty.")
    return contingency_matrix(y_true, y_pred)
