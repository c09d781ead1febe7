"""Input, axes and colors that all displays share."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection

Floats = NDArray[np.float64]

Ints = NDArray[np.integer]

Tree = Any
"""A `sktreevae.Dendrogram`. Its module imports this package."""


MAX_COLORS = 20
"""Number of categories with a color of their own, that of the colormap "tab20"."""


def check_tree(dendrogram: Tree) -> Tree:
    """Return a dendrogram.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not hasattr(dendrogram, "get_plot_data"):
        raise TypeError(
            f"dendrogram must be a Dendrogram, got {type(dendrogram).__name__}. For a "
            "fitted estimator use from_estimator."
        )
    return dendrogram


def check_fitted(estimator: Any, attribute: str) -> Any:
    """Return an attribute of a fitted estimator.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator has no such attribute.
    """
    if isinstance(estimator, BaseEstimator) and not hasattr(estimator, attribute):
        check_is_fitted(estimator)
    if not hasattr(estimator, attribute):
        raise TypeError(
            f"estimator must be a fitted estimator with the attribute {attribute}, "
            f"such as TreeVAEClustering, got {type(estimator).__name__}."
        )
    return getattr(estimator, attribute)


def get_tree(estimator: Any) -> Tree:
    """Return the dendrogram of a fitted estimator.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator has no dendrogram.
    """
    return check_tree(check_fitted(estimator, "dendrogram_"))


def check_orientation(orientation: str) -> str:
    """Return the orientation of a drawing.

    Raises
    ------
    ValueError
        If it is neither "top" nor "left".
    """
    if orientation not in ("top", "left"):
        raise ValueError(f"orientation must be 'top' or 'left', got {orientation!r}.")
    return orientation


def import_extra(name: str) -> Any:
    """Import a module of a package that displays or pages need.

    Raises
    ------
    ImportError
        If the package is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.split(".")[0].replace("PIL", "Pillow")
        raise ImportError(
            f"Displays and pages need {package}. Install it with: "
            "pip install 'sktreevae[plot]'"
        ) from error


def make_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the given axes, or those of a new figure of a size in inches."""
    plt = import_extra("matplotlib.pyplot")
    if ax is None:
        ax = plt.subplots(figsize=(width, height), layout="constrained")[1]
    return ax


def category_colors(n_categories: int) -> Floats:
    """Return one color for each category, (n_categories, 4).

    The colors are those of the property cycle if it has enough, those of the colormap
    "tab20" for up to 20 categories, and equidistant colors of "turbo" for more.
    """
    from matplotlib import colormaps, rcParams
    from matplotlib.colors import to_rgba_array

    cycle = rcParams["axes.prop_cycle"].by_key().get("color", [])
    if n_categories <= len(cycle):
        return to_rgba_array(cycle[:n_categories]).reshape(-1, 4)
    if n_categories <= MAX_COLORS:
        return to_rgba_array(colormaps["tab20"].colors[:n_categories])
    return colormaps["turbo"](np.linspace(0.05, 0.95, n_categories))


def node_clusters(tree: Tree, n_clusters: int) -> Ints:
    """Return the cluster of a cut that each node lies in, (n_nodes,).

    Nodes above the cut, which several clusters lie below, have cluster -1.

    Raises
    ------
    ValueError
        If the tree has no such cut.
    """
    cluster = np.full(tree.n_nodes, -1)
    cluster[tree.leaves] = tree.cut(n_clusters)
    for node in range(tree.n_nodes - 1, -1, -1):
        left, right = tree.children_left[node], tree.children_right[node]
        if left >= 0 and cluster[left] == cluster[right]:
            cluster[node] = cluster[left]
    return cluster


def node_colors(tree: Tree, n_clusters: int | None, default: Any) -> Floats:
    """Return one color for each node, (n_nodes, 4), by the clusters of a cut.

    Without a cut all nodes have the default color. Nodes above the cut have the color
    of the edges of axes.

    Raises
    ------
    ValueError
        If the tree has no such cut.
    """
    from matplotlib import rcParams
    from matplotlib.colors import to_rgba_array

    if n_clusters is None:
        return np.repeat(to_rgba_array(default), tree.n_nodes, axis=0)
    clusters = node_clusters(tree, n_clusters)
    above = to_rgba_array(rcParams["axes.edgecolor"])
    return np.vstack([category_colors(n_clusters), above])[clusters]


def draw_branches(
    ax: Axes, lines: Any, colors: Any, is_supported: Any, **style: Any
) -> LineCollection:
    """Draw lines below the nodes, dashed where the split isn't supported."""
    from matplotlib.collections import LineCollection

    styles = np.where(is_supported, "solid", "dashed").tolist()
    branches = LineCollection(
        lines, colors=colors, linestyles=styles, zorder=1, **style
    )
    ax.add_collection(branches, autolim=False)
    return branches
