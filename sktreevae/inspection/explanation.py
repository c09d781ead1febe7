"""Features that tell two groups of clusters apart, as a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

__all__ = ["RowCheck", "Explanation"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RowCheck:
    """Differences between the rows that are assigned to the branches of a split.

    Arrays have one entry for each feature of the explanation, in its order.

    Parameters
    ----------
    n_rows : tuple of two ints
        Number of rows in the left and in the right branch.
    left_mean, right_mean : ndarray of shape (n_selected,)
        Mean of the rows of each branch, in the units of X.
    effect : ndarray of shape (n_selected,)
        Difference of the means over the standard deviation of the rows within the
        branches.
    auc : ndarray of shape (n_selected,)
        Probability that a row of the left branch has a larger value than one of the
        right branch, the area under the ROC curve. 0.5 means no difference.
    """

    n_rows: tuple[int, int]
    left_mean: Floats
    right_mean: Floats
    effect: Floats
    auc: Floats


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
    features : ndarray of int of shape (n_selected,)
        Columns of X.
    feature_names : ndarray of str of shape (n_selected,)
        Names of the columns.
    left_mean, right_mean : ndarray of shape (n_selected,)
        Mean of what the model generates in each branch, in the units of X.
    spread : ndarray of shape (n_selected,)
        Standard deviation within the branches: the root of the mean of their variances.
    effect : ndarray of shape (n_selected,)
        ``(left_mean - right_mean) / spread``, Cohen's d. Positive where the left branch
        has the larger mean.
    check : RowCheck or None
        The same differences between rows of X, if X was given.
    """

    node: int
    branches: tuple[int, int | None]
    clusters: tuple[NDArray[np.int64], NDArray[np.int64]]
    features: NDArray[np.int64]
    feature_names: NDArray[np.str_]
    left_mean: Floats
    right_mean: Floats
    spread: Floats
    effect: Floats
    check: RowCheck | None = None

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
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas. Install it with: pip install pandas"
            ) from error
        columns = {
            "feature": self.feature_names,
            "left_mean": self.left_mean,
            "right_mean": self.right_mean,
            "spread": self.spread,
            "effect": self.effect,
        }
        if self.check is not None:
            columns |= {
                "left_mean_of_rows": self.check.left_mean,
                "right_mean_of_rows": self.check.right_mean,
                "effect_in_rows": self.check.effect,
                "auc": self.check.auc,
            }
        return pandas.DataFrame(columns, index=self.features)

    def plot(
        self, ax: Axes | None = None, image_shape: tuple[int, ...] | None = None
    ) -> Any:
        """Draw the effects with `sktreevae.display.SplitDisplay`.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, by default those of a new figure.
        image_shape : tuple of int, default=None
            Shape of the images whose means are drawn; bars by default.

        Returns
        -------
        display : SplitDisplay
            The display, with the axes and the artists.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        # Imported here so that this module does not depend on the drawings.
        from ..display import SplitDisplay

        return SplitDisplay(self, image_shape=image_shape).plot(ax)

    def __repr__(self) -> str:
        columns = [
            ["feature", *self.feature_names],
            ["left", *map("{:.3g}".format, self.left_mean)],
            ["right", *map("{:.3g}".format, self.right_mean)],
            ["effect", *map("{:+.2f}".format, self.effect)],
        ]
        left, right = self.branch_names
        first, last = f"Node {self.node}: left is {left}, right is {right}", []
        if self.check is not None:
            columns += [
                ["in X", *map("{:+.2f}".format, self.check.effect)],
                ["AUC", *map("{:.2f}".format, self.check.auc)],
            ]
            n_left, n_right = self.check.n_rows
            is_same = np.sign(self.check.effect) == np.sign(self.effect)
            same = np.sum(is_same & (self.effect != 0))
            last = [
                f"In X, {n_left} rows left and {n_right} right: {same} of "
                f"{len(self.effect)} effects have the same sign."
            ]
        sign = np.sign(self.effect).astype(int)
        sides = np.array(["equal", "higher left", "higher right"])[sign]
        return "\n".join([first, *_table(columns, ["", *sides]), *last])


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
