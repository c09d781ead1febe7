"""A tree as one HTML page that unfolds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..inspection.effects import GroupMoments
from ..tree.export import check_cluster_names, check_feature_names
from ..utils.files import replacing
from ._base import DetailedTree
from ._node_contents import (
    LabelShare,
    add_differences,
    add_images,
    add_labels,
    name_nodes,
)
from ._node_values import (
    choose_image_shape,
    count_classes,
    describe_rows,
    image_shape_of,
    node_moments,
)
from ._page import format_page

__all__ = [
    "TreePage",
    "choose_image_shape",
    "describe_rows",
    "image_shape_of",
    "node_moments",
]


class TreePage:
    """Page of a tree, see `TreeVAEClustering.export_html`.

    Parameters
    ----------
    tree : Dendrogram
        The tree.
    labels : ndarray of int of shape (n_samples,)
        Leaf label of each sample that the page describes.
    cluster_names : sequence of str of length n_clusters, default=None
        Names of the leaves, by default "cluster 0", "cluster 1", ...

    Raises
    ------
    ValueError
        If there is not exactly one name for each leaf.
    """

    def __init__(
        self,
        tree: DetailedTree,
        labels: NDArray[np.int64],
        cluster_names: Sequence[str] | None = None,
    ) -> None:
        if cluster_names is None:
            cluster_names = [f"cluster {label}" for label in range(tree.n_clusters)]
        names = check_cluster_names(cluster_names, tree.n_clusters)
        self._tree = tree
        self._labels = labels
        self._contents = name_nodes(tree, labels, names)
        self._legend: list[LabelShare] = []

    def add_means(
        self,
        moments: GroupMoments,
        image_shape: Sequence[int] | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        """Show images at the nodes, or the features that tell them from their siblings.

        Parameters
        ----------
        moments : GroupMoments
            Means and variances of the features at the nodes.
        image_shape : tuple of int, default=None
            Shape of images: (height, width), or with 1, 3 or 4 channels first or last.
        feature_names : sequence of str of length n_features, default=None
            Names of the features, by default x0, x1, ... Ignored for images.

        Raises
        ------
        ValueError
            If the means are no such images, or there is not exactly one name for each
            feature.
        """
        n_features = moments.mean.shape[1]
        if feature_names is None:
            feature_names = [f"x{i}" for i in range(n_features)]
        names = check_feature_names(feature_names, n_features)
        if image_shape is not None:
            add_images(self._contents, moments.mean, image_shape)
        else:
            add_differences(self._contents, self._tree, moments, names)

    def add_labels(self, y: ArrayLike) -> None:
        """Show the mix of known labels at the nodes.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Known label of each sample.

        Raises
        ------
        ValueError
            If they are no labels of classes, or there is not one for each sample.
        """
        counts, names = count_classes(self._tree, self._labels, y)
        self._legend = add_labels(self._contents, counts, names)

    def write(self, path: str | os.PathLike) -> None:
        """Write the page; an older file is replaced when the page is complete.

        Parameters
        ----------
        path : str or path-like
            File. Its name without the ending is the title of the page.
        """
        title = Path(path).stem
        page = format_page(title, self._tree, self._contents, self._legend)
        with replacing(path) as stream:
            # Names may have lone surrogates, which UTF-8 lacks.
            stream.write(page.encode("utf-8", errors="xmlcharrefreplace"))
