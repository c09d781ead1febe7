"""The graph of nearest neighbors, and the trees of clusters that it proposes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from ..data import FeatureTable, spread_values
from ..tree.arrays import SIGNIFICANCE, Ints, leaves_below_merges
from ..utils.cache import Cache
from ..utils.limits import MAX_DENSE_ROWS, MAX_STATISTICS_ROWS
from ..utils.processes import ONE_PROCESS, Processes
from ..utils.random import draw_seed
from .cluster_tree import ClusterTree, cluster_tree
from .density import principal_components
from .gaussians import (
    ClusterMixture,
    mixture_partition,
    overlapping_gaussians,
    stable_refinement,
)
from .micro_clusters import MicroClusters, SampleGraph, find_separate_groups
from .n_clusters import split_p_values
from .neighbors import (
    DENSITY_NEIGHBORS,
    InvertedFileIndex,
    kmeans_centers,
    mutual_reachability,
    nearest_neighbors,
    nearest_row,
)
from .partition import linkage_partitions, partition, separated_partitions
from .umap import embed_graph, fuzzy_graph

WIDE_FACTOR = 4
"""Number of neighbors in the graph of more neighbors relative to the other."""

MicroClustering = tuple[Ints, MicroClusters]
"""Micro-cluster of each sample, (n_samples,), and the micro-clusters."""


@dataclass(frozen=True)
class GraphOptions:
    """Options of `NeighborGraph`.

    Parameters
    ----------
    max_landmarks : int
        Maximum number of samples in the graph. Others join the cluster of the nearest.
    n_micro_clusters : int
        Minimum number of micro-clusters.
    n_restarts : int
        Number of random starts of the micro-clusters. Their partitions are combined:
        the samples that are together in all of them are the micro-clusters of the last
        partition. More micro-clusters than `n_micro_clusters` take longer and vary
        less, so they have fewer starts.
    max_clusters : int
        Maximum number of clusters, if their number is estimated.
    min_mean_cluster_size : int
        Minimum of the mean number of samples per cluster, if their number is estimated.
    round_clusters : bool
        Whether clusters are refined as Gaussians of a common covariance. It suits
        embeddings, whose clusters touch and are round.
    spread_values : bool
        Whether the values of discrete features are spread, so that no gap between them
        cuts the graph. It suits tables.
    """

    max_landmarks: int = 100_000
    n_micro_clusters: int = 320
    n_restarts: int = 10
    max_clusters: int = 64
    min_mean_cluster_size: int = 8
    round_clusters: bool = False
    spread_values: bool = False


@dataclass(frozen=True, eq=False)
class Proposal:
    """A tree of clusters.

    Parameters
    ----------
    cluster : Tensor of int of shape (n_samples,)
        Cluster of each sample.
    proba : Tensor of shape (n_samples, n_clusters)
        Probability of each cluster: the posterior of a Gaussian mixture where one
        models the clusters, else the share of the cluster among the neighbors.
    tree : ClusterTree
        The tree above the clusters.
    spacing : Tensor of shape (n_samples,)
        Median distance of each sample to its neighbors.
    size : Tensor of int of shape (n_clusters,)
        Number of samples of each cluster, in all processes.
    costs : dict of str to float
        Cost, in bits, of the partition of each method; see `partition`. The clusters
        are those of the method with the least cost. Tree and costs are those before
        clusters are refined as Gaussians or by a mixture.
    """

    cluster: Tensor
    proba: Tensor
    tree: ClusterTree
    spacing: Tensor
    size: Tensor
    costs: dict[str, float]

    def sides(self, min_samples: int) -> Tensor | None:
        """Return the probabilities of the left and right branch of a split.

        The split is the highest one with at least `min_samples` on both sides. Smaller
        groups that are split off above it join the larger branch.

        Parameters
        ----------
        min_samples : int
            Minimum number of samples of a branch.

        Returns
        -------
        side : Tensor of shape (n_samples, 2) or None
            None if there is no such split.
        """
        merges = self.tree.merges
        n_clusters = len(merges) + 1
        is_below = leaves_below_merges(merges)
        n_below = is_below @ self.size.numpy(force=True)
        node = len(is_below) - 1
        while node >= n_clusters:
            left, right = merges[node - n_clusters]
            n_left, n_right = n_below[left], n_below[right]
            if min(n_left, n_right) >= min_samples:
                is_right = is_below[right] if n_right <= n_left else ~is_below[left]
                side = torch.from_numpy(np.stack([~is_right, is_right], axis=1))
                return self.proba @ side.to(self.proba)
            node = left if n_left > n_right else right
        return None


class NeighborGraph:
    """A graph of nearest neighbors that proposes trees of clusters.

    K-means in an embedding of the graph gives micro-clusters. Linkages and a local
    search partition them into the clusters that a random walk on the graph rarely
    leaves. Of several linkages, the one whose cuts have the least cost is the tree.

    Parameters
    ----------
    features : FeatureTable of shape (n_samples, n_features)
        Data, scaled so that Euclidean distances are meaningful.
    generator : torch.Generator
        The source of randomness, on the device of the features.
    max_clusters : int, default=None
        Maximum number of clusters that will be asked for; ``options.max_clusters`` by
        default.
    options : GraphOptions, default=GraphOptions()
        Sizes and limits.
    cache : Cache, default=None
        Stores the micro-clusters and the proposals.
    processes : Processes, default=ONE_PROCESS
        Processes that share the data. The first one computes the graph of landmarks
        from all of them, and each assigns its own samples.
    """

    def __init__(
        self,
        features: FeatureTable,
        generator: torch.Generator,
        max_clusters: int | None = None,
        *,
        options: GraphOptions | None = None,
        cache: Cache | None = None,
        processes: Processes = ONE_PROCESS,
    ) -> None:
        self._features = features
        self._generator = generator
        self._options = options = GraphOptions() if options is None else options
        self._cache = Cache(None) if cache is None else cache
        self._processes = processes
        self._first, self._n_samples = processes.locate(len(features))
        rows = processes.concatenate(features[self._draw_landmarks()])
        self._rows = self._landmarks = rows
        if options.spread_values:
            self._landmarks = processes.lead(lambda: spread_values(rows, generator))
        # A dozen for each cluster, which the linkages can join.
        n_micro_clusters = max(
            options.n_micro_clusters, 12 * (max_clusters or options.max_clusters)
        )
        processes.lead(lambda: self._build(n_micro_clusters))

    def _build(self, n_micro_clusters: int) -> None:
        """Build the graph, which stays in the first process."""
        self._graph, self._clusterings, self._spacing = self._cache(
            _micro_clusterings,
            self._landmarks.numpy(force=True),
            n_micro_clusters,
            self._options,
            rng=self._generator,
        )

    def propose(
        self, n_clusters: int, max_depth: int | None = None, min_size: int = 1
    ) -> Proposal:
        """Return the tree of the partition of minimum cost.

        Parameters
        ----------
        n_clusters : int
            Number of leaves.
        max_depth : int, default=None
            Maximum depth of a leaf; fewer leaves if not all fit into such a tree.
        min_size : int, default=1
            Minimum number of samples of a group that stands apart: it is a cluster
            before any other group is cut.
        """

        def compute() -> tuple:
            labels, tree, costs = self._tree(n_clusters, max_depth, min_size)
            rows = self._landmarks.numpy(force=True)
            mixture = overlapping_gaussians(rows, labels, self._generator)
            values = labels, self._graph.cluster_shares(labels), self._spacing
            return mixture, values, tree, costs

        mixture, values, tree, costs = self._processes.lead(compute)
        cluster, proba, spacing = map(self._extend, values)
        if mixture is not None:
            proba = self._features.map(partial(_mixture_proba, mixture))
            cluster = proba.argmax(1)
        size = self._processes.sum(cluster.bincount(minlength=len(tree.merges) + 1))
        return Proposal(cluster, proba, tree, spacing, size, costs)

    def _tree(
        self, n_clusters: int, max_depth: int | None = None, min_size: float = 1
    ) -> tuple[Ints, ClusterTree, dict[str, float]]:
        """Return clusters of the landmarks, their tree, and costs; see `Proposal`."""
        # A numpy integer has no bit_length, and 2**max_depth may be too large for it.
        if max_depth is not None and max_depth < int(n_clusters).bit_length():
            n_clusters = min(n_clusters, 2 ** int(max_depth))
        # Landmarks are fewer than samples.
        min_size = min_size * len(self._landmarks) / self._n_samples
        labels, other, tree, costs = self._cache(
            _propose,
            self._graph,
            self._clusterings,
            int(n_clusters),
            max_depth,
            min_size,
        )
        if self._options.round_clusters:
            rows = self._landmarks.numpy(force=True)
            shares = self._graph.cluster_shares
            labels = stable_refinement(
                rows, labels, other, shares, self._generator, min_size
            )
        # Copies: cached arrays are read-only.
        return labels, ClusterTree(*map(np.array, tree)), costs

    def _extend(self, values: NDArray) -> Tensor:
        """Return values of the landmarks for all samples: that of the nearest one."""
        # A copy: cached arrays are read-only.
        values = torch.from_numpy(np.array(values)).to(self._features.device)
        is_sampled = len(self._landmarks) < self._n_samples
        own = slice(self._first, self._first + len(self._features))
        return values[self._nearest if is_sampled else own]

    @property
    def n_neighbors(self) -> int:
        """Number of neighbors of a sample in the graph."""
        return _count_neighbors(len(self._landmarks))

    def separate_groups(self) -> Tensor:
        """Return the group of each sample, (n_samples,), among those that stand apart.

        See `find_separate_groups`.
        """
        return self._extend(self._processes.lead(lambda: self._graph.component))

    def estimate_n_clusters(self, rng: np.random.Generator) -> int:
        """Return the number of clusters that held-out samples support.

        See `split_p_values`.
        """
        max_clusters = self._n_samples // self._options.min_mean_cluster_size
        max_clusters = max(1, min(self._options.max_clusters, max_clusters))

        def estimate() -> int:
            labels, (merges, _, _), _ = self._tree(max_clusters)
            rows = FeatureTable.from_tensor(self._rows)
            p_values = split_p_values(rows, labels, merges, rng)
            return 1 + np.count_nonzero(p_values <= SIGNIFICANCE)

        return self._processes.lead(estimate)

    def _draw_landmarks(self) -> Tensor | slice:
        n, device = len(self._features), self._features.device
        if self._n_samples <= self._options.max_landmarks:
            return slice(None)
        order = torch.randperm(n, generator=self._generator, device=device)
        return order[: self._processes.share(n, self._options.max_landmarks)]

    @cached_property
    def _nearest(self) -> Tensor:
        """The landmark nearest to each sample, (n_samples,)."""
        cache = self._cache if self._features.is_in_memory else Cache(None)
        nearest = cache(
            _nearest_landmarks,
            self._features,
            self._landmarks.numpy(force=True),
            rng=self._generator,
        )
        return torch.from_numpy(np.array(nearest)).to(self._features.device)


def _count_neighbors(n_samples: int) -> int:
    """Return the number of neighbors of a sample in the graph: log2 of their number."""
    n_neighbors = max(DENSITY_NEIGHBORS, round(np.log2(max(n_samples, 1))))
    return min(n_neighbors, n_samples - 1)


def _micro_clusterings(
    landmarks: NDArray[np.float32],
    n_micro_clusters: int,
    options: GraphOptions,
    generator: torch.Generator,
) -> tuple[SampleGraph, list[MicroClustering], NDArray[np.float32]]:
    """Return the graph, the micro-clusters of each restart, and the spacing."""
    n, seed = len(landmarks), draw_seed(generator)
    if n < 2:
        nothing = sparse.csr_array((n, n))
        group = np.zeros(n, dtype=np.int64)
        principal = np.empty((n, 0))
        graph = SampleGraph(
            nothing, nothing, nothing, (landmarks,), group, principal, 0, group
        )
        spacing = np.zeros(n, dtype=np.float32)
        return graph, [(group, graph.aggregate(group))], spacing
    x = torch.from_numpy(landmarks).to(generator.device)
    order = torch.randperm(n, generator=generator, device=generator.device)
    rows = order[:MAX_STATISTICS_ROWS]
    (index, distance), wide_edges = _find_neighbors(x, rows, generator)
    edges = fuzzy_graph(index, distance)
    embedding = embed_graph(edges, generator)
    rows = rows.numpy(force=True)
    graph = SampleGraph(
        edges,
        wide_edges,
        mutual_reachability(index.numpy(force=True), distance.numpy(force=True)),
        (embedding.numpy(force=True), landmarks),
        find_separate_groups(index.numpy(force=True), edges),
        *principal_components(landmarks, rows, seed),
        rows,
    )
    n_restarts = options.n_restarts * options.n_micro_clusters // n_micro_clusters
    clusterings = []
    for _ in range(max(1, n_restarts) if n > n_micro_clusters else 1):
        assignment = _micro_clusters(embedding, n_micro_clusters, generator)
        assignment = graph.split_by_component(assignment)
        clusterings.append((assignment, graph.aggregate(assignment)))
    return graph, clusterings, distance.median(1).values.numpy(force=True)


def _find_neighbors(
    x: Tensor, rows: Tensor, generator: torch.Generator
) -> tuple[tuple[Tensor, Tensor], sparse.csr_array]:
    """Return the neighbors of each sample, and a graph of more neighbors.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
        The samples.
    rows : Tensor of int of shape (n_rows,)
        Those in the graph of more neighbors, all or random ones. It has as many edges
        as if each sample had more neighbors.
    generator : torch.Generator
        See `nearest_neighbors`.

    Returns
    -------
    index, distance : Tensor of shape (n_samples, n_neighbors)
        Neighbors of each sample; see `nearest_neighbors`.
    graph : sparse array of shape (n_samples, n_samples)
        Weights of the edges of the graph; see `fuzzy_graph`.
    """

    def search(sample: Tensor, n_neighbors: int) -> tuple[Tensor, Tensor]:
        features = FeatureTable.from_tensor(sample)
        return nearest_neighbors(features, n_neighbors, generator)

    n, n_rows = len(x), len(rows)
    n_neighbors = _count_neighbors(n)
    n_wide = max(n_neighbors, min(WIDE_FACTOR * n_neighbors, n // WIDE_FACTOR))
    if n_rows == n:
        index, distance = search(x, n_wide)
        graph = fuzzy_graph(index, distance)
        return (index[:, :n_neighbors], distance[:, :n_neighbors]), graph
    n_wide = max(min(DENSITY_NEIGHBORS, n_rows - 1), round(n_wide * n_rows / n))
    edges = fuzzy_graph(*search(x[rows], n_wide)).tocoo()
    rows = rows.numpy(force=True)
    place = rows[edges.row], rows[edges.col]
    return search(x, n_neighbors), sparse.csr_array((edges.data, place), (n, n))


def _micro_clusters(
    embedding: Tensor, n_groups: int, generator: torch.Generator
) -> Ints:
    """Return the micro-cluster of each sample, by k-means."""
    if len(embedding) <= n_groups:
        return np.arange(len(embedding))
    centers = kmeans_centers(embedding, n_groups, generator)
    assignment = nearest_row(embedding, centers)
    return np.unique(assignment.numpy(force=True), return_inverse=True)[1]


def _propose(
    graph: SampleGraph,
    clusterings: list[MicroClustering],
    n_clusters: int,
    max_depth: int | None,
    min_size: float,
) -> tuple[Ints, Ints, ClusterTree, dict[str, float]]:
    """Propose a tree from the micro-clusters of all restarts.

    Returns
    -------
    cluster : ndarray of int of shape (n_samples,)
        Cluster of each sample.
    other : ndarray of int of shape (n_samples,)
        Cluster of each sample by another restart than the best.
    tree, costs
        See `Proposal`.
    """
    first, groups = clusterings[0]
    separated = separated_partitions(groups, n_clusters, min_size)
    results = []
    for i, (assignment, groups) in enumerate(clusterings):
        starts = linkage_partitions(groups, n_clusters)
        if i == 0:
            starts |= separated
        cluster, costs = partition(groups, starts, min_size)
        results.append((min(costs.values()), cluster[assignment]))
    results.sort(key=itemgetter(0))
    best, *others = (cluster for _, cluster in results)
    starts = {"restart 1": best}
    mixture = mixture_partition(graph.principal, graph.rows, best)
    if mixture is not None:
        starts["mixture"] = mixture
    starts |= {name: cluster[first] for name, cluster in separated.items()}
    starts |= {f"restart {i}": cluster for i, cluster in enumerate(others, start=2)}
    base = np.zeros_like(first) if others else first
    # The memory of the weights grows with the square of the number of groups.
    max_groups = max(MAX_DENSE_ROWS, base.max() + 1)
    assignment, starts = graph.overlay(base, starts, max_groups)
    groups = graph.aggregate(assignment)
    cluster, costs = partition(groups, starts, min_size)
    labels = cluster[assignment]
    tree = cluster_tree(graph.aggregate(labels), max_depth)
    return labels, others[0] if others else best, tree, costs


def _mixture_proba(mixture: ClusterMixture, features: Tensor) -> Tensor:
    """Return the posterior probabilities of a mixture, (batch, n_clusters)."""
    proba = mixture.predict_proba(features.numpy(force=True))
    return torch.from_numpy(proba).to(features)


def _nearest_landmarks(
    features: FeatureTable, landmarks: NDArray[np.float32], generator: torch.Generator
) -> Ints:
    """Return the index of the landmark nearest to each sample."""
    base = torch.from_numpy(landmarks).to(features.device)
    lists = InvertedFileIndex(base, generator)
    return np.concatenate(
        [lists.nearest(features[rows]).numpy(force=True) for rows in features.chunks()]
    )
