"""Values of the nodes of a tree, from the samples below them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, column_or_1d

from ..inspection.columns import Feature, last_step, number_features
from ..inspection.effects import MIN_EFFECT, GroupMoments, effect_size, row_moments
from ..tree.arrays import leaves_below, sum_below
from ..tree.names import check_feature_names
from ..utils.validation import Number, check_argument
from ._base import Floats, Ints, Tree, get_tree

Names = Sequence[str] | None

Shape = tuple[int, ...] | None

N_CHANNELS = (1, 3, 4)
"""Numbers of channels that matplotlib draws."""


@dataclass(frozen=True)
class Difference:
    """Difference of a feature between two branches.

    Parameters
    ----------
    feature : str
        Name of the feature.
    mean, other_mean : str
        Means of the two branches, in the units of X.
    effect : float
        Difference of the means relative to the standard deviation inside the branches.
    """

    feature: str
    mean: str
    other_mean: str
    effect: float


@dataclass(frozen=True, eq=False)
class NodeData:
    """Samples below the nodes of a tree, and descriptions of the nodes.

    Parameters
    ----------
    tree : Dendrogram
        The tree.
    labels : ndarray of int of shape (n_samples,)
        Leaf label of each sample.
    image_shape : tuple of int or None
        Shape of the images that describe the nodes, or None for features.
    describe : callable, default=None
        Returns features, and their moments at all nodes; NaN without samples. None if
        there are no rows.
    """

    tree: Tree
    labels: Ints
    image_shape: Shape
    describe: Callable[[], tuple[Sequence[Feature], GroupMoments]] | None = None

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, feature_names: Names, image_shape: Shape
    ) -> NodeData:
        """Return rows at their predicted nodes, or the generative model."""
        # Imported here so that drawings of a dendrogram don't need torch.
        from ..inspection.explanation import describe_nodes

        tree, own_shape = get_tree(estimator), last_step(estimator).image_shape
        shape = choose_image_shape(image_shape, image_shape_of(X), own_shape)
        rows = X if own_shape else flatten(X)
        labels = tree.labels if X is None else np.asarray(estimator.predict(rows))
        describe = partial(describe_nodes, estimator, rows, feature_names, labels)
        return cls(tree, labels, shape, describe)

    @classmethod
    def from_dendrogram(
        cls, tree: Tree, X: Any, feature_names: Names, image_shape: Shape
    ) -> NodeData:
        """Return the rows or images whose labels a dendrogram holds."""
        if X is None:
            return cls(tree, tree.labels, None)
        shape = choose_image_shape(image_shape, image_shape_of(X))
        describe = partial(_describe_rows, tree, X, feature_names)
        return cls(tree, tree.labels, shape, describe)

    @property
    def n_samples(self) -> Ints:
        """Number of samples below each node, (n_nodes,)."""
        counts = np.bincount(self.labels, minlength=self.tree.n_clusters)
        return sum_below(self.tree.parent, self.tree.leaves, counts)

    def count_classes(self, y: ArrayLike) -> tuple[Ints, list[str]]:
        """Count the samples of each class below each node.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Class of each sample.

        Returns
        -------
        counts : ndarray of int of shape (n_nodes, n_classes)
            Numbers of samples.
        class_names : list of str
            Names of the classes, in sorted order.

        Raises
        ------
        ValueError
            If there is not exactly one class for each sample, see `encode_classes`.
        """
        classes, codes = encode_classes(y)
        _check_length("y", len(codes), len(self.labels))
        counts = np.zeros((self.tree.n_clusters, len(classes)), dtype=np.int64)
        np.add.at(counts, (self.labels, codes), 1)
        sums = sum_below(self.tree.parent, self.tree.leaves, counts)
        return sums, [str(name) for name in classes]


def encode_classes(y: ArrayLike) -> tuple[NDArray, Ints]:
    """Return the classes in sorted order, and the number of that of each sample.

    Raises
    ------
    ValueError
        If `y` isn't one-dimensional, or its entries are no ints, bools or names.
    """
    y = column_or_1d(y)
    try:
        classes, codes = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise ValueError(
            f"y must have an int or a name for each sample, but {error}."
        ) from error
    values = np.array(classes.tolist())
    is_class = np.full(len(values), values.dtype.kind in "biuUS")
    if values.dtype.kind == "f":
        is_class = np.isfinite(values) & (values == np.round(values))
    if not is_class.all():
        wrong = classes[~is_class][0]
        raise ValueError(f"y must have an int or a name for each sample, got {wrong}.")
    return classes, codes


def _describe_rows(
    tree: Tree, X: ArrayLike, feature_names: Names
) -> tuple[list[Feature], GroupMoments]:
    """Return the features of rows or images, and their moments at the nodes of a tree.

    Raises
    ------
    ValueError
        If X isn't numeric and finite, or there is not exactly one row for each sample
        of the tree, and one name for each column.
    """
    if feature_names is None:
        feature_names = getattr(X, "columns", None)
    X = flatten(np.asarray(X) if isinstance(X, Sequence) else X)
    X = check_array(X, accept_sparse="csr", input_name="X")
    _check_length("X", X.shape[0], len(tree.labels))
    leaves = row_moments(X, tree.labels, tree.n_clusters)
    names = check_feature_names(feature_names, X.shape[1], "x{}")
    return number_features(names), leaves.mix(leaves_below(tree.parent, tree.leaves))


def sibling_differences(
    features: Sequence[Feature],
    moments: GroupMoments,
    n_features: int,
    is_amount: NDArray[np.bool_] | bool = False,
) -> list[list[Difference]]:
    """Return what tells each node from its sibling, the largest effect first.

    Effects are those of `TreeVAEClustering.explain`. The root has no sibling.

    Parameters
    ----------
    features : sequence of Feature
        The features.
    moments : GroupMoments
        Moments at the nodes.
    n_features : int
        Maximum number of features at a node.
    is_amount : ndarray of bool of shape (n_features,), or bool, default=False
        Whether a feature that a node has less of comes after all others.
    """
    check_argument("n_features", n_features, Number(Integral, 0))
    node = np.arange(1, len(moments.mean))
    # Siblings have adjacent numbers, of which the left one is odd.
    sibling = node + np.where(node % 2, 1, -1)
    here, there = moments[node], moments[sibling]
    effect = effect_size(here, there)
    size = np.abs(effect)
    is_last = is_amount & (effect < 0)
    order = np.lexsort((-size, is_last), axis=1)[:, :n_features]

    def difference(i: int, j: int) -> Difference:
        texts = (features[j].text(group.mean[i, j]) for group in (here, there))
        return Difference(features[j].name, *texts, effect[i, j])

    differences = [
        [difference(i, j) for j in order[i] if size[i, j] >= MIN_EFFECT]
        for i in range(len(node))
    ]
    return [[], *differences]


def are_amounts(moments: GroupMoments) -> NDArray[np.bool_]:
    """Return whether each feature is non-negative and mostly small, as word counts.

    If two of three values of a non-negative feature are zero, its variance is at least
    twice its squared mean. A group of texts is known by the words that it has more of.
    """
    mean, variance = moments.mean, moments.variance[0]
    # Means of zeros may be negative by a rounding error. Nodes without rows have NaN.
    is_negative = mean < -1e-6 * np.sqrt(variance)
    return ~is_negative.any(axis=0) & (variance >= 2 * np.square(mean[0]))


def as_images(rows: Floats, image_shape: tuple[int, ...]) -> Floats:
    """Reshape rows to images with channels last.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
        Rows.
    image_shape : tuple of int
        Height and width, with channels first or last. If both axes may be the channels,
        the shorter one is.

    Returns
    -------
    images : ndarray of shape (n_rows, height, width[, channels])
        Images.

    Raises
    ------
    ValueError
        If the rows don't have this shape, or images don't have 1, 3 or 4 channels.
    """
    shape = choose_image_shape(image_shape)
    axis = _channel_axis(shape)
    if math.prod(shape) != rows.shape[1]:
        raise ValueError(
            f"image_shape={shape} means {math.prod(shape)} features, but X has "
            f"{rows.shape[1]}."
        )
    images = rows.reshape(-1, *shape)
    if len(shape) == 2:
        return images
    images = np.moveaxis(images, 1 + axis, -1)
    return images[..., 0] if shape[axis] == 1 else images


def image_shape_of(X: object) -> Shape:
    """Return the shape of the images in an array, or None if it has rows."""
    shape = getattr(X, "shape", ())
    return tuple(shape[1:]) if len(shape) > 2 else None


def flatten(X: Any) -> Any:
    """Return images in an array as rows, and anything else as it is."""
    return X if image_shape_of(X) is None else X.reshape((X.shape[0], -1))


def choose_image_shape(image_shape: Shape, *defaults: Shape) -> Shape:
    """Return a shape, by default the first of the others, or None for features.

    Images by default are drawn only if they have 1, 3 or 4 channels.

    Raises
    ------
    ValueError
        If `image_shape` doesn't have 1, 3 or 4 channels.
    """
    if image_shape is not None:
        if _channel_axis(image_shape) is None:
            raise ValueError(
                "image_shape must be (height, width), with 1, 3 or 4 channels first or "
                f"last, got {image_shape!r}."
            )
        return tuple(map(int, image_shape))
    shape = next((shape for shape in defaults if shape is not None), None)
    is_image = shape is not None and _channel_axis(shape) is not None
    return tuple(shape) if is_image else None


def _channel_axis(shape: tuple[int, ...]) -> int | None:
    """Return the axis of the channels, 2 if there is none, or None for no images.

    If both the first and the last axis may be the one, it is the shorter one.
    """
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        return None
    if not all(isinstance(side, Integral) for side in shape):
        return None
    if len(shape) == 2:
        return 2
    if len(shape) != 3:
        return None
    axes = [axis for axis in (2, 0) if shape[axis] in N_CHANNELS]
    return min(axes, key=lambda axis: shape[axis], default=None)


def _check_length(name: str, n_given: int, n_samples: int) -> None:
    if n_given != n_samples:
        raise ValueError(
            f"{name} must have one entry for each of the {n_samples} samples of the "
            f"tree, got {n_given}."
        )
