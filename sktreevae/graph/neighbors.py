"""Nearest neighbors: exact up to tens of thousands of rows, approximate beyond."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from ..data import FeatureTable
from ..utils.indexing import sum_by_index

__all__ = [
    "MAX_EXACT_ROWS",
    "N_PROBES",
    "InvertedFileIndex",
    "kmeans_centers",
    "mutual_reachability",
    "nearest_neighbors",
    "nearest_row",
]

MAX_EXACT_ROWS = 1 << 16
"""Maximum number of rows that are all compared with each other."""

N_PROBES = 48
"""Number of lists, of about sqrt(n), that are searched for the neighbors of a row."""

N_PROBES_OF_NEAREST = 16
"""Number of lists that are searched for the one row that is nearest to another."""

MAX_CENTER_ROWS = 20_000
"""Maximum number of rows that the centers of the lists are computed from."""

QUERY_BLOCK_SIZE = 512
BASE_BLOCK_SIZE = 2048
"""Numbers of rows that are compared with each other at a time. Their distances stay in
the cache of a processor, and are enough for two threads."""

MAX_CHOSEN_VALUES = 1 << 24
"""Maximum number of values of the rows that a block of queries is compared with at
last: fewer queries are a block if there are many features."""

GROUP_SIZE = 8
"""Number of consecutive rows of which the search first keeps only the minimum distance;
a divisor of `BASE_BLOCK_SIZE`."""

N_SPARE_GROUPS = 4
"""Number of groups beyond the number of neighbors: one, since the nearest row may be
the query itself, and more, so that a near tie isn't searched again."""

SUPERGROUP_SIZE = 16
"""Number of consecutive groups of which the search first keeps only the minimum."""

REACHABILITY_NEIGHBORS = 3
"""Number of neighbors whose distance is the density of a sample."""

NEAREST_BLOCK_VALUES = 1 << 18
"""Number of distances that `nearest_row` computes at a time."""


def nearest_neighbors(
    features: FeatureTable,
    n_neighbors: int,
    generator: torch.Generator,
    *,
    max_exact_rows: int = MAX_EXACT_ROWS,
    n_probes: int = N_PROBES,
) -> tuple[Tensor, Tensor]:
    """Find the nearest other rows of each row.

    Beyond `max_exact_rows` rows, an inverted-file index is used. Rows are assigned to
    lists, one for each of about sqrt(n) centers. The neighbors of a row are searched in
    the lists of the `n_probes` centers nearest to the center of its list. Of rows that
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
    n_probes : int, default=N_PROBES
        Number of lists that are searched.

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
        return _search_lists(features[:], n_neighbors, generator, n_probes)
    return _search_random_rows(features, n_neighbors, generator, max_exact_rows)


def _search_lists(
    x: Tensor, n_neighbors: int, generator: torch.Generator, n_probes: int
) -> tuple[Tensor, Tensor]:
    """Find the nearest rows in the nearest lists of an inverted-file index."""
    index, distance = _empty_result(x, len(x), n_neighbors)
    lists = InvertedFileIndex(x, generator)
    for i, queries in enumerate(lists.members):
        candidates = lists.candidates(i, n_probes)
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
        subset = base[order[:MAX_CENTER_ROWS]]
        self._centers = kmeans_centers(subset, math.isqrt(len(base)), generator)
        self.members = self._assign(base)
        """Rows of each list, (n_members,) each."""
        self._nearest_lists = torch.cdist(self._centers, self._centers).argsort(1)
        self._nearest_lists = self._nearest_lists.tolist()

    def candidates(self, i: int, n_probes: int) -> Tensor:
        """Return the rows in the lists nearest to list i, itself included."""
        return torch.cat([self.members[j] for j in self._nearest_lists[i][:n_probes]])

    def nearest(self, queries: Tensor) -> Tensor:
        """Return the approximately nearest row of each query, (n_queries,).

        Parameters
        ----------
        queries : Tensor of shape (n_queries, n_features)
            Best thousands at a time: queries of the same list are searched together.
        """
        result = torch.empty(len(queries), dtype=torch.long, device=queries.device)
        for i, rows in enumerate(self._assign(queries)):
            if len(rows):
                candidates = self.candidates(i, N_PROBES_OF_NEAREST)
                nearest = nearest_row(queries[rows], self._base[candidates])
                result[rows] = candidates[nearest]
        return result

    def _assign(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the indices of the rows of x whose nearest center each is."""
        assignment = nearest_row(x, self._centers)
        counts = assignment.bincount(minlength=len(self._centers)).tolist()
        return assignment.argsort(stable=True).split(counts)


