"""What a page shows at each node of a tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..inspection.effects import GroupMoments, effect_size
from ._base import DetailedTree
from ._node_values import as_images, count_samples
from ._png import image_uris

__all__ = [
    "N_COLORS",
    "Difference",
    "LabelShare",
    "NodeContent",
    "add_differences",
    "add_images",
    "add_labels",
    "branch_effects",
    "is_amount",
    "largest",
    "name_nodes",
]

N_FEATURES = 10
"""Maximum number of features at a node."""

N_COLORS = 20
"""Number of labels that have a color; all others share one more."""


@dataclass(frozen=True)
class Difference:
    """Difference of a feature between two branches.

    Parameters
    ----------
    feature : str
        Name of the feature.
    mean, other_mean : float
        Means of the two branches, in the units of X.
    effect : float
        Difference of the means relative to the standard deviation inside the branches.
    """

    feature: str
    mean: float
    other_mean: float
    effect: float


@dataclass(frozen=True)
class LabelShare:
    """Share of a known label among the samples of a node.

    Parameters
    ----------
    label : str
        The label.
    share : float
        Share of the samples.
    color : int
        Number of its color; `N_COLORS` for rare labels.
    """

    label: str
    share: float
    color: int


@dataclass
class NodeContent:
    """What is shown at a node.

    Parameters
    ----------
    name : str
        Name of the node.
    n_samples : int
        Number of samples below the node.
    image : str, default=""
        Data URI of its image.
    features : list of Difference
        What tells the node from its sibling, the largest effect first.
    split : list of Difference
        What tells its left branch from its right branch, the largest effect first.
    labels : list of LabelShare
        Known labels of its samples, the most frequent first.
    """

    name: str
    n_samples: int
    image: str = ""
    features: list[Difference] = field(default_factory=list)
    split: list[Difference] = field(default_factory=list)
    labels: list[LabelShare] = field(default_factory=list)


def name_nodes(
    tree: DetailedTree, labels: NDArray[np.int64], cluster_names: Sequence[str]
) -> list[NodeContent]:
    """Return a content with the name and the number of samples for each node.

    Parameters
    ----------
    tree : Dendrogram
        The tree.
    labels : ndarray of int of shape (n_samples,)
        Leaf label of each sample.
    cluster_names : sequence of str of length n_clusters
        Names of the leaves.
    """
    n_samples = count_samples(tree, labels)
    return [
        NodeContent(cluster_names[label] if label >= 0 else f"node {node}", int(n))
        for node, (label, n) in enumerate(zip(tree.leaf_label, n_samples, strict=True))
    ]


def add_images(
    contents: list[NodeContent], mean: NDArray[np.float64], image_shape: tuple[int, ...]
) -> None:
    """Set the images to the means of the nodes.

    Raises
    ------
    ValueError
        If the means are no images of the shape `image_shape`.
    """
    images = as_images(mean, image_shape)
    images = images.reshape(*images.shape[:3], -1)
    value_range = (float(np.nanmin(images)), float(np.nanmax(images)))
    for content, uri in zip(contents, image_uris(images, value_range), strict=True):
        content.image = uri


def add_differences(
    contents: list[NodeContent],
    tree: DetailedTree,
    moments: GroupMoments,
    names: Sequence[str],
) -> None:
    """Set the features that tell branches apart.

    If most features are amounts that are mostly zero, a node shows only the features of
    which it has more than its sibling: a group of texts is known by its words.

    Parameters
    ----------
    contents : list of NodeContent
        Changed in place.
    tree : Dendrogram
        The tree.
    moments : GroupMoments
        Means and variances of the features at each node.
    names : sequence of str of length n_features
        Names of the features.
    """
    effects = branch_effects(tree, moments)
    one_sided = is_amount(moments)

    def differences(node: int, other: int, size: NDArray) -> list[Difference]:
        mean = moments.mean
        return [
            Difference(names[i], mean[node, i], mean[other, i], effects[node, i])
            for i in largest(size, N_FEATURES)
        ]

    for node in tree.internal_nodes:
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        contents[node].split = differences(left, right, np.abs(effects[left]))
        for child, other in ((left, right), (right, left)):
            size = effects[child] if one_sided else np.abs(effects[child])
            contents[child].features = differences(child, other, size)


def add_labels(
    contents: list[NodeContent], counts: NDArray[np.int64], names: Sequence[str]
) -> list[LabelShare]:
    """Set the shares of known labels, and return those of all samples.

    Parameters
    ----------
    contents : list of NodeContent
        Changed in place.
    counts : ndarray of int of shape (n_nodes, n_labels)
        Number of samples with each label.
    names : sequence of str of length n_labels
        Names of the labels, in sorted order.
    """
    color = np.full(len(names), N_COLORS)
    frequent = np.sort(np.argsort(-counts[0], kind="stable")[:N_COLORS])
    color[frequent] = np.arange(len(frequent))
    for content, row in zip(contents, counts, strict=True):
        content.labels = [
            LabelShare(names[i], float(row[i] / row.sum()), int(color[i]))
            for i in np.argsort(-row, kind="stable")
            if row[i] > 0
        ]
    return contents[0].labels


def branch_effects(tree: DetailedTree, moments: GroupMoments) -> NDArray[np.float64]:
    """Return how far each node is from its sibling, (n_nodes, n_features).

    Effects are those of `TreeVAEClustering.explain`, positive where the mean of the
    node is the larger one. Zeros for the root, and where one of the branches has no
    samples.
    """
    effects = np.zeros_like(moments.mean)
    for node in tree.internal_nodes:
        left, right = tree.children_left[node], tree.children_right[node]
        effects[left] = effect_size(
            GroupMoments(moments.mean[left], moments.variance[left]),
            GroupMoments(moments.mean[right], moments.variance[right]),
        )
        effects[right] = -effects[left]
    return effects


def is_amount(moments: GroupMoments) -> bool:
    """Return whether most features are non-negative and mostly zero, as word counts.

    If half of the values of a non-negative feature are zero, its standard deviation is
    at least its mean.
    """
    mean, deviation = moments.mean[0], np.sqrt(moments.variance[0])
    # Means of zeros may be negative by a rounding error.
    is_non_negative = (mean >= -1e-6 * deviation).all()
    return bool(is_non_negative and (deviation >= mean).mean() > 0.5)


def largest(size: NDArray[np.float64], n_features: int) -> list[int]:
    """Return the features of the largest positive sizes, the largest first."""
    order = np.argsort(-size, kind="stable")[:n_features]
    return order[size[order] > 0].tolist()
