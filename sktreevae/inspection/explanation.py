"""Features that tell groups of clusters apart, and describe the nodes of a tree."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.validation import check_is_fitted
from torch.utils.data import Dataset

from ..model import LIKELIHOODS
from ..model import leaf_moments as standardized_moments
from ..tree.arrays import Ints, leaves_below
from ..utils.chunks import MAX_CHUNK_VALUES
from ..utils.extras import import_extra
from ..utils.text import format_effect
from ..utils.validation import COUNT, Number, check_argument
from .columns import (
    Feature,
    FrameColumns,
    MatrixColumns,
    last_step,
    name_features,
    number_features,
    read_columns,
    read_table,
)
from .effects import (
    MIN_EFFECT,
    Floats,
    GroupMoments,
    area_under_curve,
    effect_size,
    pooled_spread,
)

if TYPE_CHECKING:
    import pandas

__all__ = ["Explanation", "Explanations", "explain"]

MAX_CORRELATION = 0.9
"""Maximum correlation, within the groups that are compared, of two features that are
both found."""

Tree = Any
"""A `sktreevae.Dendrogram`. Its module imports the displays, which import this one."""

Bools = NDArray[np.bool_]

Rows = MatrixColumns | FrameColumns


@dataclass(frozen=True, eq=False)
class Explanation:
    """Features that tell the two branches of a node apart, largest effects first.

    Or those that tell a node, called left, from the rest of the tree, called right.
    Printed, it is a table.

    Parameters
    ----------
    node : int
        Node of ``dendrogram_``.
    branches : tuple of two ints
        Its left and its right child; the node itself and None for the rest of the tree.
    clusters : tuple of two ndarrays of int
        Clusters in the left and in the right branch.
    columns : tuple of Feature
        The features.
    left_mean, right_mean : ndarray of shape (n_selected,)
        Mean of the rows of each branch, or of the generative model there, in the
        units of X; the share of a category in percent, and a date in years.
    spread : ndarray of shape (n_selected,)
        Standard deviation within the branches: the root of the mean of their variances.
    effect : ndarray of shape (n_selected,)
        ``(left_mean - right_mean) / spread``, Cohen's d. Positive where the left branch
        has the larger mean.
    n_rows : tuple of two ints or None
        Number of rows in the left and in the right branch; None if the model is
        described.
    auc : ndarray of shape (n_selected,) or None
        Probability that a row of the left branch has a larger value than one of the
        right branch, the area under the ROC curve. 0.5 means no difference.

    Attributes
    ----------
    features : ndarray of int of shape (n_selected,)
        Columns of X. A category has the position of its column.
    feature_names : ndarray of str of shape (n_selected,)
        Names of the features: those of the columns, with the category if it is one.
    """

    node: int
    branches: tuple[int, int | None]
    clusters: tuple[NDArray[np.int64], NDArray[np.int64]]
    columns: tuple[Feature, ...]
    left_mean: Floats
    right_mean: Floats
    spread: Floats
    effect: Floats
    n_rows: tuple[int, int] | None = None
    auc: Floats | None = None

    @property
    def features(self) -> NDArray[np.int64]:
        """Columns of X, (n_selected,)."""
        return np.array([found.column for found in self.columns], dtype=np.int64)

    @property
    def feature_names(self) -> NDArray[np.str_]:
        """Names of the features, (n_selected,)."""
        return np.array([found.name for found in self.columns], dtype=np.str_)

    @property
    def branch_names(self) -> tuple[str, str]:
        """The nodes and the clusters of the left and of the right branch in words."""
        left, right = map(_branch_name, self.branches, self.clusters)
        return left, right

    def to_frame(self) -> pandas.DataFrame:
        """Return a table with a row for each feature, largest effects first.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pandas = import_extra("pandas", "to_frame needs pandas", "pandas")
        columns = {
            "feature": self.feature_names,
            "left_mean": self.left_mean,
            "right_mean": self.right_mean,
            "spread": self.spread,
            "effect": self.effect,
        }
        if self.auc is not None:
            columns["auc"] = self.auc
        return pandas.DataFrame(columns, index=self.features)

    @property
    def mean_texts(self) -> list[tuple[str, str]]:
        """Both means of each feature, with the digits that matter beside its spread."""
        means = zip(self.left_mean, self.right_mean, strict=True)
        return [
            tuple(feature.text(mean, spread) for mean in pair)
            for feature, pair, spread in zip(
                self.columns, means, self.spread, strict=True
            )
        ]

    def __repr__(self) -> str:
        left, right = self.branch_names
        lines = [f"Node {self.node}: left is {left}, right is {right}"]
        if self.n_rows is not None:
            n_left, n_right = self.n_rows
            lines.append(f"Rows of X: {n_left} left, {n_right} right")
        if not len(self.features):
            return "\n".join([*lines, "No feature differs."])
        left_texts, right_texts = zip(*self.mean_texts, strict=True)
        columns = [
            ["feature", *self.feature_names],
            ["left", *left_texts],
            ["right", *right_texts],
            ["effect", *map(format_effect, self.effect)],
        ]
        if self.auc is not None:
            columns.append(["AUC", *map("{:.2f}".format, self.auc)])
        sign = np.sign(np.nan_to_num(self.effect)).astype(int)
        sides = np.array(["equal", "higher left", "higher right"])[sign]
        return "\n".join([*lines, *_table(columns, ["", *sides])])