def mutual_reachability(
    index: NDArray[np.int64], distance: NDArray[np.floating]
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
    n, k = index.shape
    core = distance[:, min(REACHABILITY_NEIGHBORS, k) - 1]
    reach = np.maximum(distance, np.maximum(core[:, None], core[index]))
    starts = np.arange(0, n * k + 1, k)
    return sparse.csr_array((reach.ravel(), index.ravel(), starts), (n, n))


def nearest_row(queries: Tensor, base: Tensor) -> Tensor:
    """Return the index of the row of `base` nearest to each query, exactly."""
    size = max(QUERY_BLOCK_SIZE, NEAREST_BLOCK_VALUES // len(base))
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


def kmeans_centers(
    x: Tensor, n_centers: int, generator: torch.Generator, n_iter: int = 10
) -> Tensor:
    """Return the centers of k-means, started at random rows, without empty clusters."""
    order = torch.randperm(len(x), generator=generator, device=x.device)
    centers = x[order[:n_centers]]
    for _ in range(n_iter):
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
    are far from each other, are searched again, in double precision and with more and
    more differences, up to all.

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
    n_groups, dtype = n_neighbors + N_SPARE_GROUPS, x.dtype
    rows = torch.arange(len(x), device=x.device)
    while len(rows):
        groups = _RowGroups(
            base.to(dtype), candidates, n_neighbors, n_groups, len(rows)
        )
        undecided = []
        for block in rows.split(groups.max_queries):
            block_x = x[block].to(dtype)
            index[block], square, is_exact = groups.nearest(block_x, queries[block])
            distance[block] = square.sqrt().to(x.dtype)
            undecided.append(block[~is_exact])
        rows = torch.cat(undecided)
        n_groups, dtype = 4 * n_groups, _double(x.device)
    return index, distance


def _double(device: torch.device) -> torch.dtype:
    """Return the most precise type of a device."""
    return torch.float32 if device.type == "mps" else torch.float64


class _RowGroups:
    """Rows in groups of consecutive ones, for an exact search.

    The k nearest rows are members of the k groups whose minimum distances are smallest.
    So the search selects groups by their minima first, and then some of their members.
    Minima are differences of squared norms, which lose digits. Distances to the members
    are those of differences, in double precision.

    Parameters
    ----------
    base : Tensor of shape (n_rows, n_features)
        The rows.
    index : Tensor of int of shape (n_rows,)
        Index of each row among all samples.
    n_neighbors : int
        Number of nearest rows to find.
    n_groups : int
        Number of groups that are selected, if there are as many.
    n_queries : int
        Number of queries that are searched for.

    Attributes
    ----------
    max_queries : int
        Maximum number of queries at a time.
    """

    def __init__(
        self,
        base: Tensor,
        index: Tensor,
        n_neighbors: int,
        n_groups: int,
        n_queries: int,
    ) -> None:
        # The last group and supergroup are filled with rows at infinity, of index -1.
        n_missing = -len(base) % (GROUP_SIZE * SUPERGROUP_SIZE)
        rows = F.pad(base, (0, 0, 0, n_missing))
        norm = F.pad(base.square().sum(1), (0, n_missing), value=torch.inf)
        self._max_norm = norm[: len(base)].max().sqrt()
        self._members = rows.view(-1, GROUP_SIZE * base.shape[1])
        self._index = F.pad(index, (0, n_missing), value=-1).view(-1, GROUP_SIZE)
        # The matrix product then adds the norm.
        self._blocks = torch.hstack([rows, norm[:, None]]).split(BASE_BLOCK_SIZE)
        self._n_neighbors = n_neighbors
        self._n_groups = min(n_groups, len(self._members))
        n_chosen = self._n_groups * self._members.shape[1]
        self.max_queries = min(
            n_queries, QUERY_BLOCK_SIZE, max(1, MAX_CHOSEN_VALUES // n_chosen)
        )
        # Buffers that all blocks share: the heap grows if each allocates its own.
        self._square = base.new_empty(BASE_BLOCK_SIZE * self.max_queries)
        self._minima = base.new_empty(len(self._members) * self.max_queries)
        shape = self._n_groups * self.max_queries, self._members.shape[1]
        self._chosen = base.new_empty(shape)
        self._differences = base.new_empty(shape, dtype=_double(base.device))

    def nearest(self, x: Tensor, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the indices of the nearest rows, nearest first.

        Parameters
        ----------
        x : Tensor of shape (n_queries, n_features)
            The queries.
        queries : Tensor of int of shape (n_queries,)
            Their indices among all samples, which aren't returned.

        Returns
        -------
        index : Tensor of int of shape (n_queries, n_neighbors)
            Indices of the nearest rows.
        square : Tensor of shape (n_queries, n_neighbors)
            Their squared distances.
        is_exact : Tensor of bool of shape (n_queries,)
            Whether rounding errors can't hide a nearer row.
        """
        minimum, groups = _smallest(self._group_minima(x), self._n_groups)
        chosen = self._chosen[: groups.numel()]
        torch.index_select(self._members, 0, groups.flatten(), out=chosen)
        differences = self._differences[: groups.numel()].copy_(chosen)
        differences = differences.view(len(x), -1, x.shape[1]).sub_(x[:, None])
        square = differences.square_().sum(2)
        index = self._index[groups].flatten(1)
        excluded = (index == queries[:, None]) | (index < 0)
        square.masked_fill_(excluded, torch.inf)
        square, nearest = square.topk(self._n_neighbors, largest=False)
        farthest = square[:, -1]
        # No row is nearer than a duplicate.
        is_hidden = (farthest > self._lower_bound(x, minimum)) & (farthest > 0)
        return index.gather(1, nearest), square, ~is_hidden

    def _lower_bound(self, x: Tensor, minimum: Tensor) -> Tensor:
        """Bound the squared distances to the groups that aren't selected, from below.

        A sum of n products has a relative error of at most n units of rounding, in any
        order (Higham 2002, section 3.1), and the norm has another one.
        """
        if self._n_groups == len(self._members):
            return torch.full_like(minimum, torch.inf)
        norm = torch.linalg.vector_norm(x, dim=1)
        n_terms = 2 * (x.shape[1] + 2)
        error = n_terms * torch.finfo(x.dtype).eps * (norm + self._max_norm).square()
        return minimum + norm.square() - error

    def _group_minima(self, x: Tensor) -> Tensor:
        """Return the minimum squared distance to each group, (n_groups, n_queries).

        The norm of the query, which doesn't change the order, is left out.
        """
        n = len(x)
        weights = torch.hstack([-2 * x, x.new_ones(n, 1)]).T
        minima = self._minima[: len(self._members) * n].view(-1, n)
        for block, result in zip(
            self._blocks, minima.split(BASE_BLOCK_SIZE // GROUP_SIZE), strict=True
        ):
            square = self._square[: len(block) * n].view(-1, n)
            torch.mm(block, weights, out=square)
            torch.amin(square.view(-1, GROUP_SIZE, n), 1, out=result)
        return minima


def _smallest(minima: Tensor, n_groups: int) -> tuple[Tensor, Tensor]:
    """Return a bound and the rows of the smallest values of each column.

    Returns
    -------
    bound : Tensor of shape (n_columns,)
        The largest of the smallest values: no other value is less.
    rows : Tensor of int of shape (n_columns, n_groups)
        Rows of the smallest values.
    """
    if len(minima) <= SUPERGROUP_SIZE * n_groups:
        smallest = minima.T.topk(n_groups, largest=False, sorted=False)
        return smallest.values.amax(1), smallest.indices
    groups = minima.view(-1, SUPERGROUP_SIZE, minima.shape[1])
    first = groups.amin(1).T.topk(n_groups, largest=False, sorted=False).indices
    index = first.T[:, None].expand(-1, SUPERGROUP_SIZE, -1)
    members = groups.gather(0, index).flatten(0, 1).T
    second = members.topk(n_groups, largest=False, sorted=False)
    supergroup = first.gather(1, second.indices // SUPERGROUP_SIZE)
    rows = supergroup * SUPERGROUP_SIZE + second.indices % SUPERGROUP_SIZE
    return second.values.amax(1), rows
