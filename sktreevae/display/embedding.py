"""Display of the embedding of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA
from sklearn.utils import check_array, column_or_1d

from ..tree.export import check_cluster_names
from ._base import Floats, Ints, category_colors, get_tree, make_axes
from ._text import add_note, apply_layout, extents, keep_inside, plain, select_disjoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HIDDEN = "cluster names that would overlap are left out"
"""Note in the drawing."""


@dataclass(eq=False, repr=False)
class EmbeddingDisplay:
    """Scatter plot of the embedding of samples, colored by cluster.

    Create it with `from_estimator`. All parameters are stored as attributes. Read more
    in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    coordinates : ndarray of shape (n_samples, 2)
        Positions of the samples.
    labels : array-like of int of shape (n_samples,)
        Cluster of each sample, 0 to ``n_clusters - 1``.
    n_clusters : int, default=None
        Number of clusters, by default one more than the largest label.
    axis_names : sequence of str of length 2, default=("dimension 1", "dimension 2")
        Labels of the axes.

    Attributes
    ----------
    scatter_ : matplotlib PathCollection
        One marker for each sample.
    texts_ : list of matplotlib Text
        Names of the clusters, each at the median of its samples, but in the axes. Names
        that would overlap those of larger clusters are not visible.
    hidden_names_ : list of str
        Names that are not visible.
    note_ : matplotlib Text or None
        Note that names are left out, if there are any.
    ax_ : matplotlib Axes
        Axes with the drawing.
    figure_ : matplotlib Figure
        Figure of the axes.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sktreevae import TreeVAEClustering
    >>> from sktreevae.display import EmbeddingDisplay
    >>> X, y = make_blobs([40, 40, 40], cluster_std=0.5, random_state=0)
    >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
    >>> display = EmbeddingDisplay.from_estimator(model, X, n_clusters=2)
    >>> display.coordinates.shape
    (120, 2)
    """

    coordinates: ArrayLike
    labels: ArrayLike
    _: KW_ONLY
    n_clusters: int | None = None
    axis_names: Sequence[str] = ("dimension 1", "dimension 2")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        n_clusters: int | None = None,
        coordinates: ArrayLike | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the embedding of some data.

        Parameters
        ----------
        estimator : TreeVAEClustering
            Fitted estimator.
        X : array-like of shape (n_samples, n_features)
            Data, as for `fit`.
        n_clusters : int, default=None
            Cut the tree into this many clusters. By default the leaves are drawn.
        coordinates : array-like of shape (n_samples, 2), default=None
            Positions of the samples, for example by t-SNE or UMAP. By default the first
            two principal components of ``estimator.transform(X)``.
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created.
        **kwargs : dict
            Further arguments of `plot`.

        Returns
        -------
        display : EmbeddingDisplay
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
            If X, `n_clusters` or `coordinates` isn't valid, or an argument of `plot`,
            or if X has a single sample and `coordinates` is None.
        """
        tree = get_tree(estimator)
        n_clusters = tree.n_clusters if n_clusters is None else n_clusters
        labels = estimator.predict(X, n_clusters=n_clusters)
        names = {}
        if coordinates is None:
            coordinates, names["axis_names"] = _principal_components(estimator, X)
        display = cls(coordinates, labels, n_clusters=n_clusters, **names)
        return display.plot(ax, **kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        cluster_names: Sequence[str] | None = None,
        size: float | None = None,
    ) -> Self:
        """Draw the scatter plot.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created.
        cluster_names : sequence of str of length n_clusters, default=None
            Names of the clusters, by default their labels.
        size : float, default=None
            Area of the markers in square points. By default it falls with the number of
            samples.

        Returns
        -------
        display : EmbeddingDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there are not two coordinates for each sample, or there is not exactly
            one name for each cluster.
        """
        points = check_array(self.coordinates, input_name="coordinates")
        labels = column_or_1d(self.labels)
        if points.shape != (len(labels), 2):
            raise ValueError(
                f"coordinates must have shape (n_samples, 2) with {len(labels)} "
                f"samples, got {points.shape}."
            )
        n_clusters = self.n_clusters
        if n_clusters is None:
            n_clusters = int(labels.max()) + 1
        names = check_cluster_names(cluster_names, n_clusters)
        self.ax_ = ax = make_axes(ax, 7.0, 6.0)
        self.figure_ = ax.figure
        if size is None:
            size = float(np.clip(10_000 / len(points), 2.0, 30.0))
        colors = category_colors(n_clusters)[labels]
        self.scatter_ = ax.scatter(*points.T, s=size, c=colors, linewidths=0)
        ax.set_xlabel(plain(self.axis_names[0]))
        ax.set_ylabel(plain(self.axis_names[1]))
        keep_inside(ax)
        self._draw_names(points, labels, names)
        self._hide_names(labels, names)
        self.note_ = None
        if self.hidden_names_:
            self.note_ = add_note(ax, HIDDEN)
            # The note has moved the names closer to each other.
            self._hide_names(labels, names)
        return self

    def _draw_names(
        self,
        points: Floats,
        labels: Ints,
        names: Sequence[str],
    ) -> None:
        """Write the name of each cluster at the median of its samples."""
        from matplotlib.patheffects import withStroke

        outline = withStroke(linewidth=2.5, foreground=self.ax_.get_facecolor())
        style = {"ha": "center", "va": "center", "fontweight": "bold", "fontsize": 9}
        self.texts_ = []
        for cluster in np.unique(labels):
            center = np.median(points[labels == cluster], axis=0)
            text = self.ax_.text(*center, plain(names[cluster]), **style)
            text.set_path_effects([outline])
            self.texts_.append(text)
        apply_layout(self.ax_)

    def _hide_names(self, labels: Ints, names: Sequence[str]) -> None:
        """Hide names that overlap those of larger clusters."""
        for text in self.texts_:
            text.set_visible(True)  # else it has no extents
        clusters, n_samples = np.unique(labels, return_counts=True)
        boxes = self._move_inside(extents(self.texts_))
        is_visible = select_disjoint(boxes, n_samples)
        for text, visible in zip(self.texts_, is_visible, strict=True):
            text.set_visible(visible)
        self.hidden_names_ = [names[cluster] for cluster in clusters[~is_visible]]

    def _move_inside(self, boxes: Floats) -> Floats:
        """Move names into the axes, and return their new extents in pixels."""
        outer = extents([self.ax_])[0]
        shift = np.maximum(outer[:2] - boxes[:, :2], 0.0)
        shift -= np.maximum(boxes[:, 2:] - outer[2:], 0.0)
        to_pixels = self.ax_.transData
        for i in np.flatnonzero(shift.any(axis=1)):
            pixel = to_pixels.transform(self.texts_[i].get_position()) + shift[i]
            self.texts_[i].set_position(to_pixels.inverted().transform(pixel))
        return boxes + np.tile(shift, 2)


def _principal_components(estimator: Any, X: ArrayLike) -> tuple[Floats, list[str]]:
    """Return the first two principal components of an embedding, and their names."""
    embedding = estimator.transform(X)
    if len(embedding) < 2:
        raise ValueError(
            "X must have at least 2 samples for principal components, got "
            f"{len(embedding)}. Give their coordinates."
        )
    # This solver is deterministic.
    pca = PCA(2, svd_solver="covariance_eigh")
    points = pca.fit_transform(embedding)
    shares = enumerate(pca.explained_variance_ratio_, start=1)
    return points, [f"PC {i} ({share:.0%} of variance)" for i, share in shares]
