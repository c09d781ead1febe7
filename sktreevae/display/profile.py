"""Display of the profiles of clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from ..tree.names import check_cluster_names, check_feature_names
from ..utils.validation import COUNT, check_argument
from . import _base
from ._base import Floats, Tree
from ._node_values import NodeData
from .dendrogram import draw_dendrogram, label_leaves

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(eq=False, repr=False)
class ProfileDisplay:
    """Heat map of the profiles of clusters, below their dendrogram.

    Columns are clusters in the order of the tree. Rows are features. A cell is the mean
    of a feature in a cluster, in standard deviations from its mean in all samples.

    Create it with `from_estimator`. All parameters are stored as attributes. Read more
    in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    dendrogram : Dendrogram
        Tree to draw.
    profiles : ndarray of shape (n_features, n_clusters)
        Standardized means; nan for clusters without samples.
    feature_names : sequence of str of length n_features, default=None
        Names of the features, by default x0, x1, ...

    Attributes
    ----------
    im_ : matplotlib AxesImage
        The heat map.
    branches_ : matplotlib LineCollection
        One line from each node of the tree, except the root, to its parent.
    colorbar_ : matplotlib Colorbar
        Colorbar.
    ax_ : matplotlib Axes
        Axes with the heat map.
    tree_ax_ : matplotlib Axes
        Axes with the dendrogram, above the heat map.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    SplitDisplay : Features that tell the branches of a split apart.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sktreevae import TreeVAEClustering
    >>> from sktreevae.display import ProfileDisplay
    >>> X = load_iris(as_frame=True).data
    >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
    >>> display = ProfileDisplay.from_estimator(model, X, n_features=2)
    >>> display.profiles.shape
    (2, 3)
    """

    dendrogram: Tree
    profiles: Floats
    _: KW_ONLY
    feature_names: Sequence[str] | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike | None = None,
        *,
        n_features: int = 20,
        feature_names: Sequence[str] | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the profiles of the clusters of a fitted estimator.

        The features are those with the largest share of variance between the clusters,
        in the order of the cluster in which each deviates the most.

        Parameters
        ----------
        estimator : TreeVAEClustering or Pipeline
            Fitted estimator, or a pipeline whose last step it is.
        X : array-like of shape (n_samples, n_features), default=None
            Data, as for `fit`. By default the means are those of what the model
            generates.
        n_features : int, default=20
            Maximum number of features.
        feature_names : sequence of str of length `n_features_in_`, default=None
            Names of all columns, by default ``feature_names_in_`` or x0, x1, ...
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created.
        **kwargs : dict
            Further arguments of `plot`.

        Returns
        -------
        display : ProfileDisplay
            The display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has no dendrogram.
        ValueError
            If X isn't valid, there is not exactly one name for each feature, or an
            argument of `plot` isn't valid.
        """
        check_argument("n_features", n_features, COUNT)
        data = NodeData.from_estimator(estimator, X, feature_names, None)
        tree, (features, moments) = data.tree, data.describe()
        deviation = np.sqrt(moments.variance[0])
        difference = moments.mean[tree.leaves] - moments.mean[0]
        profiles = difference / np.where(deviation > 0, deviation, 1.0)
        size = data.n_samples[tree.leaves]
        explained = np.nansum(size[:, None] * profiles**2, axis=0)
        largest = np.argsort(-explained, kind="stable")[:n_features]
        at = np.nan_to_num(np.abs(profiles[:, largest])).argmax(axis=0)
        order = largest[np.argsort(at, kind="stable")]
        selected = [features[i].name for i in order]
        display = cls(tree, profiles[:, order].T, feature_names=selected)
        return display.plot(ax, **kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        n_clusters: int | None = None,
        cluster_names: Sequence[str] | None = None,
        cmap: str = "RdBu_r",
    ) -> Self:
        """Draw the heat map and the dendrogram.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created, whose size grows with
            the numbers of features and clusters.
        n_clusters : int, default=None
            Cut the tree into this many clusters, and draw the branches of each in a
            color of its own.
        cluster_names : sequence of str of length n_clusters, default=None
            Labels of the columns, by default the clusters.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colormap, whose middle is the mean of all samples.

        Returns
        -------
        display : ProfileDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `dendrogram` is no dendrogram.
        ValueError
            If `n_clusters` isn't valid, or there is not exactly one column or name for
            each cluster, and one name for each feature.
        """
        tree = _base.check_tree(self.dendrogram)
        values = check_array(self.profiles, ensure_all_finite="allow-nan")
        n_features, n_columns = values.shape
        if n_columns != tree.n_clusters:
            raise ValueError(
                f"profiles must have one column for each of the {tree.n_clusters} "
                f"clusters, got {n_columns}."
            )
        features = check_feature_names(self.feature_names, n_features, "x{}")
        clusters = check_cluster_names(cluster_names, n_columns)
        width = np.clip(_base.INCHES_PER_LABEL * n_columns + 3.0, 6.4, 30.0)
        height = _base.INCHES_PER_LABEL * n_features + 3.0
        self.ax_ = ax = _base.make_axes(ax, width, height)
        self.figure_ = ax.figure
        label_leaves(ax.xaxis, tree, "cluster")
        self.tree_ax_ = tree_ax = ax.inset_axes([0.0, 1.02, 1.0, 0.3])
        colors = _base.node_colors(tree, n_clusters, "C0")
        self.branches_ = draw_dendrogram(tree_ax, tree, colors)
        tree_ax.set_title("height (nats)", loc="left", fontsize=_base.FONT_SIZE)
        tree_ax.locator_params(axis="y", prune="lower")
        tree_ax.set_xticks([])
        tree_ax.spines[["top", "right", "bottom"]].set_visible(False)
        # As in seaborn, so that a few large values don't make all others pale.
        limit = np.nanquantile(np.abs(values), 0.98)
        self.im_, self.colorbar_ = _base.draw_heat_map(
            ax,
            values,
            features,
            clusters,
            label="mean in standard deviations",
            extend="both",
            cmap=cmap,
            vmin=-limit,
            vmax=limit,
        )
        return self