class Explanations(list[Explanation]):
    """Explanations of several nodes. Printed, they are tables."""

    def __repr__(self) -> str:
        return "\n\n".join(map(repr, self))


def _branch_name(node: int | None, clusters: NDArray[np.int64]) -> str:
    """Return a node and its clusters, which are consecutive, in words."""
    if node is None:
        return "the rest"
    if len(clusters) == 1:
        return f"node {node} (cluster {clusters[0]})"
    return f"node {node} (clusters {clusters[0]}-{clusters[-1]})"


def _table(columns: Sequence[Sequence[str]], notes: Sequence[str]) -> list[str]:
    """Align columns, the first to the left, numbers to the right, and add notes."""
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for first, *numbers, note in zip(*columns, notes, strict=True):
        cells = [first.ljust(widths[0]), *map(str.rjust, numbers, widths[1:]), note]
        lines.append("  ".join(cells).rstrip())
    return lines


@dataclass(frozen=True, eq=False)
class LeafFeatures:
    """Features of the leaves of a tree: of rows, or of the generative model.

    Parameters
    ----------
    features : sequence of Feature
        The features.
    moments : GroupMoments of shape (n_leaves, n_features)
        Moments of each leaf.
    min_effect : float
        Minimum effect of a difference that is found.
    labels : ndarray of int of shape (n_samples,) or None
        Leaf of each row.
    rows : MatrixColumns or FrameColumns, or None
        The rows.
    """

    features: Sequence[Feature]
    moments: GroupMoments
    min_effect: float = MIN_EFFECT
    labels: Ints | None = None
    rows: Rows | None = None

    @classmethod
    def of_model(
        cls, estimator: BaseEstimator, feature_names: Sequence[str] | None
    ) -> LeafFeatures:
        """Return features of the generative model, as the last step gets them."""
        names, model = name_features(estimator, feature_names), last_step(estimator)
        # Effects of soft targets are understated; see `TreeVAEClustering.explain`.
        is_understated = LIKELIHOODS[model.likelihood_].sharper is not None
        min_effect = 0.0 if is_understated else MIN_EFFECT
        return cls(number_features(names), leaf_moments(model), min_effect)

    @classmethod
    def of_rows(cls, rows: Rows, labels: Ints, n_leaves: int) -> LeafFeatures:
        """Return the features of rows, and their moments in each leaf."""
        moments = rows.moments(labels, n_leaves)
        return cls(rows.features, moments, labels=labels, rows=rows)


