"""A neighbour graph, and a layout of it in few dimensions."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import eigsh
from torch import Tensor
from torch.nn import functional as F

__all__ = ["fuzzy_graph", "layout"]

N_DIMENSIONS = 5
N_EPOCHS = 60
N_REPULSIONS = 10
"""Random other samples that push each sample away in an epoch."""

REPULSION = 5.0
"""Weight of the repulsion relative to the attraction by neighbours, as in UMAP."""

LARGEST_PUSH = 4.0
DENSE_LIMIT = 1000
"""Most samples whose eigenvectors are all computed."""


def fuzzy_graph(index: Tensor, distance: Tensor) -> sparse.csr_array:
    """Weigh the edges of a neighbour graph and make it symmetric, as UMAP does.

    The nearest neighbour has weight 1, and others exp(-(d - d_nearest) / s), where s
    makes the sum of the weights log2(k): dense and sparse regions look alike. An edge
    is kept if it exists in at least one direction, with weight a + b - ab.

    Parameters
    ----------
    index, distance : Tensor of shape (n_samples, k)
        Neighbours of each sample and how far they are, nearest first.
    """
    n, k = index.shape
    # On the CPU, where all devices' numbers can be of double precision.
    distance = distance.cpu().double()
    excess = distance - distance[:, :1]
    tiny = torch.finfo(torch.float64).tiny
    least = 1e-3 * distance.mean().clamp(min=tiny)
    low = least.expand(n).clone()
    high = k * distance[:, -1].clamp(min=float(least))
    for _ in range(32):
        middle = (low * high).sqrt()
        too_wide = (-excess / middle[:, None]).exp().sum(1) > np.log2(k)
        high = torch.where(too_wide, middle, high)
        low = torch.where(too_wide, low, middle)
    weight = (-excess / high[:, None]).exp().numpy().ravel()
    starts = np.arange(0, n * k + 1, k)
    graph = sparse.csr_array((weight, index.cpu().numpy().ravel(), starts), (n, n))
    both = graph + graph.T - graph * graph.T
    return both.tocsr()


def layout(graph: sparse.csr_array, generator: torch.Generator) -> Tensor:
    """Place samples so that neighbours are near and others far.

    Samples attract their neighbours and push random others away with the forces of a
    Cauchy kernel, from a start at the leading eigenvectors of the graph: UMAP's
    algorithm, with all forces of an epoch at once.

    Parameters
    ----------
    graph : sparse array of shape (n_samples, n_samples)
        Weights of the edges, symmetric.
    generator : torch.Generator
        Draws who pushes whom, on its device.

    Returns
    -------
    y : Tensor of shape (n_samples, at most N_DIMENSIONS)
        Places.
    """
    device = generator.device
    n = graph.shape[0]
    y = torch.from_numpy(_eigenvectors(graph)).float().to(device)
    y = 10 * y / y.abs().max()
    y = y + 0.01 * torch.randn(y.shape, generator=generator, device=device)
    weight = torch.from_numpy(graph.data).float().to(device)
    column = torch.from_numpy(graph.indices).long().to(device)
    start = torch.from_numpy(graph.indptr).long().to(device)
    row = torch.arange(n, device=device).repeat_interleave(start.diff())
    degree = _sum_rows(weight, start)
    push = (REPULSION / N_REPULSIONS) * degree[:, None]
    for epoch in range(N_EPOCHS):
        pace = 1 - epoch / N_EPOCHS
        square = (y.index_select(0, row) - y.index_select(0, column)).square().sum(1)
        pull = 2 * weight / (1 + square)
        pulls = _sum_rows(pull, start)[:, None]
        force = F.embedding_bag(
            column, y, start[:-1], mode="sum", per_sample_weights=pull
        )
        force = (force - pulls * y).clamp(-10 * LARGEST_PUSH, 10 * LARGEST_PUSH)
        for _ in range(N_REPULSIONS):
            others = torch.randint(n, (n,), generator=generator, device=device)
            difference = y - y.index_select(0, others)
            square = difference.square().sum(1, keepdim=True)
            repulsion = 2 * difference / ((0.001 + square) * (1 + square))
            force += push * repulsion.clamp(-LARGEST_PUSH, LARGEST_PUSH)
        # The pull of all neighbours at once would overshoot without the division.
        y = y + pace * force / (1 + pace * pulls)
    return y


def _sum_rows(values: Tensor, start: Tensor) -> Tensor:
    """Sum values over the rows of a sparse matrix, (n_rows,)."""
    total = F.pad(values.double().cumsum(0), (1, 0))
    return total[start].diff().to(values.dtype)


def _eigenvectors(graph: sparse.csr_array) -> np.ndarray:
    """Return the leading eigenvectors of the normalised graph but for the first."""
    n = graph.shape[0]
    n_vectors = max(1, min(N_DIMENSIONS, n - 2))
    scale = sparse.diags_array(1 / np.sqrt(graph.sum(axis=1)))
    normalised = scale @ graph @ scale
    if n <= DENSE_LIMIT:
        vectors = np.linalg.eigh(normalised.toarray())[1]
    else:
        # A fixed start: the result must depend on nothing but the graph.
        start = np.random.default_rng(0).standard_normal(n)
        vectors = eigsh(normalised, k=n_vectors + 1, which="LA", v0=start, tol=1e-3)[1]
    return vectors[:, -n_vectors - 1 : -1].copy()
