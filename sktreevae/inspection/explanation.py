"""Features that tell two groups of clusters apart, as a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..utils.extras import import_extra
from ..utils.text import format_effect
from .columns import Feature
from .effects import Floats

if TYPE_CHECKING:
    import pandas

__all__ = ["Explanation", "Explanations"]


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
        Mean of the rows of each branch, or of what the model generates there, in the
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
