"""The fuzzy neighbor graph of UMAP, and its embedding in few dimensions."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.linalg import eigsh
from torch import Tensor
from torch.nn import functional as F

from ..utils.limits import MAX_DENSE_ROWS
from .neighbors import neighbor_matrix

N_EPOCHS = 60
"""Number of updates of all positions."""

N_NEGATIVE_SAMPLES = 10
"""Random other samples that repel each sample in an epoch."""

REPULSION = 5.0
"""Weight of the repulsion relative to the attraction by neighbors, as in UMAP."""

MAX_FORCE = 4.0
"""Limit of the repulsion along each dimension, as in UMAP."""


def fuzzy_graph(index: Tensor, distance: Tensor) -> sparse.csr_array:
    """Weight the edges of a neighbor graph and make it symmetric, as UMAP does.

    The nearest neighbor has weight 1, others have exp(-(d - d_nearest) / s). The scale
    s of each sample makes the sum of its weights log2(k), so that the graph doesn't
    depend on density. An edge is kept if it exists in at least one direction, with
    weight a + b - ab.

    Parameters
    ----------
    index, distance : Tensor of shape (n_samples, k)
        Neighbors of each sample and their distances, nearest first.
    """
    # On the CPU, since some devices lack double precision.
    distance = distance.cpu().double()
    excess = distance - distance[:, :1]
    tiny = torch.finfo(torch.float64).tiny
    min_scale = 1e-3 * distance.mean().clamp(min=tiny)
    low = min_scale.expand(len(index)).clone()
    high = index.shape[1] * distance[:, -1].clamp(min=float(min_scale))
    for _ in range(32):
        middle = (low * high).sqrt()
        too_wide = (-excess / middle[:, None]).exp().sum(1) > np.log2(index.shape[1])
        high = torch.where(too_wide, middle, high)
        low = torch.where(too_wide, low, middle)
    weight = (-excess / high[:, None]).exp().numpy()
    graph = neighbor_matrix(index.cpu().numpy(), weight)
    both = graph + graph.T - graph * graph.T
    return both.tocsr()


def embed_graph(
    graph: sparse.csr_array,
    generator: torch.Generator,
    *,
    n_dimensions: int = 5,
    max_dense_samples: int = MAX_DENSE_ROWS,
) -> Tensor:
    """Embed samples so that neighbors are near each other and others far.

    Samples attract their neighbors and repel random others with the forces of a Cauchy
    kernel. They start from the leading eigenvectors of the graph. This is the algorithm
    of UMAP, with all forces of an epoch applied at once.

    Parameters
    ----------
    graph : sparse array of shape (n_samples, n_samples)
        Weights of the edges, symmetric.
    generator : torch.Generator
        Draws the negative samples. The embedding is computed on its device.
    n_dimensions : int, default=5
        Number of dimensions of the embedding; fewer if there are few samples.
    max_dense_samples : int, default=MAX_DENSE_ROWS
        Maximum number of samples whose eigenvectors are computed from a dense matrix.

    Returns
    -------
    y : Tensor of float32 of shape (n_samples, n_dimensions)
        The embedding.
    """
    device = generator.device
    n = graph.shape[0]
    vectors = _eigenvectors(graph, n_dimensions, max_dense_samples)
    y = torch.from_numpy(vectors).float().to(device)
    y = 10 * y / y.abs().max()
    y = y + 0.01 * torch.randn(
        y.shape, generator=generator, device=device, dtype=torch.float32
    )
    # Sums over a first axis of few dimensions are fast.
    y = y.T.contiguous()
    weight = torch.from_numpy(graph.data).float().to(device)
    column = torch.from_numpy(graph.indices).long().to(device)
    start = torch.from_numpy(graph.indptr).long().to(device)
    row = torch.arange(n, device=device).repeat_interleave(start.diff())
    degree = torch.from_numpy(graph.sum(axis=1)).float().to(device)
    repulsion_weight = (REPULSION / N_NEGATIVE_SAMPLES) * degree
    for epoch in range(N_EPOCHS):
        step_size = 1 - epoch / N_EPOCHS
        square = (y.index_select(1, row) - y.index_select(1, column)).square_().sum(0)
        attraction = 2 * weight / (1 + square)
        # The sum of the attraction by neighbors of their positions, and of one.
        values = torch.cat([y, torch.ones_like(y[:1])]).T.contiguous()
        sums = F.embedding_bag(
            column, values, start[:-1], mode="sum", per_sample_weights=attraction
        )
        force, total = sums.T.contiguous().split([len(y), 1])
        force = (force - total * y).clamp(-10 * MAX_FORCE, 10 * MAX_FORCE)
        others = torch.randint(
            n, (N_NEGATIVE_SAMPLES * n,), generator=generator, device=device
        )
        force += repulsion_weight * _repulsion(y, others)
        # Without the division, the attraction of all neighbors at once overshoots.
        y = y + step_size * force / (1 + step_size * total)
    return y.T.contiguous()


def _repulsion(y: Tensor, others: Tensor) -> Tensor:
    """Return the sum of the forces by which others repel each sample.

    Parameters
    ----------
    y : Tensor of shape (n_dimensions, n_samples)
        Positions.
    others : Tensor of int of shape (n_others * n_samples,)
        The other samples, the first of each sample before the second.
    """
    difference = y[:, None] - y.index_select(1, others).view(len(y), -1, y.shape[1])
    square = difference.square().sum(0)
    force = difference.mul_(2 / ((0.001 + square) * (1 + square)))
    return force.clamp_(-MAX_FORCE, MAX_FORCE).sum(1)


def _eigenvectors(
    graph: sparse.csr_array, n_dimensions: int, max_dense_samples: int
) -> np.ndarray:
    """Return the leading eigenvectors of the normalized graph without the first."""
    n = graph.shape[0]
    n_vectors = max(1, min(n_dimensions, n - 2))
    scale = sparse.diags_array(1 / np.sqrt(graph.sum(axis=1)))
    normalized = scale @ graph @ scale
    if n <= max_dense_samples:
        last = [n - n_vectors - 1, n - 1]
        vectors = eigh(normalized.toarray(), subset_by_index=last)[1]
    else:
        # A fixed start: the result depends on nothing but the graph.
        start = np.random.default_rng(0).standard_normal(n)
        vectors = eigsh(normalized, k=n_vectors + 1, which="LA", v0=start, tol=1e-3)[1]
    return vectors[:, -n_vectors - 1 : -1].copy()
