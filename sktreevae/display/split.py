"""Drawing of the features that tell the branches of a split apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..inspection.columns import last_step
from ..utils.text import MAX_EFFECT
from . import _base, _node_values
from ._base import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = "C0", "C1"
"""Colors of features with a larger mean in the left and in the right branch."""

IMAGE_SIZE = 2.4
"""Width and height of an image with its title, in inches."""


@dataclass(eq=False, repr=False)
class SplitDisplay:
    """Drawing of the features that tell the two branches of a node apart.

    Bars are the effects of the features, to the left for features that are larger in
    the left branch. The means of both branches stand beside them. For images, the mean
    images of the branches and their difference are drawn instead.

    Parameters
    ----------
    explanation : Explanation
        Result of `TreeVAEClustering.explain`; of all features if images are drawn.
    image_shape : tuple of int, default=None
        Height and width of the images, with 1, 3 or 4 channels first or last. None
        draws bars.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the bars, or the axes that were divided between the images.
    axes_ : ndarray of matplotlib Axes of shape (1, 3) or (1, 1)
        Axes of the images, or of the bars.
    figure_ : matplotlib Figure
        Figure with the axes.
    bars_ : matplotlib BarContainer or None
        Bars, from the largest effect to the smallest.
    images_ : list of matplotlib AxesImage
        Mean of the left branch, mean of the right branch and difference.

    Raises
    ------
    ValueError
        If the images don't have 1, 3 or 4 channels, or the explanation doesn't have all
        of their features.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sktreevae import TreeVAEClustering
    >>> from sktreevae.display import SplitDisplay
    >>> X = load_iris(as_frame=True).data
    >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
    >>> display = SplitDisplay.from_estimator(model, node=0, X=X)
    >>> len(display.bars_)
    4
    """

    explanation: Any
    _: KW_ONLY
    image_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        n_features = len(self.explanation.features)
        shape = self.image_shape = _node_values.choose_image_shape(self.image_shape)
        if shape is not None and math.prod(shape) != n_features:
            raise ValueError(
                f"image_shape={shape!r} means {math.prod(shape)} features, but the "
                f"explanation has {n_features}. Images need all of them: explain(node, "
                "n_features=None)."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        node: int = 0,
        X: ArrayLike | None = None,
        *,
        n_features: int = 10,
        feature_names: Sequence[str] | None = None,
        image_shape: tuple[int, ...] | str | None = "auto",
        ax: Axes | None = None,
    ) -> Self:
        """Explain a split of a fitted estimator, and draw it.

        Parameters
        ----------
        estimator : TreeVAEClustering or Pipeline
            Fitted estimator, or a pipeline whose last step it is.
        node : int, default=0
            Internal node of ``dendrogram_``; the root by default.
        X : array-like of shape (n_samples, n_features), default=None
            Rows whose effects are drawn; those of the model by default.
        n_features : int, default=10
            Number of bars. Images have all features.
        feature_names : sequence of str, default=None
            Names of all columns; see `TreeVAEClustering.explain`.
        image_shape : tuple of int, "auto" or None, default="auto"
            Shape of the images; "auto" is ``estimator.image_shape`` if it has 1, 3 or 4
            channels, and None otherwise. None draws bars.
        ax : matplotlib Axes, default=None
            Axes to draw on, by default those of a new figure of suitable size.

        Returns
        -------
        display : SplitDisplay
            The display, with the axes and the artists.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            As `TreeVAEClustering.explain`, or if `image_shape` doesn't fit.
        """
        # Imported here so that drawings of a dendrogram don't need torch.
        from ..inspection.explanation import explain

        if isinstance(image_shape, str):
            if image_shape != "auto":
                raise ValueError(
                    f"image_shape must be a tuple, 'auto' or None, got {image_shape!r}."
                )
            shape = last_step(estimator).image_shape
            image_shape = _node_values.choose_image_shape(None, shape)
        explanation = explain(
            estimator,
            node,
            X,
            n_features=n_features if image_shape is None else None,
            feature_names=feature_names,
        )
        return cls(explanation, image_shape=image_shape).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the bars or the images.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, by default those of a new figure of suitable size. Images
            divide the space of the axes between them.

        Returns
        -------
        display : SplitDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If images are drawn, and `ax` isn't a subplot of a grid.
        """
        size = 7.0, 1.6 + _base.INCHES_PER_LABEL * len(self.explanation.features)
        if self.image_shape is not None:
            size = 3.4 * IMAGE_SIZE, IMAGE_SIZE
        self.ax_ = ax = _base.make_axes(ax, *size)
        self.figure_ = ax.figure
        self.bars_, self.images_ = None, []
        if self.image_shape is None:
            self._plot_bars(ax)
        else:
            self._plot_images(ax)
        return self

    def _plot_bars(self, ax: Axes) -> None:
        """Draw a bar for each feature, and the means beside it."""
        from matplotlib.patches import Patch

        found = self.explanation
        self.axes_ = np.array([[ax]])
        position = np.arange(len(found.effect))
        colors = np.where(found.effect > 0, *COLORS)
        self.bars_ = ax.barh(position, found.effect, color=colors, height=0.7)
        left, right = found.branch_names
        handles = [
            Patch(color=COLORS[0], label=f"left: larger in {left}"),
            Patch(color=COLORS[1], label=f"right: larger in {right}"),
        ]
        ax.axvline(0.0, color="k", linewidth=0.8)
        limit = min(1.05 * max(map(abs, ax.get_xlim())), MAX_EFFECT)
        ax.set_xlim(limit, -limit)  # larger in the left branch is on the left
        ax.xaxis.set_major_formatter(_effect_label)
        ax.set_ylim(len(position) - 0.5, -0.5)  # the largest effect is on top
        ax.set_yticks(position, _base.short(found.feature_names))
        ax.set_xlabel("difference of the means in standard deviations")
        means = ax.secondary_yaxis("right")
        means.set_yticks(position, [" vs ".join(pair) for pair in found.mean_texts])
        for axis in (ax, means):
            axis.tick_params(axis="y", length=0)
        ax.spines[["top", "left", "right"]].set_visible(False)
        means.spines["right"].set_visible(False)
        style = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "frameon": False}
        ax.legend(handles=handles, title=f"node {found.node}", **style)
        _base.keep_inside(ax)

    def _plot_images(self, ax: Axes) -> None:
        """Draw the mean images of both branches, and their difference."""
        place = ax.get_subplotspec()
        if place is None:
            raise ValueError("ax must be a subplot, so that images can divide it.")
        ax.set_axis_off()
        self.axes_ = place.subgridspec(1, 3).subplots(squeeze=False)
        found = self.explanation
        left, right = self._image(found.left_mean), self._image(found.right_mean)
        self._plot_row(self.axes_[0], left, right)
        source = "generated" if found.n_rows is None else "mean of X"
        self.axes_[0, 0].set_ylabel(source)
        names = [name.replace(" (", "\n(") for name in found.branch_names]
        titles = [*names, "difference\nleft - right"]
        for axis, title in zip(self.axes_[0], titles, strict=True):
            axis.set_title(title, fontsize=9)
        for axis in self.axes_.flat:
            axis.set(xticks=[], yticks=[])

    def _plot_row(self, axes: NDArray[Any], left: Floats, right: Floats) -> None:
        """Draw the images of two branches on the same scale, and their difference."""
        low, high = min(left.min(), right.min()), max(left.max(), right.max())
        scale = high - low if high > low else 1.0
        for axis, image in zip(axes[:2], (left, right), strict=True):
            shown = axis.imshow((image - low) / scale, cmap="gray", vmin=0.0, vmax=1.0)
            self.images_.append(shown)
        difference = left - right
        if difference.ndim == 3:
            difference = difference.mean(axis=2)
        limit = max(np.abs(difference).max(), np.finfo(np.float64).tiny)
        shown = axes[2].imshow(difference, cmap="RdBu_r", vmin=-limit, vmax=limit)
        self.images_.append(shown)
        self.figure_.colorbar(shown, ax=axes[2], fraction=0.046)

    def _image(self, values: Floats) -> Floats:
        """Return values of the features as an image, channels last if there are any."""
        rows = np.empty((1, len(values)))
        rows[0, self.explanation.features] = values
        return _node_values.as_images(rows, self.image_shape)[0]


def _effect_label(effect: float, _: int) -> str:
    """Return the label of a tick: both directions are positive, and end at a limit."""
    return f"{'>' if abs(effect) >= MAX_EFFECT else ''}{abs(effect):g}"
