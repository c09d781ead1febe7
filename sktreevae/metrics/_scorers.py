"""Metrics as scorers of fitted estimators, for ``GridSearchCV(scoring=...)``."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import column_or_1d

from ._clusters import clustering_accuracy, leaf_purity
from ._hierarchy import dendrogram_purity


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
    y = column_or_1d(y)
    if fitted is estimator:
        return dendrogram_purity(y, _final_step(estimator), labels)
    tree = _final_step(fitted)
    return dendrogram_purity(y, tree, n_leaves=tree.n_clusters_)


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


def _labels_for(
    estimator: BaseEstimator, X: ArrayLike
) -> tuple[BaseEstimator, NDArray[np.int64]]:
    """Return a fitted estimator and the clusters it assigns to X.

    An estimator without `predict`, such as AgglomerativeClustering, is refitted on X.
    """
    if hasattr(estimator, "predict"):
        return estimator, np.asarray(estimator.predict(X))
    refitted = clone(estimator)
    clusterer = _final_step(refitted)
    if "compute_full_tree" in clusterer.get_params():
        clusterer.set_params(compute_full_tree=True)
    return refitted, refitted.fit_predict(X)


def _final_step(estimator: BaseEstimator) -> BaseEstimator:
    """Return the clusterer at the end of a Pipeline, which may end with another one."""
    while isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    return estimator