def explain(
    estimator: BaseEstimator,
    node: int | None = 0,
    X: ArrayLike | Dataset | None = None,
    *,
    against: str | None = None,
    n_features: int | None = 10,
    feature_names: Sequence[str] | None = None,
    labels: ArrayLike | None = None,
) -> Explanation | Explanations:
    """Return the features that tell the branches of a node apart, or it from the rest.

    Parameters
    ----------
    estimator : TreeVAEClustering or Pipeline
        Fitted estimator, or a pipeline whose last step it is.
    node, against, n_features
        As for the method; see `TreeVAEClustering.explain`.
    X : object, default=None
        Rows, as for ``estimator.predict``. Columns of a data frame that enters a
        pipeline are described as they are, before its steps: numbers by their means,
        dates by their mean, and other columns by the shares of their categories.
        Missing values are counted. By default, effects are those of the model, in the
        features that the last step gets.
    feature_names : sequence of str, default=None
        Names of the columns, by default those of X or of the estimator.
    labels : array-like of int of shape (n_samples,), default=None
        Leaf of each row, ``estimator.predict(X)`` by default. With labels, X is
        an array, a sparse matrix or a data frame with any columns, such as the counts
        of terms in texts whose embeddings were clustered.

    Returns
    -------
    explanation : Explanation, or Explanations, a list of them, if `node` is None
        Features, means and effects, largest effects first.

    Raises
    ------
    ImportError
        If X is a data frame that enters a pipeline, and pandas isn't installed.
    ValueError
        If a parameter isn't valid, or X has fewer than two rows on a side of `node`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sktreevae import TreeVAEClustering, explain
    >>> X = load_iris(as_frame=True).data
    >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
    >>> explain(model, 0, X, n_features=2).feature_names.tolist()
    ['petal length (cm)', 'petal width (cm)']
    """
    model = last_step(estimator)
    check_is_fitted(model)
    tree = model.dendrogram_
    nodes = _explained_nodes(tree, node, against)
    if n_features is not None:
        check_argument("n_features", n_features, COUNT)
    if labels is not None and X is None:
        raise ValueError("labels are leaves of the rows of X: pass X, too.")
    if labels is not None:
        rows = read_table(X, feature_names)
        labels = _check_labels(labels, X, model.n_clusters_)
        leaves = LeafFeatures.of_rows(rows, labels, model.n_clusters_)
    elif X is not None:
        rows, labels = read_columns(estimator, X, feature_names), estimator.predict(X)
        leaves = LeafFeatures.of_rows(rows, np.asarray(labels), model.n_clusters_)
    else:
        leaves = LeafFeatures.of_model(estimator, feature_names)
    found = [_explain_node(tree, leaves, int(i), against, n_features) for i in nodes]
    if node is None:
        return Explanations(found)
    _check_n_rows(found[0])
    return found[0]


def _check_labels(labels: ArrayLike, X: ArrayLike, n_leaves: int) -> Ints:
    """Return the leaf of each row, as an array of ints.

    Raises
    ------
    ValueError
        If there is not exactly one for each row, or one is no leaf.
    """
    labels = column_or_1d(labels)
    check_consistent_length(X, labels)
    is_leaf = np.isin(labels, np.arange(n_leaves))
    if not is_leaf.all():
        raise ValueError(
            f"labels must be ints from 0 to {n_leaves - 1}, the leaves, got "
            f"{labels[~is_leaf][0]!r}."
        )
    return labels.astype(np.int64)


def describe_nodes(
    estimator: BaseEstimator,
    X: Any = None,
    feature_names: Sequence[str] | None = None,
    labels: Ints | None = None,
) -> tuple[Sequence[Feature], GroupMoments]:
    """Return features, and their moments at all nodes; NaN for nodes without rows.

    Parameters
    ----------
    estimator : TreeVAEClustering or Pipeline
        Fitted estimator.
    X : object, default=None
        Rows, as for `predict`. None describes the generative model.
    feature_names : sequence of str, default=None
        Names of the columns of X.
    labels : ndarray of int of shape (n_samples,), default=None
        Leaf of each row of X; needed with X.

    Raises
    ------
    ValueError
        If X isn't valid, or there is not exactly one name for each column.
    """
    tree = last_step(estimator).dendrogram_
    if X is None:
        leaves = LeafFeatures.of_model(estimator, feature_names)
    else:
        rows = read_columns(estimator, X, feature_names)
        leaves = LeafFeatures.of_rows(rows, labels, tree.n_clusters)
    return leaves.features, leaves.moments.mix(leaves_below(tree.parent, tree.leaves))


def node_means(estimator: BaseEstimator, node: int | None) -> Floats:
    """Return the mean of the generative model at a node, or at all nodes.

    See `TreeVAEClustering.node_means`.
    """
    tree = estimator.dendrogram_
    if node is not None and not _is_in(node, range(tree.n_nodes)):
        raise ValueError(
            f"node must be an int from 0 to {tree.n_nodes - 1}, the nodes of "
            f"dendrogram_, got {node!r}. dendrogram_.leaves has the node of each "
            "cluster."
        )
    return describe_nodes(estimator)[1].mean[slice(None) if node is None else node]


