"""Features and means that describe the nodes and the splits of a fitted tree."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch.utils.data import Dataset

from ..model import leaf_moments as standardized_moments
from ..tree import Dendrogram
from ..tree.arrays import leaves_below
from ..tree.export import check_feature_names
from ..utils.validation import Number, check_count
from .effects import (
    GroupMoments,
    area_under_curve,
    effect_size,
    mix_moments,
    pooled_spread,
    row_moments,
)
from .explanation import RowCheck, SplitExplanation

__all__ = [
    "NamedEffects",
    "explain_split",
    "leaf_moments",
    "model_moments",
    "node_means",
    "top_features",
]

MIN_BRANCH_ROWS = 2
"""Minimum number of rows of each branch: a single row has no variance."""

Floats = NDArray[np.float64]

NamedEffects = tuple[NDArray[np.str_], Floats]
"""Names of features, and their effects."""


def node_means(estimator: BaseEstimator, node: int | None) -> Floats:
    """Return the mean of what the model generates at a node, or at all nodes.

    See `TreeVAEClustering.node_means`.
    """
    weight = _leaf_weights(estimator.dendrogram_)
    if node is not None:
        weight = weight[[_check_node(node, len(weight))]]
    mean = mix_moments(leaf_moments(estimator), weight).mean
    return mean if node is None else mean[0]


def explain_split(
    estimator: BaseEstimator,
    node: int,
    X: ArrayLike | Dataset | None,
    n_features: int | None,
    feature_names: Sequence[str] | None,
    *,
    has_auc: bool = True,
) -> SplitExplanation:
    """Return the features that tell the two branches of a node apart.

    See `TreeVAEClustering.explain`. Without `has_auc`, areas under the curve are NaN.
    """
    check_is_fitted(estimator)
    tree = estimator.dendrogram_
    if tree.n_clusters == 1:
        raise ValueError("The tree has one cluster, so that no node has branches.")
    node = _check_internal_node(node, tree)
    names = _feature_names(estimator, feature_names)
    if n_features is not None:
        check_count("n_features", n_features)
    branches = int(tree.children_left[node]), int(tree.children_right[node])
    weight = _leaf_weights(tree)[list(branches)]
    clusters = tuple(map(np.flatnonzero, weight))
    left, right = _rows(mix_moments(leaf_moments(estimator), weight))
    effect = effect_size(left, right)
    features = _largest(effect, n_features)
    check = None
    if X is not None:
        check = _check_on_rows(estimator, X, node, clusters, features, has_auc)
    return SplitExplanation(
        node,
        branches,
        clusters,
        features,
        names[features],
        left.mean[features],
        right.mean[features],
        pooled_spread(left, right)[features],
        effect[features],
        check,
    )


def top_features(
    estimator: BaseEstimator,
    node: int | None,
    n_features: int | None,
    feature_names: Sequence[str] | None,
) -> NamedEffects | list[NamedEffects]:
    """Return the features that tell a node, or each node, from the rest of the tree.

    See `TreeVAEClustering.top_features`.
    """
    tree = estimator.dendrogram_
    nodes = range(tree.n_nodes)
    if node is not None:
        nodes = [_check_node(node, tree.n_nodes)]
    if n_features is not None:
        check_count("n_features", n_features)
    names = _feature_names(estimator, feature_names)
    moments, weight = leaf_moments(estimator), _leaf_weights(tree)
    found = []
    for i in nodes:
        features, effect = np.empty(0, dtype=np.int64), np.empty(0)
        if i > 0:
            groups = np.stack([weight[i], np.where(weight[i] > 0, 0.0, weight[0])])
            effects = effect_size(*_rows(mix_moments(moments, groups)))
            features = _largest(effects, n_features)
            effect = effects[features]
        found.append((names[features], effect))
    return found if node is None else found[0]


def model_moments(estimator: BaseEstimator) -> GroupMoments:
    """Return the moments of what the model generates at each node."""
    return mix_moments(leaf_moments(estimator), _leaf_weights(estimator.dendrogram_))


def leaf_moments(estimator: BaseEstimator) -> GroupMoments:
    """Return the moments of what the model generates at each leaf."""
    with estimator._threads():
        moments = standardized_moments(estimator.module_)
    maps = estimator._standardizer
    return GroupMoments(
        maps.inverse_transform(moments.mean.numpy()),
        maps.restore_variance(moments.variance.numpy()),
    )


def _check_on_rows(
    estimator: BaseEstimator,
    X: ArrayLike | Dataset,
    node: int,
    clusters: Sequence[NDArray[np.int64]],
    features: NDArray[np.int64],
    has_auc: bool,
) -> RowCheck:
    """Compare the rows of X that are assigned to two groups of clusters."""
    labels = estimator.predict(X)
    groups = [np.isin(labels, branch) for branch in clusters]
    n_rows = int(groups[0].sum()), int(groups[1].sum())
    if min(n_rows) < MIN_BRANCH_ROWS:
        raise ValueError(
            f"X must have at least {MIN_BRANCH_ROWS} rows in each branch of node "
            f"{node}, got {n_rows[0]} in the left and {n_rows[1]} in the right one."
        )
    rows = estimator._validate(X)
    branch = np.select(groups, [0, 1], -1)
    left, right = _rows(row_moments(rows, branch, 2))
    auc = np.full(len(features), np.nan)
    if has_auc:
        auc = area_under_curve(rows, groups, features)
    return RowCheck(
        n_rows,
        left.mean[features],
        right.mean[features],
        effect_size(left, right)[features],
        auc,
    )


def _feature_names(
    estimator: BaseEstimator, names: Sequence[str] | None
) -> NDArray[np.str_]:
    """Return names of all features."""
    n_features = estimator.n_features_in_
    if names is None:
        default = [f"x{i}" for i in range(n_features)]
        names = getattr(estimator, "feature_names_in_", default)
    return np.array(check_feature_names(names, n_features), dtype=np.str_)


def _check_node(node: object, n_nodes: int) -> int:
    """Return the number of a node.

    Raises
    ------
    ValueError
        If there is no such node.
    """
    if not _is_node(node, n_nodes):
        raise ValueError(
            f"node must be an int from 0 to {n_nodes - 1}, the nodes of dendrogram_, "
            f"got {node!r}. dendrogram_.leaves has the node of each cluster."
        )
    return int(node)


def _check_internal_node(node: object, tree: Dendrogram) -> int:
    """Return the number of a node with branches.

    Raises
    ------
    ValueError
        If there is no such node.
    """
    allowed = tree.internal_nodes
    if _is_node(node, tree.n_nodes) and node in allowed:
        return int(node)
    hint = ""
    if _is_node(node, tree.n_nodes):
        hint = (
            f", which is the leaf of cluster {tree.leaf_label[node]}. The split above "
            f"it is that of node {tree.parent[node]}"
        )
    shown = np.array2string(allowed, separator=", ", threshold=20)
    raise ValueError(
        f"node must be one of dendrogram_.internal_nodes, {shown}, got {node!r}{hint}."
    )


def _is_node(node: object, n_nodes: int) -> bool:
    return Number(Integral, 0).accepts(node) and node < n_nodes


def _leaf_weights(tree: Dendrogram) -> Floats:
    """Return the weight of each leaf in each node, (n_nodes, n_leaves).

    A leaf without any weight counts as one with very little, so that every node has
    moments.
    """
    weight = np.maximum(tree.weight[tree.leaves], np.finfo(np.float32).tiny)
    return leaves_below(tree.parent, tree.leaves) * weight


def _rows(moments: GroupMoments) -> list[GroupMoments]:
    """Return the moments of each group."""
    return [
        GroupMoments(mean, variance)
        for mean, variance in zip(moments.mean, moments.variance, strict=True)
    ]


def _largest(effect: Floats, n_features: int | None) -> NDArray[np.int64]:
    """Return the features with the largest effects, in decreasing order."""
    return np.argsort(-np.abs(effect), kind="stable")[:n_features]
