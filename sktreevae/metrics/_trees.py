"""Reading of hierarchies: dendrograms, linkage matrices and fitted estimators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import is_valid_linkage
from sklearn.base import BaseEstimator
from sklearn.utils import column_or_1d

from ..tree import Dendrogram
from ..tree.arrays import Ints, leaves_below_merges, sum_below_merges

Floats = NDArray[np.float64]

Tree = Dendrogram | ArrayLike | BaseEstimator
"""A hierarchy that metrics take; an array is a SciPy linkage matrix."""


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Tree of merges, and the leaf of each sample.

    Parameters
    ----------
    merges : ndarray of int of shape (n_leaves - 1, 2)
        What is merged, lowest first and numbered as in SciPy.
    heights : ndarray of shape (n_leaves - 1,), or None
        Height of each merge, if it is known.
    labels : ndarray of int of shape (n_samples,)
        Leaf of each sample.
    """

    merges: Ints
    heights: Floats | None
    labels: Ints

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""
        return len(self.merges) + 1

    def count_below(self, y: Ints, n_classes: int = 0) -> Floats:
        """Count the samples of each class below each node, (n_nodes, n_classes).

        There are at least `n_classes`; classes from 0 to the largest one always count.
        """
        counts = np.zeros((self.n_leaves, max(n_classes, y.max(initial=-1) + 1)))
        np.add.at(counts, (self.labels, y), 1.0)
        return sum_below_merges(self.merges, counts)

    def cophenetic(self) -> Floats:
        """Return the height at which leaves meet, (n_leaves, n_leaves); 0 for one."""
        is_below = leaves_below_merges(self.merges)
        distance = np.zeros((self.n_leaves, self.n_leaves))
        for (left, right), height in zip(self.merges, self.heights, strict=True):
            distance[np.ix_(is_below[left], is_below[right])] = height
        return np.maximum(distance, distance.T)


def is_tree(value: object, n_samples: int) -> bool:
    """Return whether a value is a hierarchy of samples, and not an array of labels."""
    if isinstance(value, Dendrogram | BaseEstimator):
        return True
    return np.shape(value) == (n_samples - 1, 4)


def read_tree(
    tree: Tree, labels: ArrayLike | None = None, *, needs_heights: bool = False
) -> Hierarchy:
    """Return a hierarchy, by default with the samples that it has itself.

    Raises
    ------
    ValueError
        If `tree` isn't a complete tree, has no heights that are needed, or `labels`
        aren't its leaves.
    """
    found = _read_merges(tree)
    if needs_heights and found.heights is None:
        raise ValueError(
            f"{tree!r} has no heights: fit AgglomerativeClustering with "
            "compute_distances=True."
        )
    labels = column_or_1d(found.labels if labels is None else labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers, got dtype {labels.dtype}.")
    if len(labels) and not (0 <= labels.min() and labels.max() < found.n_leaves):
        raise ValueError(f"labels must lie between 0 and {found.n_leaves - 1}.")
    return Hierarchy(found.merges, found.heights, labels)


def _read_merges(tree: Tree) -> Hierarchy:
    """Return a hierarchy with the samples that it has itself."""
    tree = getattr(tree, "dendrogram_", tree)
    if isinstance(tree, Dendrogram):
        Z = tree.to_linkage()
        return Hierarchy(Z[:, :2].astype(int), Z[:, 2], tree.labels)
    if hasattr(tree, "children_"):
        merges, n = np.asarray(tree.children_), tree.n_leaves_
        if len(merges) != n - 1:
            raise ValueError(
                f"The tree is not complete: {len(merges)} merges of {n} samples. Fit "
                "AgglomerativeClustering with compute_full_tree=True."
            )
        return Hierarchy(merges, getattr(tree, "distances_", None), np.arange(n))
    if isinstance(tree, BaseEstimator):
        raise ValueError(
            f"{tree!r} has no tree: it is not fitted, or it has no dendrogram_ or "
            "children_ attribute."
        )
    Z = np.asarray(tree)
    if Z.dtype.kind not in "fiu" or not is_valid_linkage(Z.astype(np.float64)):
        raise ValueError(
            "tree must be a Dendrogram, a scipy linkage matrix or a fitted estimator "
            f"with a hierarchy, got {type(tree).__name__}."
        )
    return Hierarchy(Z[:, :2].astype(int), Z[:, 2], np.arange(len(Z) + 1))
