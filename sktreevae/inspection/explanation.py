"""Features that tell the branches of a split apart, as a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

__all__ = ["RowCheck", "SplitExplanation"]

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
        right branch, the area under the ROC curve. 0.5 means no difference. NaN in the
        explanations of images that `SplitDisplay.from_estimator` draws.
    """

    n_rows: tuple[int, int]
    left_mean: Floats
    right_mean: Floats
    effect: Floats
    auc: Floats


@dataclass(frozen=True, eq=False)
class SplitExplanation:
    """Features that tell the two branches of a node apart, largest effects first.

    Printed, it is a table.

    Parameters
    ----------
    node : int
        Node of ``dendrogram_``.
    branches : tuple of two ints
        Its left and its right child.
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
    branches: tuple[int, int]
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
        left, right = (
            f"node {node} ({_cluster_text(clusters)})"
            for node, clusters in zip(self.branches, self.clusters, strict=True)
        )
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
        left, right = self.branch_names
        rows = [["feature", "left", "right", "effect"]]
        rows += [
            [str(name), f"{a:.3g}", f"{b:.3g}", f"{d:+.2f}"]
            for name, a, b, d in zip(
                self.feature_names,
                self.left_mean,
                self.right_mean,
                self.effect,
                strict=True,
            )
        ]
        last = ""
        if self.check is not None:
            n_left, n_right = self.check.n_rows
            rows[0] += ["in X", "AUC"]
            for row, d, auc in zip(
                rows[1:], self.check.effect, self.check.auc, strict=True
            ):
                row += [f"{d:+.2f}", f"{auc:.2f}"]
            same = np.sum(np.sign(self.check.effect) == np.sign(self.effect))
            last = (
                f"\nIn X, {n_left} rows left and {n_right} right: {same} of "
                f"{len(self.effect)} effects have the same sign."
            )
        for row, effect in zip(rows[1:], self.effect, strict=True):
            row.append("higher left" if effect > 0 else "higher right")
        return (
            f"Node {self.node}: left is {left}, right is {right}\n{_table(rows)}{last}"
        )


def _cluster_text(clusters: NDArray[np.int64]) -> str:
    """Return the numbers of clusters, which are consecutive."""
    if len(clusters) == 1:
        return f"cluster {clusters[0]}"
    return f"clusters {clusters[0]}-{clusters[-1]}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Align the columns of a table: the first to the left, numbers to the right."""
    n_columns = len(rows[0])
    width = [max(len(row[i]) for row in rows) for i in range(n_columns)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(width[0])]
        cells += [row[i].rjust(width[i]) for i in range(1, n_columns)]
        lines.append("  ".join([*cells, *row[n_columns:]]))
    return "\n".join(lines)
