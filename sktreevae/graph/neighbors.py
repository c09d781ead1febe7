"""Nearest neighbors: exact up to tens of thousands of rows, approximate beyond."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..data import FeatureTable

__all__ = [
    "MAX_EXACT_ROWS",
    "N_PROBES",
    "InvertedFileIndex",
    "kmeans_centers",
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

QUERY_BLOCK_SIZE = 128
"""Number of rows that are compared with all others at a time."""


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


def nearest_row(queries: Tensor, base: Tensor) -> Tensor:
    """Return the index of the row of `base` nearest to each query, exactly."""
    norm = base.square().sum(1)
    blocks = queries.split(QUERY_BLOCK_SIZE)
    return torch.cat([torch.addmm(norm, q, base.T, alpha=-2).argmin(1) for q in blocks])


def kmeans_centers(
    x: Tensor, n_centers: int, generator: torch.Generator, n_iter: int = 10
) -> Tensor:
    """Return the centers of k-means, started at random rows, without empty clusters."""
    order = torch.randperm(len(x), generator=generator, device=x.device)
    centers = x[order[:n_centers]]
    for _ in range(n_iter):
        assignment = nearest_row(x, centers)
        count = assignment.bincount(minlength=len(centers))
        total = torch.zeros_like(centers).index_add_(0, assignment, x)
        centers = (total / count[:, None])[count > 0]
    return centers


def _search(
    x: Tensor, queries: Tensor, base: Tensor, candidates: Tensor, n_neighbors: int
) -> tuple[Tensor, Tensor]:
    """Find the nearest rows of `base` for each row of x, without the row itself.

    Parameters
    ----------
    x, base : Tensor of shape (n_rows, n_features)
        Rows to find neighbors of, and rows to find them among.
    queries, candidates : Tensor of int of shape (n_rows,)
        Indices of the rows of `x` and of `base` among all samples.
    n_neighbors : int
        Number of neighbors.
    """
    indices, distances = [], []
    norm = base.square().sum(1)
    for block, rows in zip(
        x.split(QUERY_BLOCK_SIZE), queries.split(QUERY_BLOCK_SIZE), strict=True
    ):
        # Without the norm of the query, which doesn't change the order.
        square = torch.addmm(norm, block, base.T, alpha=-2)
        nearest = square.topk(n_neighbors + 1, largest=False)
        index = candidates[nearest.indices]
        # Drop the row itself, or the last one if duplicates of the row displaced it.
        is_self = (index == rows[:, None]).to(torch.uint8)
        is_self[:, -1] += is_self.sum(1, dtype=torch.uint8) == 0
        others = is_self.argsort(dim=1, stable=True)[:, :-1]
        square = nearest.values.gather(1, others) + block.square().sum(1)[:, None]
        indices.append(index.gather(1, others))
        distances.append(square.clamp(min=0).sqrt())
    return torch.cat(indices), torch.cat(distances)
