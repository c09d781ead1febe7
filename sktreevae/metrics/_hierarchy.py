"""Agreement of hierarchies with classes, and with other hierarchies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.cluster.hierarchy import is_valid_linkage
from scipy.spatial.distance import squareform
from sklearn.base import BaseEstimator
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import check_consistent_length, column_or_1d

from ..tree import Dendrogram
from ..tree.arrays import Ints, leaves_below_merges, sum_below_merges

Floats = NDArray[np.float64]

Tree = Dendrogram | ArrayLike | BaseEstimator
"""A hierarchy that metrics take; an array is a SciPy linkage matrix."""

Groups = Iterator[tuple[Floats, Floats]]
"""Groups of samples, the columns, that consist of smaller ones: the number of samples
of each below each node of a tree, and the sum of those squares over its parts."""


def dendrogram_purity(
    y_true: ArrayLike,
    tree: Tree,
    labels: ArrayLike | None = None,
    *,
    n_leaves: int | None = None,
) -> float | Floats:
    """Mean purity of the lowest common ancestors of samples of the same class.

    The mean is over all pairs of samples of the same class. The purity of a pair is the
    fraction of that class among the samples below their lowest common ancestor (Heller
    and Ghahramani 2005; Kobren et al. 2017). The result is exact and is computed from
    class counts in O(n_nodes * n_classes).

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_levels)
        Class labels; of several levels of a hierarchy of classes if there are columns.
    tree : Dendrogram, ndarray of shape (n_leaves - 1, 4), or fitted estimator
        Hierarchy. The ndarray is a SciPy linkage matrix; the estimator has an attribute
        ``dendrogram_`` (`TreeVAEClustering`) or ``children_``
        (`sklearn.cluster.AgglomerativeClustering`).
    labels : array-like of int of shape (n_samples,), default=None
        Leaf of each sample. By default the labels of a Dendrogram; in all other
        hierarchies, sample i is leaf i by default.
    n_leaves : int, default=None
        If given, cut the tree to this number of leaves first. Purity is higher for
        trees with more leaves, so trees of different size should be cut to be compared.

    Returns
    -------
    purity : float, or ndarray of shape (n_levels,)
        Between 0 and 1; 1 if every class is a subtree. One value for each column of
        `y_true` if it has columns.

    Raises
    ------
    ValueError
        If `tree` is not a tree or is incomplete, the lengths differ, or no class has
        two samples.

    Examples
    --------
    >>> from scipy.cluster.hierarchy import linkage
    >>> from sktreevae.metrics import dendrogram_purity
    >>> Z = linkage([[0], [1], [10], [12]])
    >>> dendrogram_purity(["a", "a", "b", "b"], Z)
    1.0
    >>> round(dendrogram_purity(["a", "b", "a", "b"], Z), 3)
    0.5
    """
    hierarchy, y_true = read_tree(tree, labels), np.asarray(y_true)
    check_consistent_length(y_true, hierarchy.labels)
    n_cut = 0 if n_leaves is None else _n_merges_below_cut(n_leaves, hierarchy.n_leaves)
    if y_true.ndim != 2:
        return _purity(hierarchy, column_or_1d(y_true), n_cut)
    return np.array([_purity(hierarchy, level, n_cut) for level in y_true.T])


def _purity(hierarchy: Hierarchy, y: NDArray, n_cut: int) -> float:
    """Return the dendrogram purity if the first `n_cut` merges are inside leaves."""
    counts = hierarchy.count_below(np.unique(y, return_inverse=True)[1])
    # Number of pairs of each class whose lowest common ancestor is each node.
    pairs = counts * (counts - 1.0) / 2.0
    for node, (left, right) in enumerate(hierarchy.merges, start=hierarchy.n_leaves):
        if node < hierarchy.n_leaves + n_cut:
            # The node becomes a leaf. All pairs below it now belong to it.
            pairs[left] = pairs[right] = 0.0
        else:
            pairs[node] = counts[left] * counts[right]
    n_pairs = pairs.sum()
    if n_pairs == 0:
        raise ValueError("dendrogram_purity needs a class with two samples or more.")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    return float((pairs * share).sum() / n_pairs)


def _n_merges_below_cut(n_leaves: int, n_tree_leaves: int) -> int:
    """Return the number of merges inside the leaves of a cut to `n_leaves` leaves."""
    if not isinstance(n_leaves, Integral) or not 1 <= n_leaves <= n_tree_leaves:
        raise ValueError(
            f"n_leaves must be an int from 1 to {n_tree_leaves}, the number of leaves "
            f"of the tree, got {n_leaves!r}."
        )
    return n_tree_leaves - n_leaves


def triplet_agreement(
    reference: Tree, tree: Tree, labels: ArrayLike | None = None
) -> float:
    """Fraction of the triplets of a known hierarchy that a tree orders right.

    A triplet is two samples of the same coarse class, but of different fine classes,
    and a third sample of another coarse class. The tree orders it right if the first
    two have a common ancestor that isn't one of the third. Chance is a third. With more
    than two levels, the fraction is over the triplets of all levels. In a reference
    tree, a triplet is two samples of different leaves, and a third sample that isn't
    below their lowest common ancestor.

    The result is exact. It is computed from counts in O(n_nodes * n_classes), or
    O(n_nodes * n_reference_nodes).

    Parameters
    ----------
    reference : array-like of shape (n_samples,) or (n_samples, n_levels), or a tree
        Nested classes, the coarsest first. With a single level, all pairs of samples of
        a class count. Or a Dendrogram, a fitted estimator or a SciPy linkage matrix
        whose leaf i is sample i, of shape (n_samples - 1, 4).
    tree : Dendrogram, ndarray of shape (n_leaves - 1, 4), or fitted estimator
        Hierarchy, as for `dendrogram_purity`.
    labels : array-like of int of shape (n_samples,), default=None
        Leaf of each sample, as for `dendrogram_purity`.

    Returns
    -------
    agreement : float
        Between 0 and 1. Samples of the same leaf have no order.

    Raises
    ------
    ValueError
        If `tree` is not a tree or is incomplete, the lengths differ, classes aren't
        nested, or there is no triplet.

    Examples
    --------
    >>> from scipy.cluster.hierarchy import linkage
    >>> from sktreevae.metrics import triplet_agreement
    >>> Z = linkage([[0], [1], [10], [13]])
    >>> triplet_agreement([["a", "a1"], ["a", "a2"], ["b", "b1"], ["b", "b2"]], Z)
    1.0
    >>> triplet_agreement([["a", "a1"], ["b", "b1"], ["a", "a2"], ["b", "b2"]], Z)
    0.0
    """
    hierarchy = read_tree(tree, labels)
    if is_tree(reference, len(hierarchy.labels)):
        groups = _groups_of_tree(read_tree(reference), hierarchy)
    else:
        classes = _nested_classes(reference, len(hierarchy.labels))
        groups = _groups_of_classes(classes, hierarchy)
    n_below = hierarchy.count_below(np.zeros_like(hierarchy.labels))
    n_right = n_triplets = 0.0
    for inside, squares in groups:
        # Number of pairs below each node, and whose lowest common ancestor it is.
        below = inside**2 - squares
        pairs = below.copy()
        pairs[hierarchy.n_leaves :] -= below[hierarchy.merges].sum(axis=1)
        outside = n_below - inside
        n_right += (pairs * (outside[-1] - outside)).sum()
        n_triplets += (below[-1] * outside[-1]).sum()
    if n_triplets == 0:
        raise ValueError(
            "reference must have two coarse classes, one of them with two fine "
            "classes; a tree must have three leaves with samples."
        )
    return float(n_right / n_triplets)


def _groups_of_classes(levels: Sequence[Ints], tree: Hierarchy) -> Groups:
    """Yield the classes of each level that has finer classes."""
    for coarse, fine in pairwise(levels):
        yield tree.count_below(coarse), _sum_squares(tree, coarse, fine)


def _groups_of_tree(reference: Hierarchy, tree: Hierarchy) -> Groups:
    """Yield the nodes of a reference tree, one by one."""
    check_consistent_length(reference.labels, tree.labels)
    counts = tree.count_below(reference.labels, reference.n_leaves)
    below = list(counts.T[:, :, None])
    for left, right in reference.merges:
        yield below[left] + below[right], below[left] ** 2 + below[right] ** 2
        below.append(below[left] + below[right])


def _nested_classes(reference: ArrayLike, n_samples: int) -> list[Ints]:
    """Return at least two levels of classes, the coarsest first, and check them."""
    levels = np.asarray(reference)
    levels = levels[:, None] if levels.ndim == 1 else levels
    if levels.ndim != 2 or not levels.size:
        raise ValueError(
            "reference must have shape (n_samples,) or (n_samples, n_levels), got "
            f"{np.shape(reference)}."
        )
    check_consistent_length(levels, range(n_samples))
    classes = [np.unique(level, return_inverse=True)[1] for level in levels.T]
    for coarse, fine in pairwise(classes):
        if len(np.unique([coarse, fine], axis=1).T) > fine.max() + 1:
            raise ValueError("reference must be nested: a class has two parents.")
    if len(classes) == 1:
        classes.append(np.arange(n_samples))
    return classes


def _sum_squares(tree: Hierarchy, coarse: Ints, fine: Ints) -> Floats:
    """Sum the squared counts of fine classes over the fine classes of each coarse one.

    Returns
    -------
    sums : ndarray of shape (n_nodes, n_coarse_classes)
    """
    n_fine = fine.max() + 1
    if n_fine == len(fine):  # each sample is a class
        return tree.count_below(coarse)
    is_part = np.zeros((n_fine, coarse.max() + 1))
    is_part[fine, coarse] = 1.0
    return tree.count_below(fine) ** 2 @ is_part


def cophenetic_correlation(
    reference: Tree, tree: Tree, labels: ArrayLike | None = None
) -> float:
    """Correlation between the cophenetic distances of a tree and a reference.

    The cophenetic distance of two samples is the height of their lowest common
    ancestor; it is 0 in the same leaf. The correlation is Pearson's, over all pairs of
    samples. Between two trees it is computed from counts in O(n_leaves ** 2).

    Parameters
    ----------
    reference : ndarray of shape (n_samples * (n_samples - 1) / 2,), or a tree
        Distances between the samples, as from `scipy.spatial.distance.pdist`. Or a
        Dendrogram, a fitted estimator or a SciPy linkage matrix whose leaf i is
        sample i.
    tree : Dendrogram, ndarray of shape (n_leaves - 1, 4), or fitted estimator
        Hierarchy, as for `dendrogram_purity`.
    labels : array-like of int of shape (n_samples,), default=None
        Leaf of each sample, as for `dendrogram_purity`.

    Returns
    -------
    correlation : float
        Between -1 and 1.

    Raises
    ------
    ValueError
        If a tree is not a tree or has no heights, the lengths differ, or distances are
        not finite or all equal.

    See Also
    --------
    scipy.cluster.hierarchy.cophenet : The same for a linkage matrix over samples.

    Examples
    --------
    >>> from scipy.cluster.hierarchy import linkage
    >>> from scipy.spatial.distance import pdist
    >>> from sktreevae.metrics import cophenetic_correlation
    >>> X = [[0], [1], [10], [13]]
    >>> round(cophenetic_correlation(pdist(X), linkage(X)), 3)
    0.957
    """
    found = read_tree(tree, labels, needs_heights=True)
    n_samples = len(found.labels)
    if is_tree(reference, n_samples):
        other = read_tree(reference, needs_heights=True)
        check_consistent_length(other.labels, found.labels)
        own, distance = other.labels, other.cophenetic()
    else:
        own, distance = np.arange(n_samples), _check_distances(reference, n_samples)
    counts = contingency_matrix(own, found.labels, dtype=np.float64, sparse=True)
    rows, columns = np.unique(own), np.unique(found.labels)
    height = found.cophenetic()[np.ix_(columns, columns)]
    return _correlation(distance[np.ix_(rows, rows)], height, counts)


def _check_distances(reference: ArrayLike, n_samples: int) -> Floats:
    """Return the matrix of condensed distances."""
    distance = column_or_1d(np.asarray(reference, dtype=np.float64))
    if not np.isfinite(distance).all():
        raise ValueError("reference must be finite.")
    n_pairs = n_samples * (n_samples - 1) // 2
    if len(distance) != n_pairs:
        raise ValueError(
            f"reference must have {n_pairs} distances, one for each pair of the "
            f"{n_samples} samples, got {len(distance)}."
        )
    return squareform(distance) if n_pairs else np.zeros((n_samples, n_samples))


def _correlation(
    a: Floats, b: Floats, counts: sparse.csr_matrix, min_spread: float = 1e-12
) -> float:
    """Return the correlation of two trees over all pairs of different samples.

    Parameters
    ----------
    a, b : ndarray of shape (n_a_leaves, n_a_leaves) and (n_b_leaves, n_b_leaves)
        Cophenetic distances between leaves.
    counts : sparse matrix of shape (n_a_leaves, n_b_leaves)
        Number of samples in each pair of leaves.
    min_spread : float, default=1e-12
        Minimum spread of distances that differ, relative to the largest.
    """
    n_of_a, n_of_b = (np.asarray(counts.sum(axis=axis)).ravel() for axis in (1, 0))
    n_pairs = max(counts.sum() * (counts.sum() - 1.0), 1.0)
    scale_a, scale_b = (np.abs(d).max() or 1.0 for d in (a, b))
    a, b = _centered(a, n_of_a), _centered(b, n_of_b)
    # Means over all pairs, less the pairs of a sample with itself.
    square_a, square_b = (
        (n @ d**2 @ n - n @ d.diagonal() ** 2) / n_pairs
        for d, n in ((a, n_of_a), (b, n_of_b))
    )
    product = ((counts.T @ a @ counts) * b).sum()
    product -= a.diagonal() @ counts @ b.diagonal()
    spreads = np.sqrt(np.maximum([square_a, square_b], 0.0)) / [scale_a, scale_b]
    if spreads.min() <= min_spread:
        raise ValueError("The correlation needs distances that differ.")
    return float(product / n_pairs / np.sqrt(square_a * square_b))


def _centered(distance: Floats, n_samples: Floats) -> Floats:
    """Subtract the mean over pairs of samples from the distances between leaves."""
    total = n_samples.sum()
    mean = n_samples @ distance @ n_samples / max(total * (total - 1.0), 1.0)
    centered = distance - mean
    # A leaf of one sample has no pairs. Its entry would only add rounding errors.
    centered[np.diag_indices(len(centered))] *= n_samples > 1
    return centered


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
