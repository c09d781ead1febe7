"""Input and dependencies that all drawings share."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

__all__ = ["FittedTree", "PlotData", "Tree", "get_tree", "import_pyplot"]


class PlotData(Protocol):
    """Coordinates as in `sktreevae.dendrogram.DendrogramPlotData`."""

    x: NDArray[np.float64]
    links: NDArray[np.float64]


class Tree(Protocol):
    """Attributes of `sktreevae.Dendrogram` that the drawings read."""

    parent: NDArray[np.int64]
    depth: NDArray[np.int64]
    n_node_samples: NDArray[np.int64]
    labels: NDArray[np.int64]

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""

    @property
    def leaves(self) -> NDArray[np.int64]:
        """Node of each leaf label."""

    def get_plot_data(self) -> PlotData:
        """Return the coordinates of a drawing."""


class FittedTree(Protocol):
    """Fitted estimator with a tree, such as `sktreevae.TreeVAEClustering`."""

    dendrogram_: Tree


def get_tree(tree: Tree | FittedTree) -> Tree:
    """Return a dendrogram, or the dendrogram of a fitted estimator.

    Raises
    ------
    NotFittedError
        If an estimator is not fitted.
    TypeError
        If there is no dendrogram.
    """
    if isinstance(tree, BaseEstimator) and not hasattr(tree, "dendrogram_"):
        check_is_fitted(tree)
    tree = getattr(tree, "dendrogram_", tree)
    if not hasattr(tree, "get_plot_data"):
        raise TypeError(
            "Expected a Dendrogram or a fitted estimator with a dendrogram_ attribute, "
            f"got {type(tree).__name__}."
        )
    return tree


def import_pyplot() -> Any:
    """Import `matplotlib.pyplot`.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Plotting needs matplotlib. Install it with: pip install 'sktreevae[plot]'"
        ) from error
    return plt
