"""Features and means that describe the nodes and the splits of a fitted tree."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Self

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
from ..utils.validation import Number, check_count
from .effects import (
    GroupMoments,
    area_under_curve,
    effect_size,
    mix_moments,
    pooled_spread,
    row_moments,
)
from .explanation import Explanation, RowCheck

__all__ = ["explain", "leaf_moments", "model_moments", "node_means"]

MIN_GROUP_ROWS = 2
"""Minimum number of rows of each group: a single row has no variance."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
        check_count("n_features", n_features)
    names = _feature_names(estimator, feature_names)
    leaves = Leaves(leaf_moments(estimator), _leaf_weight(tree))
    rows = None if X is None else AssignedRows.of(estimator, X)
    found = []
    for i in map(int, nodes):
        branches, clusters = _groups(tree, i, against)
        left, right = map(leaves.mix, clusters)
        effect = effect_size(left, right)
        features = np.argsort(-np.abs(effect), kind="stable")[:n_features]
        found.append(
            Explanation(
                node=i,
                branches=branches,
                clusters=clusters,
                features=features,
                feature_names=names[features],
                left_mean=left.mean[features],
                right_mean=right.mean[features],
                spread=pooled_spread(left, right)[features],
                effect=effect[features],
                check=None if rows is None else rows.check(i, clusters, features),
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


@dataclass(frozen=True, eq=False)
class Leaves:
    """Moments of what is at each leaf, and how much is there.

    Parameters
    ----------
    moments : GroupMoments
        Moments of each leaf.
    weight : ndarray of shape (n_leaves,)
        Weight of each leaf, not negative.
    """

    moments: GroupMoments
    weight: Floats

    def mix(self, clusters: Ints) -> GroupMoments:
        """Return the moments of some leaves together."""
        weight = np.zeros((1, len(self.weight)))
        weight[0, clusters] = self.weight[clusters]
        return mix_moments(self.moments, weight)[0]


@dataclass(frozen=True, eq=False)
class AssignedRows:
    """Rows that are assigned to clusters.

    Parameters
    ----------
    X : ndarray, CSR matrix or LazyRows of shape (n_samples, n_features)
        The rows.
    labels : ndarray of int of shape (n_samples,)
        Cluster of each row.
    leaves : Leaves
        Moments and numbers of the rows of each cluster.
    """

    X: Matrix
    labels: Ints
    leaves: Leaves

    @classmethod
    def of(cls, estimator: BaseEstimator, X: ArrayLike | Dataset) -> Self:
        """Assign rows to the clusters of a fitted estimator."""
        labels, n_clusters = estimator.predict(X), estimator.n_clusters_
        X = estimator._validate(X)
        moments = row_moments(X, labels, n_clusters)
        counts = np.bincount(labels, minlength=n_clusters)
        return cls(X, labels, Leaves(moments, counts.astype(np.float64)))

    def check(self, node: int, clusters: tuple[Ints, Ints], features: Ints) -> RowCheck:
        """Compare the rows of two groups of clusters."""
        groups = [np.isin(self.labels, group) for group in clusters]
        n_rows = int(groups[0].sum()), int(groups[1].sum())
        if min(n_rows) < MIN_GROUP_ROWS:
            raise ValueError(
                f"X must have at least {MIN_GROUP_ROWS} rows in each branch of node "
                f"{node}, got {n_rows[0]} in the left and {n_rows[1]} in the right one."
            )
        left, right = map(self.leaves.mix, clusters)
        return RowCheck(
            n_rows,
            left.mean[features],
            right.mean[features],
            effect_size(left, right)[features],
            area_under_curve(self.X, groups, features),
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
) -> tuple[tuple[int, int | None], tuple[Ints, Ints]]:
    """Return the two nodes that are compared, and the clusters below each.

    The rest of the tree is no node.
    """
    below = leaves_below(tree.parent, tree.leaves)
    if against == "rest":
        return (node, None), (np.flatnonzero(below[node]), np.flatnonzero(~below[node]))
    left, right = int(tree.children_left[node]), int(tree.children_right[node])
    return (left, right), (np.flatnonzero(below[left]), np.flatnonzero(below[right]))


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
