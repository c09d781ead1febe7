"""Nearest neighbors: exact up to tens of thousands of rows, approximate beyond."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from ..data import FeatureTable
from ..tree.arrays import Ints
from ..utils.indexing import sum_by_index
from ..utils.limits import MAX_STATISTICS_ROWS

MAX_EXACT_ROWS = 1 << 16
"""Maximum number of rows that are all compared with each other."""

N_PROBES = 48
"""Number of lists, of about sqrt(n), that are searched for the neighbors of a row."""

N_SPARE_ROWS = 5
"""Number of rows, beyond the number of neighbors, whose distances are computed exactly:
one, since the nearest row may be the query itself, and more, so that a near tie isn't
searched again."""

GROUP_SIZE = 16
"""Number of columns of which the search for the smallest first keeps the minimum."""

DENSITY_NEIGHBORS = 3
"""Number of neighbors whose distance is the density of a sample."""

MAX_BLOCK_VALUES = 1 << 22
"""Maximum number of distances, and of values of the rows that are compared exactly,
that are computed at a time."""


def nearest_neighbors(
    features: FeatureTable,
    n_neighbors: int,
    generator: torch.Generator,
    *,
    max_exact_rows: int = MAX_EXACT_ROWS,
) -> tuple[Tensor, Tensor]:
    """Find the nearest other rows of each row.

    Beyond `max_exact_rows` rows, an inverted-file index is used. Rows are assigned to
    lists, one for each of about sqrt(n) centers. The neighbors of a row are searched in
    the lists of the 48 centers nearest to the center of its list. Of rows that
    aren't in memory, the nearest of `max_exact_rows` random rows are found instead.

    Parameters
    ----------
    features : FeatureTable of shape (n_samples, n_features)
        Rows, more than `n_neighbors`.
    n_neighbors : int
        Number of neighbors.
    generator : torch.Generator
        Draws the initial centers or the random rows.
    max_exact_rows : int, default=MAX_EXACT_ROWS
        Maximum number of rows that are all compared with each other.

    Returns
    -------
    index : Tensor of int of shape (n_samples, n_neighbors)
        The neighbors, nearest first.
    distance : Tensor of shape (n_samples, n_neighbors)
        Euclidean distances to the neighbors.
    """
    if len(features) <= max_exact_rows:
        x = features[:]
        all_indices = torch.arange(len(x), device=x.device)
        return _search(x, all_indices, x, all_indices, n_neighbors)
    if features.is_in_memory:
        return _search_lists(features[:], n_neighbors, generator)
    return _search_random_rows(features, n_neighbors, generator, max_exact_rows)


def _search_lists(
    x: Tensor, n_neighbors: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Find the nearest rows in the nearest lists of an inverted-file index."""
    index, distance = _empty_result(x, len(x), n_neighbors)
    lists = InvertedFileIndex(x, generator)
    for i, queries in enumerate(lists.members):
        candidates = lists.candidates(i, N_PROBES)
        if len(candidates) <= n_neighbors:
            # The nearest lists are too short.
            candidates = torch.arange(len(x), device=x.device)
        result = _search(x[queries], queries, x[candidates], candidates, n_neighbors)
        index[queries], distance[queries] = result
    return index, distance


def _search_random_rows(
    features: FeatureTable,
    n_neighbors: int,
    generator: torch.Generator,
    n_candidates: int,
) -> tuple[Tensor, Tensor]:
    """Find the nearest of random rows."""
    n, device = len(features), features.device
    candidates = torch.randperm(n, generator=generator, device=device)[:n_candidates]
    base = features[candidates]
    index, distance = _empty_result(base, n, n_neighbors)
    all_indices = torch.arange(n, device=device)
    for rows in features.chunks():
        index[rows], distance[rows] = _search(
            features[rows], all_indices[rows], base, candidates, n_neighbors
        )
    return index, distance


def _empty_result(x: Tensor, n_rows: int, n_neighbors: int) -> tuple[Tensor, Tensor]:
    index = torch.empty(n_rows, n_neighbors, dtype=torch.long, device=x.device)
    return index, x.new_empty(n_rows, n_neighbors)


