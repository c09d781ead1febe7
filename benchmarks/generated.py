"""Generated data: Gaussians, images of squares and wide counts, with their clusters."""

from __future__ import annotations

import numpy as np

__all__ = ["make_counts", "make_gaussians", "make_squares", "make_unbalanced"]


def make_gaussians(
    n: int, n_features: int = 50, n_clusters: int = 20, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Generate rows of Gaussians with unit variance."""
    rng = np.random.default_rng(seed)
    centers = 3.0 * rng.standard_normal((n_clusters, n_features), dtype=np.float32)
    noise = rng.standard_normal((n, n_features), dtype=np.float32)
    y = rng.integers(n_clusters, size=n)
    return centers[y] + noise, y


def make_unbalanced(ratio: int) -> tuple[np.ndarray, np.ndarray]:
    """Generate eight Gaussians in ten dimensions, with sizes from 1 to ratio."""
    rng = np.random.default_rng(0)
    share = np.geomspace(1, ratio, 8)
    y = np.repeat(np.arange(8), np.maximum(5, 1500 * share / share.sum()).astype(int))
    centers = 2.2 * rng.standard_normal((8, 10))
    return centers[y] + rng.standard_normal((len(y), 10)), y


def make_squares(
    n: int, side: int, n_clusters: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Generate noisy images of squares of 4 x 4 equal pixels, with values in [0, 1]."""
    rng = np.random.default_rng(0)
    squares = rng.random((n_clusters, side // 4, side // 4), dtype=np.float32)
    prototypes = squares.repeat(4, axis=1).repeat(4, axis=2).reshape(n_clusters, -1)
    X = 0.2 * rng.standard_normal((n, side**2), dtype=np.float32)
    y = rng.integers(n_clusters, size=n)
    return (X + prototypes[y]).clip(0, 1), y


def make_counts(
    n: int, n_features: int, n_clusters: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Generate Poisson counts, of which 97% are 0."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(1.0, 0.03, (n_clusters, n_features))
    y = rng.integers(n_clusters, size=n)
    return np.stack([rng.poisson(rates[k]) for k in y]).astype(np.float32), y
