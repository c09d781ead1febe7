"""Features and means that describe the nodes and the splits of a fitted tree."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch.utils.data import Dataset

from ..data import Matrix
from ..model import leaf_moments as standardized_moments
from ..tree import Dendrogram
from ..tree.arrays import leaves_below
from ..tree.export import check_feature_names
from ..utils.validation import COUNT, Number, check_argument
from .effects import (
    GroupMoments,
    area_under_curve,
    effect_size,
    mix_moments,
    pooled_spread,
    row_moments,
)
from .explanation import Explanation, RowCheck

Floats = NDArray[np.float64]


def explain(
    estimator: BaseEstimator,
    node: int | None = 0,
    X: ArrayLike | Dataset | None = None,
    *,
    against: str | None = None,
    n_features: int | None = 10,
    feature_names: Sequence[str] | None = None,
) -> Explanation | list[Explanation]:
    """Return the features that tell the branches of a node apart, or it from the rest.

    Parameters
    ----------
    estimator : TreeVAEClustering
        Fitted estimator.
    node, X, against, n_features, feature_names
        As for the method; see `TreeVAEClustering.explain`.

    Returns
    -------
    explanation : Explanation, or list of Explanation if `node` is None
        Features, means and effects, largest effects first.

    Raises
    ------
    ValueError
        If a parameter isn't valid, or X has fewer than two rows in a group.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sktreevae import TreeVAEClustering, explain
    >>> X = load_iris(as_frame=True).data
    >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
    >>> explain(model, 0, X, n_features=2).feature_names.tolist()
    ['petal length (cm)', 'petal width (cm)']
    """
    check_is_fitted(estimator)
    tree = estimator.dendrogram_
    nodes = _explained_nodes(tree, node, against)
    if n_features is not None:
        check_argument("n_features", n_features, COUNT)
    names = _feature_names(estimator, feature_names)
    moments, weight = leaf_moments(estimator), _leaf_weight(tree)
    if X is not None:
        labels, X = estimator.predict(X), estimator._validate(X)
    found = []
    for i in map(int, nodes):
        branches, is_in = _groups(tree, i, against)
        groups = mix_moments(moments, is_in * weight)
        left, right = groups[0], groups[1]
        effect = effect_size(left, right)
        features = np.argsort(-np.abs(effect), kind="stable")[:n_features]
        check = None
        if X is not None:
            check = _check_on_rows(X, is_in[:, labels], i, features)
        found.append(
            Explanation(
                node=i,
                branches=branches,
                clusters=(np.flatnonzero(is_in[0]), np.flatnonzero(is_in[1])),
                features=features,
                feature_names=names[features],
                left_mean=left.mean[features],
                right_mean=right.mean[features],
                spread=pooled_spread(left, right)[features],
                effect=effect[features],
                check=check,
            )
        )
    return found if node is None else found[0]


def node_means(estimator: BaseEstimator, node: int | None) -> Floats:
    """Return the mean of what the model generates at a node, or at all nodes.

    See `TreeVAEClustering.node_means`.
    """
    tree = estimator.dendrogram_
    if node is not None and not _is_in(node, range(tree.n_nodes)):
        raise ValueError(
            f"node must be an int from 0 to {tree.n_nodes - 1}, the nodes of "
            f"dendrogram_, got {node!r}. dendrogram_.leaves has the node of each "
            "cluster."
        )
    return model_moments(estimator).mean[slice(None) if node is None else node]


def model_moments(estimator: BaseEstimator) -> GroupMoments:
    """Return the moments of what the model generates at each node."""
    tree = estimator.dendrogram_
    weight = leaves_below(tree.parent, tree.leaves) * _leaf_weight(tree)
    return mix_moments(leaf_moments(estimator), weight)


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
    X: Matrix, groups: NDArray[np.bool_], node: int, features: NDArray[np.int64]
) -> RowCheck:
    """Compare two groups of rows, (2, n_rows)."""
    n_left, n_right = groups.sum(axis=1).tolist()
    if min(n_left, n_right) < 2:  # a single row has no variance
        raise ValueError(
            f"X must have at least 2 rows on each side of node {node}, "
            f"got {n_left} on the left and {n_right} on the right."
        )
    moments = row_moments(X, np.select(list(groups), [0, 1], -1), 2)
    left, right = moments[0], moments[1]
    return RowCheck(
        (n_left, n_right),
        left.mean[features],
        right.mean[features],
        effect_size(left, right)[features],
        area_under_curve(X, groups, features),
    )


def _explained_nodes(
    tree: Dendrogram, node: int | None, against: str | None
) -> Iterable[int]:
    """Return the node, or all nodes, that are compared with something.

    Raises
    ------
    ValueError
        If there is no such node, or it can't be compared.
    """
    if against not in (None, "rest"):
        raise ValueError(f"against must be None or 'rest', got {against!r}.")
    allowed = tree.internal_nodes if against is None else range(1, tree.n_nodes)
    if node is None:
        return allowed
    if _is_in(node, allowed):
        return [node]
    if tree.n_clusters == 1:
        raise ValueError("The tree has one cluster, so that no node has branches.")
    if against == "rest":
        raise ValueError(
            f"node must be an int from 1 to {tree.n_nodes - 1}, a node of dendrogram_ "
            f"below the root, got {node!r}. dendrogram_.leaves has the node of each "
            "cluster."
        )
    hint = ""
    if _is_in(node, tree.leaves):
        hint = (
            f", which is the leaf of cluster {tree.leaf_label[node]}. The split above "
            f"it is that of node {tree.parent[node]}"
        )
    shown = np.array2string(allowed, separator=", ", threshold=20)
    raise ValueError(
        f"node must be one of dendrogram_.internal_nodes, {shown}, got {node!r}{hint}."
    )


def _is_in(node: object, nodes: Container[int]) -> bool:
    return Number(Integral, 0).accepts(node) and node in nodes


def _groups(
    tree: Dendrogram, node: int, against: str | None
) -> tuple[tuple[int, int | None], NDArray[np.bool_]]:
    """Return the two nodes that are compared, and whether each leaf is below them.

    The rest of the tree is no node.
    """
    below = leaves_below(tree.parent, tree.leaves)
    if against == "rest":
        return (node, None), np.stack([below[node], ~below[node]])
    branches = int(tree.children_left[node]), int(tree.children_right[node])
    return branches, below[list(branches)]


def _feature_names(
    estimator: BaseEstimator, names: Sequence[str] | None
) -> NDArray[np.str_]:
    """Return names of all features."""
    n_features = estimator.n_features_in_
    if names is None:
        default = [f"x{i}" for i in range(n_features)]
        names = getattr(estimator, "feature_names_in_", default)
    return np.array(check_feature_names(names, n_features), dtype=np.str_)


def _leaf_weight(tree: Dendrogram) -> Floats:
    """Return the weight of each leaf, (n_leaves,).

    A leaf without any weight counts as one with very little, so that every node has
    moments.
    """
    return np.maximum(tree.weight[tree.leaves], np.finfo(np.float32).tiny)