class InvertedFileIndex:
    """An inverted-file index: rows in lists, one for each of about sqrt(n) centers.

    Parameters
    ----------
    base : Tensor of shape (n_rows, n_features)
        The rows.
    generator : torch.Generator
        Draws the initial centers.
    """

    def __init__(self, base: Tensor, generator: torch.Generator) -> None:
        self._base = base
        order = torch.randperm(len(base), generator=generator, device=base.device)
        subset = base[order[:MAX_STATISTICS_ROWS]]
        self._centers = kmeans_centers(subset, math.isqrt(len(base)), generator)
        self.members = self._assign(base)
        """Rows of each list, (n_members,) each."""
        self._nearest_lists = torch.cdist(self._centers, self._centers).argsort(1)
        self._nearest_lists = self._nearest_lists.tolist()

    def candidates(self, i: int, n_probes: int) -> Tensor:
        """Return the rows in the lists nearest to list i, itself included."""
        return torch.cat([self.members[j] for j in self._nearest_lists[i][:n_probes]])

    def nearest(self, queries: Tensor, n_probes: int = 16) -> Tensor:
        """Return the approximately nearest row of each query, (n_queries,).

        Parameters
        ----------
        queries : Tensor of shape (n_queries, n_features)
            Best thousands at a time: queries of the same list are searched together.
        n_probes : int, default=16
            Number of lists that are searched: fewer than for many neighbors.
        """
        result = torch.empty(len(queries), dtype=torch.long, device=queries.device)
        for i, rows in enumerate(self._assign(queries)):
            if len(rows):
                candidates = self.candidates(i, n_probes)
                nearest = nearest_row(queries[rows], self._base[candidates])
                result[rows] = candidates[nearest]
        return result

    def _assign(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the indices of the rows of x whose nearest center each is."""
        assignment = nearest_row(x, self._centers)
        counts = assignment.bincount(minlength=len(self._centers)).tolist()
        return assignment.argsort(stable=True).split(counts)


def mutual_reachability(
    index: Ints, distance: NDArray[np.floating]
) -> sparse.csr_array:
    """Return the mutual reachability distances of neighbors (Campello et al. 2013).

    This is the distance, but at least the distance of either to its third neighbor, so
    that single outliers aren't near to anything.

    Parameters
    ----------
    index, distance : ndarrays of shape (n_samples, n_neighbors)
        Neighbors of each sample and their distances, nearest first.

    Returns
    -------
    reachability : sparse array of shape (n_samples, n_samples)
        Zeros are stored, too.
    """
    core = distance[:, min(DENSITY_NEIGHBORS, index.shape[1]) - 1]
    reach = np.maximum(distance, np.maximum(core[:, None], core[index]))
    return neighbor_matrix(index, reach)


def neighbor_matrix(index: Ints, values: NDArray[np.floating]) -> sparse.csr_array:
    """Return values of pairs of neighbors, both (n_samples, k), as a sparse matrix."""
    n, k = index.shape
    starts = np.arange(0, n * k + 1, k)
    return sparse.csr_array((values.ravel(), index.ravel(), starts), (n, n))


def nearest_row(queries: Tensor, base: Tensor) -> Tensor:
    """Return the index of the row of `base` nearest to each query, exactly."""
    # Distances that stay in the cache of a processor.
    size = max(512, (1 << 18) // len(base))
    norm = base.square().sum(1)
    # One buffer: a block allocated in each step may grow the heap each time.
    buffer = base.new_empty(min(size, len(queries)), len(base))
    square = base.new_empty(len(queries))
    index = torch.empty(len(queries), dtype=torch.long, device=base.device)
    for block, *result in zip(
        queries.split(size), square.split(size), index.split(size), strict=True
    ):
        squares = buffer[: len(block)]
        torch.addmm(norm, block, base.T, alpha=-2, out=squares)
        # Faster than argmin.
        torch.min(squares, 1, out=tuple(result))
    return index


def kmeans_centers(x: Tensor, n_centers: int, generator: torch.Generator) -> Tensor:
    """Return the centers of k-means, started at random rows, without empty clusters.

    Partitions don't improve with more than five steps. Not scikit-learn's `KMeans`: its
    sums depend on the order in which threads end, and it runs on no other device.
    """
    order = torch.randperm(len(x), generator=generator, device=x.device)
    centers = x[order[:n_centers]]
    for _ in range(5):
        assignment = nearest_row(x, centers)
        count = assignment.bincount(minlength=len(centers))
        total = sum_by_index(x, assignment, len(centers))
        centers = (total / count[:, None])[count > 0]
    return centers


def _search(
    x: Tensor, queries: Tensor, base: Tensor, candidates: Tensor, n_neighbors: int
) -> tuple[Tensor, Tensor]:
    """Find the nearest rows of `base` for each row of x, without the row itself.

    Single precision decides most rows. The others, such as those of tight groups that
    are far from each other, are searched again in double precision, and at last by
    differences.

    Parameters
    ----------
    x, base : Tensor of shape (n_rows, n_features)
        Rows to find neighbors of, and rows to find them among.
    queries, candidates : Tensor of int of shape (n_rows,)
        Indices of the rows of `x` and of `base` among all samples.
    n_neighbors : int
        Number of neighbors.
    """
    index, distance = _empty_result(x, len(x), n_neighbors)
    n_chosen = min(n_neighbors + N_SPARE_ROWS, len(base))
    n_values = max(len(base), n_chosen * base.shape[1])
    double = torch.float32 if x.device.type == "mps" else torch.float64
    rows = torch.arange(len(x), device=x.device)
    for dtype, compare in (
        (x.dtype, _bounds_by_products),
        (double, _bounds_by_products),
        (double, _squares_by_differences),
    ):
        typed, undecided = base.to(dtype), []
        for block in rows.split(max(1, MAX_BLOCK_VALUES // n_values)):
            squares = compare(x[block].to(dtype), typed)
            bound, chosen = _smallest(squares, n_chosen)
            difference = base[chosen].to(double).sub_(x[block, None])
            square = difference.square_().sum(2)
            square[candidates[chosen] == queries[block, None]] = torch.inf
            square, order = square.topk(n_neighbors, largest=False)
            index[block] = candidates[chosen.gather(1, order)]
            distance[block] = square.sqrt().to(x.dtype)
            farthest = square[:, -1]
            # No row is nearer than a duplicate.
            is_hidden = (farthest > bound[:, -1]) & (farthest > 0)
            undecided.append(block[is_hidden])
        rows = torch.cat(undecided)
        if len(rows) == 0 or n_chosen == len(base):
            break
    return index, distance


def _smallest(values: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the n smallest values of each row, in order, and their columns.

    They are in the n groups of columns whose minima are smallest, which are found
    faster.
    """
    n_columns = values.shape[1]
    n_groups = n_columns // GROUP_SIZE
    if n_groups <= n:
        return values.topk(n, largest=False)
    columns = torch.arange(n_columns, device=values.device)
    grouped, rest = columns.split([GROUP_SIZE * n_groups, n_columns % GROUP_SIZE])
    minima = values[:, : len(grouped)].unflatten(1, (GROUP_SIZE, n_groups)).amin(1)
    groups = minima.topk(n, largest=False, sorted=False).indices
    members = grouped.view(GROUP_SIZE, n_groups).T[groups].flatten(1)
    members = torch.hstack([members, rest.expand(len(values), -1)])
    smallest, order = values.gather(1, members).topk(n, largest=False)
    return smallest, members.gather(1, order)


def _bounds_by_products(x: Tensor, base: Tensor) -> Tensor:
    """Bound squared distances from below, by matrix products, (len(x), len(base)).

    A sum of n products has a relative error of at most n units of rounding, in any
    order (Higham 2002, section 3.1), and the norm has another one.
    """
    norm, base_norm = x.square().sum(1), base.square().sum(1)
    n_terms = 2 * (x.shape[1] + 2)
    scale = (norm.sqrt() + base_norm.max().sqrt()).square()
    offset = norm - n_terms * torch.finfo(x.dtype).eps * scale
    return torch.addmm(base_norm, x, base.T, alpha=-2).add_(offset[:, None])


def _squares_by_differences(x: Tensor, base: Tensor) -> Tensor:
    """Return squared distances up to their rounding, (len(x), len(base))."""
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(x, base, compute_mode=mode).square_()
