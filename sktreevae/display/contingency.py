"""Display of clusters against known classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_consistent_length

from ..tree.names import check_class_names, check_cluster_names
from . import _base, _node_values
from ._base import Floats, Ints

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NORMALIZATIONS = {
    None: ("samples", None),
    "true": ("% of the class", 1),
    "pred": ("% of the cluster", 0),
    "all": ("% of all samples", (0, 1)),
}
"""Unit of the values, and the axes of the sums that they are divided by."""


@dataclass(eq=False, repr=False)
class ContingencyMatrixDisplay:
    """Heat map of clusters against known classes.

    Columns are clusters in the order of the tree. Rows are classes, in the order of the
    mean position of their samples in the tree, so that large entries are close to the
    diagonal.

    Create it with `from_estimator`. All parameters are stored as attributes. Read more
    in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    contingency_matrix : ndarray of shape (n_classes, n_clusters)
        Number of samples of each class in each cluster.
    class_names : sequence of str of length n_classes, default=None
        Names of the classes, by default 0, 1, ...

    Attributes
    ----------
    im_ : matplotlib AxesImage
        The heat map.
    text_ : ndarray of shape (n_classes, n_clusters) of matplotlib Text, or None
        Values of the cells; empty for zeros. None if they don't fit.
    colorbar_ : matplotlib Colorbar
        Colorbar.
    ax_ : matplotlib Axes
        Axes with the drawing.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    sklearn.metrics.cluster.contingency_matrix : The matrix.
    sklearn.metrics.ConfusionMatrixDisplay : The same for classifiers.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sktreevae import TreeVAEClustering
    >>> from sktreevae.display import ContingencyMatrixDisplay
    >>> X, y = make_blobs([40, 40, 40], cluster_std=0.3, random_state=0)
    >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
    >>> display = ContingencyMatrixDisplay.from_estimator(model, X, y)
    >>> display.contingency_matrix
    array([[40,  0,  0],
           [ 0, 40,  0],
           [ 0,  0, 40]])
    """

    contingency_matrix: Ints
    _: KW_ONLY
    class_names: Sequence[str] | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n_clusters: int | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the clusters of some data against known classes.

        Parameters
        ----------
        estimator : TreeVAEClustering
            Fitted estimator.
        X : array-like of shape (n_samples, n_features)
            Data, as for `fit`.
        y : array-like of shape (n_samples,)
            Class of each sample, an int or a name.
        n_clusters : int, default=None
            Cut the tree into this many clusters. By default the leaves are drawn.
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created.
        **kwargs : dict
            Further arguments of `plot`.

        Returns
        -------
        display : ContingencyMatrixDisplay
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
            If X, `y` or `n_clusters` isn't valid, X and `y` have different lengths, or
            an argument of `plot` isn't valid.
        """
        tree = _base.get_tree(estimator)
        classes, codes = _node_values.encode_classes(y)
        n_clusters = tree.n_clusters if n_clusters is None else n_clusters
        labels = np.asarray(estimator.predict(X, n_clusters=n_clusters))
        check_consistent_length(labels, codes)
        counts = np.zeros((len(classes), n_clusters), dtype=np.int64)
        np.add.at(counts, (codes, labels), 1)
        position = counts @ np.arange(n_clusters) / counts.sum(axis=1)
        order = np.argsort(position, kind="stable")
        names = [str(name) for name in classes[order]]
        return cls(counts[order], class_names=names).plot(ax, **kwargs)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        normalize: str | None = None,
        cluster_names: Sequence[str] | None = None,
        cmap: str = "Blues",
    ) -> Self:
        """Draw the heat map.

        Values and labels are shrunk until they fit in axes of the current size. Values
        that still don't fit are left out.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created, whose size grows with
            the numbers of classes and clusters.
        normalize : {"true", "pred", "all"}, default=None
            Show percentages of each class ("true"), of each cluster ("pred") or of all
            samples ("all"), as in `sklearn.metrics.ConfusionMatrixDisplay`. By default
            numbers of samples are shown.
        cluster_names : sequence of str of length n_clusters, default=None
            Labels of the columns, by default the clusters.
        cmap : str or matplotlib Colormap, default="Blues"
            Colormap.

        Returns
        -------
        display : ContingencyMatrixDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `normalize` isn't valid, or there is not exactly one name for each class
            and cluster.
        """
        if normalize not in NORMALIZATIONS:
            raise ValueError(
                f"normalize must be 'true', 'pred', 'all' or None, got {normalize!r}."
            )
        unit, sum_axes = NORMALIZATIONS[normalize]
        values = check_array(self.contingency_matrix, input_name="contingency_matrix")
        n_classes, n_clusters = values.shape
        classes = check_class_names(self.class_names, n_classes)
        clusters = check_cluster_names(cluster_names, n_clusters)
        if normalize is not None:
            total = values.sum(axis=sum_axes, keepdims=True)
            values = 100.0 * values / np.maximum(total, 1)
        width = _base.INCHES_PER_LABEL * n_clusters + 2.5
        height = _base.INCHES_PER_LABEL * n_classes + 1.5
        self.ax_ = ax = _base.make_axes(ax, np.clip(width, 6.4, 30.0), max(height, 4.0))
        self.figure_ = ax.figure
        ax.set(xlabel="cluster", ylabel="class")
        self.im_, self.colorbar_ = _base.draw_heat_map(
            ax, values, classes, clusters, label=unit, cmap=cmap, vmin=0
        )
        self.text_ = self._draw_values(values)
        return self

    def _draw_values(self, values: NDArray[Any]) -> NDArray[Any] | None:
        """Write the values into the cells, if they fit."""
        ax, color_of = self.ax_, self.im_.cmap
        texts = np.where(values > 0, np.char.mod("%.0f", values), "")
        _base.apply_layout(ax)
        cell = np.array(ax.get_window_extent().size) / values.shape[::-1]
        size = _font_size_that_fits(ax, max(texts.flat, key=len), 0.85 * cell)
        if size < _base.MIN_FONT_SIZE:
            return None
        style = {"ha": "center", "va": "center", "fontsize": size}
        cells = np.full(values.shape, None)
        for (i, j), value in np.ndenumerate(values):
            color = color_of(0.0 if value > 0.5 * values.max() else 1.0)
            cells[i, j] = ax.text(j, i, texts[i, j], color=color, **style)
        return cells


def _font_size_that_fits(ax: Axes, text: str, box: Floats) -> float:
    """Return the font size in points, at most the default, at which a text fits.

    `box` is the width and height in pixels that it fits into.
    """
    artist = ax.text(0.0, 0.0, text)
    size, font_size = _base.artist_sizes([artist])[0], artist.get_fontsize()
    artist.remove()
    return font_size * min(1.0, *(box / np.maximum(size, 1.0)))
