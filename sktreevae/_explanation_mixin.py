"""Methods that describe the nodes and the splits of a fitted tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch.utils.data import Dataset

from ._validation import validate_rows
from .data import Standardizer
from .inspection.diagnostics import Finding
from .inspection.effects import (
    GroupMoments,
    area_under_curve,
    effect_size,
    mix_moments,
    pooled_spread,
    row_moments,
)
from .inspection.explanation import RowCheck, SplitExplanation
from .inspection.failures import find_signatures
from .model import TreeVAE, leaf_moments
from .tree import Dendrogram
from .tree.arrays import leaves_below
from .tree.export import check_feature_names
from .utils.validation import Number, check_count

__all__ = ["ExplanationMixin"]

MIN_BRANCH_ROWS = 2
"""Minimum number of rows of each branch: a single row has no variance."""

Floats = NDArray[np.float64]


class ExplanationMixin:
    """Methods that describe the nodes of the tree in the user's units."""

    dendrogram_: Dendrogram
    module_: TreeVAE
    n_features_in_: int
    _standardizer: Standardizer
    _findings: Sequence[Finding] = ()
    _threads: Callable[[int], AbstractContextManager[None]]

    def node_means(self, node: int | None = None) -> Floats:
        """Return the mean of what the model generates at a node, E[x | node].

        The mean of a leaf is the mean of the decoded latent variables, drawn from the
        prior with a fixed seed. The mean of another node is that of its leaves,
        weighted by ``dendrogram_.weight``.

        Parameters
        ----------
        node : int, default=None
            Node of ``dendrogram_``. All nodes by default.

        Returns
        -------
        mean : ndarray of shape (n_features,) or (n_nodes, n_features)
            In the units of X: probabilities with a Bernoulli likelihood, rates with one
            of counts.

        Raises
        ------
        ValueError
            If there is no such node.

        Examples
        --------
        >>> from sklearn.datasets import make_blobs
        >>> from sktreevae import TreeVAEClustering
        >>> X, y = make_blobs([40, 40, 40], cluster_std=0.5, random_state=0)
        >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
        >>> model.node_means().shape
        (5, 2)
        >>> model.node_means(0).shape
        (2,)
        """
        check_is_fitted(self)
        weight = _leaf_weights(self.dendrogram_)
        if node is not None:
            weight = weight[[_check_node(node, len(weight))]]
        mean = mix_moments(self._leaf_moments(), weight).mean
        return mean if node is None else mean[0]

    def explain(
        self,
        node: int = 0,
        X: ArrayLike | Dataset | None = None,
        *,
        n_features: int | None = 10,
        feature_names: Sequence[str] | None = None,
    ) -> SplitExplanation:
        """Return the features that tell the two branches of a node apart.

        The effect of a feature is the difference of the means that the model generates
        in the left and in the right branch, relative to the standard deviation within
        the branches (Cohen's d). It doesn't depend on the unit of the feature.

        The variance of a Bernoulli feature is ``p * (1 - p)``. If its values are
        between 0 and 1, as gray levels and term frequencies are, this is an upper
        bound: effects are understated, and less so of features with large values.
        Rare terms therefore don't come first.

        Parameters
        ----------
        node : int, default=0
            Node with branches, one of ``dendrogram_.internal_nodes``; the root by
            default. `export_html` and the representation of ``dendrogram_`` in
            notebooks show the numbers of the nodes.
        X : array-like or Dataset of shape (n_samples, n_features), default=None
            Rows to check the effects on: those that `predict` assigns to the branches.
        n_features : int, default=10
            Number of features that are returned; all if None.
        feature_names : sequence of str of length n_features_in_, default=None
            Names of the columns, by default ``feature_names_in_``, and "x0", "x1", ...
            if there are none.

        Returns
        -------
        explanation : SplitExplanation
            Features, means and effects, largest effects first.

        Raises
        ------
        ValueError
            If `node` is a leaf or no node, a parameter or X isn't valid, or fewer than
            two rows of X are assigned to a branch.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sktreevae import TreeVAEClustering
        >>> X = load_iris(as_frame=True).data
        >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
        >>> explanation = model.explain(0, n_features=2)
        >>> explanation.feature_names.tolist()
        ['petal length (cm)', 'petal width (cm)']
        """
        return self._explain(node, X, n_features, feature_names)

    def _explain(
        self,
        node: int,
        X: ArrayLike | Dataset | None,
        n_features: int | None,
        feature_names: Sequence[str] | None,
        *,
        has_auc: bool = True,
    ) -> SplitExplanation:
        """Return what `explain` does, without the areas under the curve if asked."""
        check_is_fitted(self)
        tree = self.dendrogram_
        if tree.n_leaves == 1:
            raise ValueError("The tree has one cluster, so that no node has branches.")
        node = _check_internal_node(node, tree)
        names = self._feature_names(feature_names)
        if n_features is not None:
            check_count("n_features", n_features)
        branches = int(tree.children_left[node]), int(tree.children_right[node])
        weight = _leaf_weights(tree)[list(branches)]
        clusters = tuple(map(np.flatnonzero, weight))
        left, right = _rows(mix_moments(self._leaf_moments(), weight))
        effect = effect_size(left, right)
        features = _largest(effect, n_features)
        check = None
        if X is not None:
            check = self._check_on_rows(X, node, clusters, features, has_auc)
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
        self,
        node: int | None = None,
        *,
        n_features: int | None = 10,
        feature_names: Sequence[str] | None = None,
    ) -> tuple[NDArray[np.str_], Floats] | list[tuple[NDArray[np.str_], Floats]]:
        """Return the features that tell a node from the rest of the tree.

        The effects are those of `explain`, between the clusters of the node and all
        other clusters. The root has no features, since there are no other clusters.

        `explain` compares the two branches of a node with each other instead. Below the
        root, its features and signs therefore differ from those of the two children.

        Parameters
        ----------
        node : int, default=None
            Node of ``dendrogram_``. All nodes by default, which is faster than one
            after the other.
        n_features : int, default=10
            Number of features that are returned; all if None.
        feature_names : sequence of str of length n_features_in_, default=None
            As for `explain`.

        Returns
        -------
        names : ndarray of str of shape (n_features,)
            Names of the features, largest effects first. Empty for the root.
        effect : ndarray of shape (n_features,)
            Effects, positive if the node has the larger mean. Without `node`, there is
            a list of pairs (names, effect), one for each node.

        Raises
        ------
        ValueError
            If there is no such node, or a parameter isn't valid.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sktreevae import TreeVAEClustering
        >>> X = load_iris(as_frame=True).data
        >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
        >>> names, effect = model.top_features(1, n_features=2)
        >>> names
        array(['petal length (cm)', 'petal width (cm)'], dtype='<U17')
        """
        check_is_fitted(self)
        tree = self.dendrogram_
        nodes = range(tree.n_nodes)
        if node is not None:
            nodes = [_check_node(node, tree.n_nodes)]
        if n_features is not None:
            check_count("n_features", n_features)
        names = self._feature_names(feature_names)
        moments, weight = self._leaf_moments(), _leaf_weights(tree)
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

    def diagnose(self, X: ArrayLike | Dataset | None = None) -> list[Finding]:
        """Return what looks wrong with the fit, with the remedies.

        The findings are those that `fit` warned of, and:

        - "posterior collapse": latent variables of a cluster hold no information.
        - "undecided routers": decisions of a split are nearly random.
        - "imbalance": one cluster has more than 90% of the training samples.
        - "near-duplicate clusters": two clusters generate nearly the same.
        - "empty clusters": no training samples, or no rows of X, are in a cluster.
        - "overfitting": X gains much less from the model than the training samples.
        - "unlike rows": X is too improbable for rows like the training samples, as in
          other units. Both need X.

        Parameters
        ----------
        X : array-like or Dataset of shape (n_samples, n_features), default=None
            Data to diagnose the model on: held-out samples, to find overfitting. By
            default, the model's posteriors and routers are measured on samples that it
            generates.

        Returns
        -------
        findings : list of Finding
            Each has a name, nodes, numbers, the problem in words and a remedy. Empty if
            nothing looks wrong.

        Raises
        ------
        ValueError
            If X isn't valid.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sktreevae import TreeVAEClustering
        >>> X, y = load_iris(return_X_y=True)
        >>> model = TreeVAEClustering(n_clusters=2, random_state=0).fit(X)
        >>> model.diagnose(X)
        []
        """
        check_is_fitted(self)
        signatures = find_signatures(self, self._leaf_moments(), X)
        return [*self._findings, *signatures]

    def _check_on_rows(
        self,
        X: ArrayLike | Dataset,
        node: int,
        clusters: Sequence[NDArray[np.int64]],
        features: NDArray[np.int64],
        has_auc: bool,
    ) -> RowCheck:
        """Compare the rows of X that are assigned to two groups of clusters."""
        labels = self.predict(X)
        groups = [np.isin(labels, branch) for branch in clusters]
        n_rows = int(groups[0].sum()), int(groups[1].sum())
        if min(n_rows) < MIN_BRANCH_ROWS:
            raise ValueError(
                f"X must have at least {MIN_BRANCH_ROWS} rows in each branch of node "
                f"{node}, got {n_rows[0]} in the left and {n_rows[1]} in the right one."
            )
        rows = validate_rows(self, X, reset=False)
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

    def _feature_names(self, names: Sequence[str] | None) -> NDArray[np.str_]:
        """Return names of all features."""
        n_features = self.n_features_in_
        if names is None:
            default = [f"x{i}" for i in range(n_features)]
            names = getattr(self, "feature_names_in_", default)
        return np.array(check_feature_names(names, n_features), dtype=np.str_)

    def _node_moments(self) -> GroupMoments:
        """Return the moments of what the model generates at each node."""
        return mix_moments(self._leaf_moments(), _leaf_weights(self.dendrogram_))

    def _leaf_moments(self) -> GroupMoments:
        """Return the moments of what the model generates at each leaf."""
        with self._threads():
            moments = leaf_moments(self.module_)
        maps = self._standardizer
        return GroupMoments(
            maps.inverse_transform(moments.mean.numpy()),
            maps.restore_variance(moments.variance.numpy()),
        )


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
