"""Groups of samples that stand apart, by the directions of the neighbor relation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

__all__ = ["find_separate_groups", "merge_small_groups"]

MIN_GROUP_SIZE = 5
"""Minimum number of samples of a group that stands apart."""

MAX_CONDUCTANCE = 0.1
"""Maximum conductance of a group that stands apart: the share of the weight of its
edges that leads out of it."""


def find_separate_groups(
    index: NDArray[np.int64], graph: sparse.csr_array
) -> NDArray[np.int64]:
    """Return the group of each sample, 0 to n_groups - 1.

    Groups start as the connected components of the mutual neighbors. Each group that is
    small, or whose conductance is high, joins the group that it has the heaviest edges
    with, until all groups stand apart. Samples that have fewer neighbors in their group
    than `index` lists have some outside. They are not mutual: the samples there have
    nearer neighbors.

    Parameters
    ----------
    index : ndarray of int of shape (n_samples, n_neighbors)
        Neighbors of each sample.
    graph : sparse array of shape (n_samples, n_samples)
        Weights of the edges between neighbors, symmetric.
    """
    n, k = index.shape
    starts = np.arange(0, n * k + 1, k)
    neighbors = sparse.csr_array((np.ones(n * k), index.ravel(), starts), (n, n))
    group = connected_components(neighbors * neighbors.T, directed=False)[1]
    while True:
        weight = _between_groups(graph, group)
        size = np.bincount(group)
        volume = weight.sum(axis=1)
        cut = volume - weight.diagonal()
        joins = (size < MIN_GROUP_SIZE) | (cut > MAX_CONDUCTANCE * volume)
        joins &= cut > 0
        if not joins.any():
            return group
        group = _join(weight, joins)[group]


def merge_small_groups(
    weight: NDArray[np.float64], size: NDArray[np.float64], min_size: float
) -> NDArray[np.int64]:
    """Merge each group that is too small into the one it has the heaviest edges with.

    Parameters
    ----------
    weight : ndarray of shape (n_groups, n_groups)
        Weights between groups, positive and symmetric.
    size : ndarray of shape (n_groups,)
        Number of samples of each group.
    min_size : float
        Minimum number of samples.

    Returns
    -------
    group : ndarray of int of shape (n_groups,)
        New number of each group.
    """
    group = np.arange(len(size))
    while True:
        n_samples = np.bincount(group, size)
        joins = n_samples < min_size
        if not joins.any() or len(n_samples) == 1:
            return group
        between = _between_groups(sparse.csr_array(weight), group)
        group = _join(between, joins)[group]


def _between_groups(
    graph: sparse.csr_array, group: NDArray[np.int64]
) -> sparse.csr_array:
    """Return the weights between groups, (n_groups, n_groups)."""
    n = len(group)
    member = sparse.csr_array((np.ones(n), group, np.arange(n + 1)))
    return (member.T @ graph @ member).tocsr()


def _join(weight: sparse.csr_array, joins: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Let groups join their heaviest neighbors; return the new number of each group."""
    weight = weight - sparse.diags_array(weight.diagonal())
    heaviest = np.asarray(weight.argmax(axis=1)).ravel()
    source = np.flatnonzero(joins)
    n = len(joins)
    links = sparse.csr_array((np.ones(len(source)), (source, heaviest[source])), (n, n))
    return connected_components(links, directed=False)[1]
