"""Where to cut a set of samples in two: a normalised cut of its neighbour graph."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor

from .batches import Features, map_blocks

__all__ = ["propose_split"]

N_LANDMARKS = 2000
N_NEIGHBORS = 10
N_VOTES = 5
DENSE_LIMIT = 100
BACKGROUND = 0.001
"""Total weight of all pairs that are no neighbours, relative to the neighbours'."""


def propose_split(
    x: Tensor | Features, min_fraction: float, generator: torch.Generator
) -> Tensor:
    """Propose which samples go left and which go right.

    The sets are those of the smallest normalised cut (Shi and Malik 2000) along the
    second eigenvector of the neighbour graph: few neighbours are separated, in
    relation to the smaller set. Beyond `N_LANDMARKS` samples, a random choice of them
    is cut, and the others follow their nearest neighbours among it.

    Parameters
    ----------
    x : Tensor of shape (n_members, n_features)
        The samples to split, two or more.
    min_fraction : float
        Least fraction of the samples on each side.
    generator : torch.Generator
        Draws the landmarks.

    Returns
    -------
    left : Tensor of bool of shape (n_members,)
        Which of them go left: all, where nothing tells them apart.
    """
    if len(x) <= N_LANDMARKS:
        return _cut_distinct(x[:], min_fraction)
    order = torch.randperm(len(x), generator=generator, device=x.device)
    landmarks = x[order[:N_LANDMARKS]]
    left = _cut_distinct(landmarks, min_fraction).to(landmarks)

    def vote(x: Tensor) -> Tensor:
        nearest = torch.cdist(x, landmarks).topk(N_VOTES, largest=False).indices
        return left[nearest].mean(1)

    return map_blocks(vote, x) > 0.5


def _cut_distinct(x: Tensor, min_fraction: float) -> Tensor:
    """Cut the neighbour graph of some rows; equal ones stay together."""
    rows, row_of_sample = torch.unique(x, dim=0, return_inverse=True)
    if len(rows) == 1:
        return torch.ones(len(x), dtype=torch.bool, device=x.device)
    left = torch.from_numpy(_cut(_affinity(rows), min_fraction))
    return left.to(x.device)[row_of_sample]


def _affinity(x: Tensor) -> np.ndarray:
    """Weights of a symmetric neighbour graph, with a faint background.

    The background is a wide heat kernel. It connects every pair, so that groups
    without a common neighbour still are nearer to or farther from each other.
    """
    # On the CPU, where all devices' numbers can be of double precision.
    distance = torch.cdist(x, x).cpu().double()
    n_neighbors = min(N_NEIGHBORS, len(x) - 1)
    others = distance.clone().fill_diagonal_(torch.inf)
    nearest = others.topk(n_neighbors, largest=False).indices
    graph = torch.zeros_like(distance).scatter_(1, nearest, 1.0)
    graph = torch.maximum(graph, graph.T)
    width = distance.mean().clamp(min=torch.finfo(torch.float64).tiny)
    kernel = torch.exp(-0.5 * (distance / width).square())
    graph += BACKGROUND * graph.sum() / kernel.sum() * kernel
    return graph.numpy()


def _cut(affinity: np.ndarray, min_fraction: float) -> np.ndarray:
    """Cut a graph where the order of its second eigenvector makes it cheapest."""
    n = len(affinity)
    volume = affinity.sum(axis=1)
    scale = 1.0 / np.sqrt(volume)
    normalised = affinity * scale[:, None] * scale
    second = _second_eigenvector(normalised)
    order = np.argsort(second * scale, kind="stable")
    # After k samples in this order: the weight inside them, and what leads out.
    inside = affinity[np.ix_(order, order)]
    inside = np.cumsum(2 * np.tril(inside, -1).sum(axis=1) + np.diag(inside))
    volume = np.cumsum(volume[order])
    smaller = np.minimum(volume, volume[-1] - volume)[:-1]
    cost = (volume - inside)[:-1] / smaller
    margin = min(max(round(min_fraction * n), 1), n // 2)
    position = margin - 1 + np.argmin(cost[margin - 1 : n - margin])
    left = np.zeros(n, dtype=bool)
    left[order[: position + 1]] = True
    return left


def _second_eigenvector(matrix: np.ndarray) -> np.ndarray:
    """Return the eigenvector of the second largest eigenvalue of a symmetric matrix."""
    n = len(matrix)
    if n <= DENSE_LIMIT:
        return np.linalg.eigh(matrix)[1][:, -2]
    # A fixed start: the result must depend on nothing but the matrix.
    start = np.random.default_rng(0).standard_normal(n)
    return eigsh(matrix, k=2, which="LA", v0=start, tol=1e-5)[1][:, 0]
