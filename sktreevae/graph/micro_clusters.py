"""The neighbor graph of samples, and its groups: separate ones, and micro-clusters.

Partitions are of micro-clusters: the graph is aggregated to a dense matrix of the
weights between a few hundred of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from ..data import MIN_GROUP_SIZE
from ..tree.arrays import Ints
from ..utils.limits import ROUNDING
from .density import Moments
from .linkage import Array, square_distances, sum_members, sum_pairs
from .neighbors import neighbor_matrix

BACKGROUND_WEIGHT = 0.001
"""Total weight of all pairs without an edge, relative to the weight of the edges."""

MAX_CONDUCTANCE = 0.1
"""Maximum conductance of a group that stands apart: the share of the weight of its
edges that leads out of it."""


@dataclass(frozen=True, eq=False)
class SampleGraph:
    """A neighbor graph of samples.

    Parameters
    ----------
    edges : sparse array of shape (n_samples, n_samples)
        Weights of the edges, symmetric.
    wide_edges : sparse array of shape (n_samples, n_samples)
        The same of a graph of more neighbors, perhaps of fewer samples. Where samples
        repeat, or clusters are made of smaller ones, few neighbors don't show the
        clusters.
    reachability : sparse array of shape (n_samples, n_samples)
        Mutual reachability distances of neighbors, in one direction at least.
    spaces : tuple of ndarrays of shape (n_samples, n_dimensions)
        Positions of the samples in an embedding, and their features.
    component : ndarray of int of shape (n_samples,)
        Samples of different components stand apart; 0 to n_components - 1.
    principal : ndarray of shape (n_samples, n_principal)
        Principal components of the samples.
    n_dimensions : int
        Number of dimensions of the samples, of which these are the first.
    rows : ndarray of int of shape (n_rows,)
        Random samples that densities are computed from, in random order.
    """

    edges: sparse.csr_array
    wide_edges: sparse.csr_array
    reachability: sparse.csr_array
    spaces: tuple[NDArray[np.floating], ...]
    component: Ints
    principal: Array
    n_dimensions: int
    rows: Ints

    @cached_property
    def mutual_edges(self) -> sparse.csr_array:
        """The edges between samples that are neighbors of each other.

        Samples of a small group have neighbors outside of it, for which there are
        nearer ones.
        """
        neighbors = self.reachability.copy()
        neighbors.data = np.ones_like(neighbors.data)
        return self.edges * (neighbors * neighbors.T)

    def split_by_component(self, assignment: Ints) -> Ints:
        """Return groups none of which has samples of two components."""
        return _intersect(assignment, self.component)

    def aggregate(self, assignment: Ints) -> MicroClusters:
        """Sum the weights between groups.

        A kernel of small weight connects groups without a common edge, so that their
        distance matters. It falls with the squared distance, from the distance of near
        groups on, so that it matters at every scale.

        Parameters
        ----------
        assignment : ndarray of int of shape (n_samples,)
            Group of each sample, 0 to n_groups - 1. All samples of a group are of one
            component.
        """
        n_groups = assignment.max() + 1
        size = np.bincount(assignment).astype(np.float64)
        weight = _sum_edges(self.edges, assignment).toarray()
        n_edges = weight.sum()
        centroids = tuple(
            sum_members(values, assignment) / size[:, None] for values in self.spaces
        )
        kernel = _background(centroids[-1]) * np.outer(size, size)
        kernel *= BACKGROUND_WEIGHT / kernel.sum()
        component = np.empty(n_groups, dtype=np.int64)
        component[assignment] = self.component
        half = np.arange(len(self.rows)) % 2
        return MicroClusters(
            _fractions(weight, kernel),
            n_edges,
            _fractions(_sum_edges(self.wide_edges, assignment).toarray(), kernel),
            _sum_edges(self.mutual_edges, assignment).toarray(),
            size,
            centroids,
            component,
            self._distances(assignment, centroids[-1]),
            Moments.of_groups(
                self.principal[self.rows], half, assignment[self.rows], n_groups
            ),
            self.n_dimensions,
        )

    def _distances(self, assignment: Ints, centroid: Array) -> Array:
        """Return the distances between groups, (n_groups, n_groups).

        They are the smallest reachability distance of neighbors in the two groups, or
        the distance of the centroids if there are no such neighbors.
        """
        nearest = np.full((len(centroid), len(centroid)), np.inf)
        edges = self.reachability.tocoo()
        i, j = assignment[edges.row], assignment[edges.col]
        np.minimum.at(nearest, (i, j), edges.data)
        nearest = np.minimum(nearest, nearest.T)
        far = np.sqrt(square_distances(centroid))
        return np.where(np.isfinite(nearest), nearest, far)

    def cluster_shares(self, cluster: Ints) -> NDArray[np.float32]:
        """Return the share of each cluster in the weight of a sample's edges.

        A sample is its own nearest neighbor, so it has an edge of weight 1 to itself.
        If its cluster has fewer other samples than it has neighbors, its own weight
        stands for those that are missing: a single sample is in its cluster.

        Parameters
        ----------
        cluster : ndarray of int of shape (n_samples,)
            A partition, 0 to n_clusters - 1.

        Returns
        -------
        share : ndarray of shape (n_samples, n_clusters)
            Rows sum to 1.
        """
        own = np.eye(cluster.max() + 1, dtype=np.float32)[cluster]
        weight = self.edges @ own
        n_neighbors = np.maximum(np.diff(self.edges.indptr), 1)
        n_others = np.bincount(cluster)[cluster] - 1
        missing = np.maximum(1 - n_others / n_neighbors, 0)
        weight += own * (1 + missing * weight.sum(axis=1))[:, None]
        return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)

    def overlay(
        self, groups: Ints, partitions: dict[str, Ints], max_groups: int
    ) -> tuple[Ints, dict[str, Ints]]:
        """Group the samples that are together in all partitions.

        Parameters
        ----------
        groups : ndarray of int of shape (n_samples,)
            A partition that the groups refine.
        partitions : dict of str to ndarray of int of shape (n_samples,)
            Partitions by name, best first.
        max_groups : int
            Maximum number of groups. Partitions that would cut the samples into more
            groups are left out.

        Returns
        -------
        assignment : ndarray of int of shape (n_samples,)
            Group of each sample.
        clusters : dict of str to ndarray of int of shape (n_groups,)
            The cluster of each group in each partition that is used.
        """
        used = []
        assignment = self.split_by_component(groups)
        for name, labels in partitions.items():
            finer = _intersect(assignment, labels)
            if finer.max() < max_groups:
                assignment = finer
                used.append(name)
        first = np.unique(assignment, return_index=True)[1]
        return assignment, {name: partitions[name][first] for name in used}


@dataclass(frozen=True, eq=False)
class MicroClusters:
    """Small groups of samples, and the edges between them.

    Parameters
    ----------
    edge_weight : ndarray of shape (n_groups, n_groups)
        Fraction of the weight of all edges between groups, symmetric. A random walk on
        the graph takes these steps with this frequency.
    n_edges : float
        Weight of all edges. The nearest neighbor of a sample has an edge of weight 1.
    wide_weight : ndarray of shape (n_groups, n_groups)
        Fraction of the weight of all edges of a graph of more neighbors, symmetric.
    mutual_weight : ndarray of shape (n_groups, n_groups)
        Weight of the edges between mutual neighbors, symmetric.
    size : ndarray of shape (n_groups,)
        Number of samples of each group.
    centroids : tuple of ndarrays of shape (n_groups, n_dimensions)
        Means of the samples of each group in each space.
    component : ndarray of int of shape (n_groups,)
        Groups of different components stand apart; 0 to n_components - 1.
    distance : ndarray of shape (n_groups, n_groups)
        Distances between the nearest samples of two groups.
    moments : Moments
        Sums over the principal components of the samples of each group.
    n_dimensions : int
        Number of dimensions of the samples, of which these components are the first.
    """

    edge_weight: Array
    n_edges: float
    wide_weight: Array
    mutual_weight: Array
    size: Array
    centroids: tuple[Array, ...]
    component: Ints
    distance: Array
    moments: Moments
    n_dimensions: int

    def flow(self, n_steps: float = 100.0) -> Array:
        """Return how often random walks start and end in each pair of groups.

        Walks start with the frequency of the groups, and have a constant probability to
        end after each step. Between groups with few common edges, walks over others
        count, so that the flow shows the large structure of the graph.

        Parameters
        ----------
        n_steps : float, default=100.0
            Mean number of steps, more than 1.

        Returns
        -------
        flow : ndarray of shape (n_groups, n_groups)
            Symmetric; row sums are those of `edge_weight`.
        """
        volume = self.edge_weight.sum(axis=1)
        stay = 1 / n_steps
        laplacian = np.diag(volume) - (1 - stay) * self.edge_weight
        flow = volume[:, None] * np.linalg.solve(laplacian, stay * np.diag(volume))
        return (flow + flow.T) / 2

    def merge_small_components(self, min_size: float) -> Ints:
        """Merge each component that is too small into another one.

        It is merged into the component to which its edges have the largest weight.

        Parameters
        ----------
        min_size : float
            Minimum number of samples of a component.

        Returns
        -------
        component : ndarray of int of shape (n_groups,)
            New component of each group.
        """
        component = self.component
        while True:
            joins = np.bincount(component, self.size) < min_size
            if not joins.any() or len(joins) == 1:
                return component
            weight = sparse.csr_array(sum_pairs(self.edge_weight, component))
            component = _join(weight, joins)[component]


def _intersect(one: Ints, other: Ints) -> Ints:
    """Return the groups of samples that are together in two partitions."""
    pair = one * (other.max() + 1) + other
    return np.unique(pair, return_inverse=True)[1]


def _sum_edges(edges: sparse.csr_array, group: Ints) -> sparse.coo_array:
    """Return the weights between groups, (n_groups, n_groups)."""
    n_groups, edges = group.max() + 1, edges.tocoo()
    ends = group[edges.row], group[edges.col]
    return sparse.coo_array((edges.data, ends), (n_groups, n_groups))


def _fractions(weight: Array, kernel: Array) -> Array:
    """Return the fractions of weights of edges, to which a kernel is added."""
    weight = weight / (weight.sum() or 1.0) + kernel
    return weight / weight.sum()


def _background(centroid: Array) -> Array:
    """Return the kernel that connects groups without a common edge."""
    square = square_distances(centroid)
    nearest = np.where(np.eye(len(square), dtype=bool), np.inf, square).min(axis=1)
    nearest = nearest[(nearest > 0) & np.isfinite(nearest)]
    width = np.median(nearest) if len(nearest) else 0.0
    width = max(width, ROUNDING**2 * square.mean())
    return 1 / (1 + square / (width or 1.0))


def find_separate_groups(index: Ints, graph: sparse.csr_array) -> Ints:
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
    neighbors = neighbor_matrix(index, np.ones(index.shape))
    group = connected_components(neighbors * neighbors.T, directed=False)[1]
    while True:
        weight = _sum_edges(graph, group).tocsr()
        size = np.bincount(group)
        volume = weight.sum(axis=1)
        cut = volume - weight.diagonal()
        joins = (size < MIN_GROUP_SIZE) | (cut > MAX_CONDUCTANCE * volume)
        joins &= cut > 0
        if not joins.any():
            return group
        group = _join(weight, joins)[group]


def _join(weight: sparse.csr_array, joins: NDArray[np.bool_]) -> Ints:
    """Let groups join their heaviest neighbors; return the new number of each group."""
    weight = weight - sparse.diags_array(weight.diagonal())
    heaviest = np.asarray(weight.argmax(axis=1)).ravel()
    source = np.flatnonzero(joins)
    n = len(joins)
    links = sparse.csr_array((np.ones(len(source)), (source, heaviest[source])), (n, n))
    return connected_components(links, directed=False)[1]
