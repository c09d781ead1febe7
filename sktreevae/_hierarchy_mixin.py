"""Attributes of other hierarchical clusterings, as views of the dendrogram."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from .tree import Dendrogram
from .tree.arrays import layer_tree

__all__ = ["HierarchyMixin"]


class HierarchyMixin:
    """Attributes that code for other estimators reads, from `dendrogram_`.

    They are computed when asked for.
    """

    dendrogram_: Dendrogram

    @property
    def children_(self) -> NDArray[np.int64]:
        """Tree over the samples, (n_samples - 1, 2)."""
        check_is_fitted(self)
        return self.dendrogram_.to_linkage("samples")[:, :2].astype(np.int64)

    @property
    def distances_(self) -> NDArray[np.float64]:
        """Heights of the merges in `children_` in nats, (n_samples - 1,)."""
        check_is_fitted(self)
        return self.dendrogram_.to_linkage("samples")[:, 2]

    @property
    def n_leaves_(self) -> int:
        """Number of leaves of the tree over the samples: the number of samples."""
        check_is_fitted(self)
        return len(self.dendrogram_.labels)

    @property
    def cluster_layers_(self) -> list[NDArray[np.int64]]:
        """Clusters of the samples in each layer, (n_samples,) each, finest first."""
        check_is_fitted(self)
        labels = self.dendrogram_.labels
        return [cluster_of_leaf[labels] for cluster_of_leaf in self._layers()]

    @property
    def cluster_tree_(self) -> dict[tuple[int, int], list[tuple[int, int]]]:
        """Children (layer, cluster) of each (layer, cluster) of `cluster_layers_`."""
        check_is_fitted(self)
        return layer_tree(self._layers())

    def _layers(self) -> list[NDArray[np.int64]]:
        """Return the clusters of the leaves in each layer, the finest first."""
        tree = self.dendrogram_
        coarser = [k for k in tree.levels()[::-1] if k < tree.n_leaves]
        return [tree.cut(int(k)) for k in (tree.n_leaves, *coarser)]