def leaf_moments(estimator: BaseEstimator) -> GroupMoments:
    """Return the moments of the generative model at each leaf."""
    with estimator._threads():
        moments = standardized_moments(estimator.module_)
    maps, tree = estimator._standardizer, estimator.dendrogram_
    # A leaf without any weight counts as one with very little, so that every node has
    # moments.
    weight = np.maximum(tree.weight[tree.leaves], np.finfo(np.float32).tiny)
    return GroupMoments(
        maps.inverse_transform(moments.mean.numpy()),
        maps.restore_variance(moments.variance.numpy()),
        weight[:, None],
    )


def _explain_node(
    tree: Tree,
    leaves: LeafFeatures,
    node: int,
    against: str | None,
    n_features: int | None,
) -> Explanation:
    """Compare the branches of a node, or the node with the rest."""
    branches, is_in = _groups(tree, node, against)
    left, right = (leaves.moments[leaf].pool() for leaf in is_in)
    groups = None if leaves.labels is None else is_in[:, leaves.labels]
    effect = effect_size(left, right)
    features = np.argsort(-np.abs(effect), kind="stable")
    if n_features is not None:
        features = features[np.abs(effect[features]) >= leaves.min_effect]
        features = _select_distinct(leaves.rows, groups, features, n_features)
    n_rows = auc = None
    if groups is not None:
        n_rows = tuple(groups.sum(axis=1).tolist())
        values = _read(leaves.rows, groups, features, len(features))
        areas = [area_under_curve(x[groups[0]], x[groups[1]]) for _, x in values]
        auc = np.array(areas, dtype=np.float64)
    return Explanation(
        node=node,
        branches=branches,
        clusters=tuple(map(np.flatnonzero, is_in)),
        columns=tuple(leaves.features[i] for i in features),
        left_mean=left.mean[features],
        right_mean=right.mean[features],
        spread=pooled_spread(left, right)[features],
        effect=effect[features],
        n_rows=n_rows,
        auc=auc,
    )


def _select_distinct(
    rows: Rows | None, groups: Bools | None, features: Ints, n_features: int
) -> Ints:
    """Return the first features that aren't correlated with one before them.

    Without rows, correlations aren't known, and the first features are returned.
    """
    if rows is None:
        return features[:n_features]
    found, before = [], []
    for feature, values in _read(rows, groups, features, n_features):
        residual = np.concatenate(
            [values[group] - np.nanmean(values[group]) for group in groups]
        )
        if all(_correlation(residual, x) <= MAX_CORRELATION for x in before):
            found.append(feature)
            before.append(residual)
        if len(found) == n_features:
            break
    return np.array(found, dtype=np.int64)


def _correlation(first: Floats, second: Floats) -> float:
    """Return the size of the correlation of residuals that are both known."""
    is_known = ~np.isnan(first + second)
    first, second = first[is_known], second[is_known]
    length = np.linalg.norm(first) * np.linalg.norm(second)
    return abs(first @ second) / length if length > 0 else 0.0


def _read(
    rows: Rows, groups: Bools, features: Ints, n_at_once: int
) -> Iterator[tuple[int, Floats]]:
    """Yield features and their values, which are read in blocks of bounded memory."""
    size = max(min(n_at_once, MAX_CHUNK_VALUES // groups.shape[1]), 1)
    for start in range(0, len(features), size):
        block = features[start : start + size]
        yield from zip(block, rows.read(block).T, strict=True)


def _check_n_rows(found: Explanation) -> None:
    """Raise a ValueError if a side has a single row, which has no variance, or none."""
    if found.n_rows is not None and min(found.n_rows) < 2:
        n_left, n_right = found.n_rows
        raise ValueError(
            f"X must have at least 2 rows on each side of node {found.node}, got "
            f"{n_left} on the left and {n_right} on the right."
        )


def _explained_nodes(
    tree: Tree, node: int | None, against: str | None
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
    tree: Tree, node: int, against: str | None
) -> tuple[tuple[int, int | None], Bools]:
    """Return the two nodes that are compared, and whether each leaf is below them.

    The rest of the tree is no node.
    """
    below = leaves_below(tree.parent, tree.leaves)
    if against == "rest":
        return (node, None), np.stack([below[node], ~below[node]])
    branches = int(tree.children_left[node]), int(tree.children_right[node])
    return branches, below[list(branches)]
