"""Nearest neighbours: exact for up to tens of thousands of rows, approximate above."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..sources import row_slices
from .batches import Features

__all__ = ["InvertedLists", "lloyd", "nearest_neighbors", "nearest_of"]

EXACT_LIMIT = 1 << 16
"""Most rows that are all compared with each other."""

N_PROBES = 48
"""Lists that are searched for the neighbours of a row; there are sqrt(n) of them."""

N_PROBES_OF_ONE = 16
"""Lists that are searched for the row nearest to another."""

N_TRAINING_ROWS = 20_000
"""Most rows that the centres of the lists are found on."""

BLOCK_SIZE = 128


def nearest_neighbors(
    x: Tensor | Features, n_neighbors: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Find the nearest other rows of each row.

    Beyond `EXACT_LIMIT` rows, an inverted-file index is used: rows are put in lists,
    one for each of sqrt(n) centres, and the neighbours of a row are looked for in the
    lists of the `N_PROBES` centres nearest to that of its own list. Rows that aren't in
    memory have their nearest neighbours among `EXACT_LIMIT` random ones instead.

    Parameters
    ----------
    x : Tensor or Features of shape (n_samples, n_features)
        Rows, more than `n_neighbors`.
    n_neighbors : int
        How many.
    generator : torch.Generator
        Draws the first centres, or the random rows.

    Returns
    -------
    index : Tensor of int of shape (n_samples, n_neighbors)
        The neighbours, nearest first.
    distance : Tensor of shape (n_samples, n_neighbors)
        How far they are.
    """
    everyone = torch.arange(len(x), device=x.device)
    if len(x) <= EXACT_LIMIT:
        x = x[:]
        return _search(x, everyone, x, everyone, n_neighbors)
    index = torch.empty(len(x), n_neighbors, dtype=torch.long, device=x.device)
    distance = torch.empty(len(x), n_neighbors, device=x.device)
    if isinstance(x, Features):
        order = torch.randperm(len(x), generator=generator, device=x.device)
        chosen = order[:EXACT_LIMIT]
        base = x[chosen]
        for rows in row_slices(*x.shape):
            found = _search(x[rows], everyone[rows], base, chosen, n_neighbors)
            index[rows], distance[rows] = found
        return index, distance
    lists = InvertedLists(x, generator)
    for own, queries in enumerate(lists.members):
        # The nearest lists, and further ones where these are too short.
        candidates = lists.candidates(own, N_PROBES)
        if len(candidates) <= n_neighbors:
            candidates = everyone
        found = _search(x[queries], queries, x[candidates], candidates, n_neighbors)
        index[queries], distance[queries] = found
    return index, distance


class InvertedLists:
    """Rows in lists, one for each of sqrt(n) centres: near ones are found among few.

    Parameters
    ----------
    base : Tensor of shape (n_rows, n_features)
        The rows.
    generator : torch.Generator
        Draws the first centres.
    """

    def __init__(self, base: Tensor, generator: torch.Generator) -> None:
        self._base = base
        drawn = torch.randperm(len(base), generator=generator, device=base.device)
        some = base[drawn[:N_TRAINING_ROWS]]
        self._centers = lloyd(some, math.isqrt(len(base)), generator)
        own = nearest_of(base, self._centers)
        counts = own.bincount(minlength=len(self._centers)).tolist()
        self.members = own.argsort(stable=True).split(counts)
        """Rows of each list, (n_members,) each."""
        self._near = torch.cdist(self._centers, self._centers).argsort(1).tolist()

    def candidates(self, own: int, n_probes: int) -> Tensor:
        """Return the rows in the lists nearest to one, itself included."""
        return torch.cat([self.members[i] for i in self._near[own][:n_probes]])

    def nearest(self, queries: Tensor) -> Tensor:
        """Return the row nearest to each query, or nearly so, (n_queries,).

        Parameters
        ----------
        queries : Tensor of shape (n_queries, n_features)
            Best thousands at a time: those of a list are searched for together.
        """
        own = nearest_of(queries, self._centers)
        order = own.argsort(stable=True)
        result = torch.empty_like(own)
        counts = own.bincount(minlength=len(self._centers)).tolist()
        for i, rows in enumerate(order.split(counts)):
            if len(rows):
                near = self.candidates(i, N_PROBES_OF_ONE)
                result[rows] = near[nearest_of(queries[rows], self._base[near])]
        return result


def nearest_of(queries: Tensor, base: Tensor) -> Tensor:
    """Return the position in `base` of the row nearest to each query, exactly."""
    norm = base.square().sum(1)
    blocks = queries.split(BLOCK_SIZE)
    return torch.cat([torch.addmm(norm, q, base.T, alpha=-2).argmin(1) for q in blocks])


def lloyd(
    x: Tensor, n_centers: int, generator: torch.Generator, n_iter: int = 10
) -> Tensor:
    """Return the centres of k-means, from random rows; those without rows go."""
    start = torch.randperm(len(x), generator=generator, device=x.device)
    centers = x[start[:n_centers]]
    for _ in range(n_iter):
        own = nearest_of(x, centers)
        count = own.bincount(minlength=len(centers))
        total = torch.zeros_like(centers).index_add_(0, own, x)
        centers = (total / count[:, None])[count > 0]
    return centers


def _search(
    x: Tensor, queries: Tensor, base: Tensor, candidates: Tensor, n_neighbors: int
) -> tuple[Tensor, Tensor]:
    """Find the nearest rows of `base` for each row of x, but for itself.

    `queries` and `candidates` say which samples these are.
    """
    indices, distances = [], []
    norm = base.square().sum(1)
    for q, rows in zip(x.split(BLOCK_SIZE), queries.split(BLOCK_SIZE), strict=True):
        # But for the norm of the query, which doesn't matter to the order.
        square = torch.addmm(norm, q, base.T, alpha=-2)
        nearest = square.topk(n_neighbors + 1, largest=False)
        index = candidates[nearest.indices]
        # A row is its own nearest neighbour, or one among duplicates.
        own = (index == rows[:, None]).to(torch.uint8)
        own[:, -1] += own.sum(1, dtype=torch.uint8) == 0
        others = own.argsort(dim=1, stable=True)[:, :-1]
        square = nearest.values.gather(1, others) + q.square().sum(1)[:, None]
        indices.append(index.gather(1, others))
        distances.append(square.clamp(min=0).sqrt())
    return torch.cat(indices), torch.cat(distances)
