"""Generated data: Gaussians, images of squares and wide counts, with their clusters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import make_blobs

__all__ = ["make_counts", "make_gaussians", "make_squares", "make_unbalanced"]

BLOCK_SIZE = 10_000
"""Number of rows that are written at a time."""


def make_gaussians(
    n: int, n_features: int = 50, n_clusters: int = 20, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Generate rows of Gaussians with unit variance."""
    rng = np.random.default_rng(seed)
    centers = 3.0 * rng.standard_normal((n_clusters, n_features), dtype=np.float32)
    noise = rng.standard_normal((n, n_features), dtype=np.float32)
    y = rng.integers(n_clusters, size=n)
    return centers[y] + noise, y


def write_nested(
    path: Path, n: int, n_clusters: int, n_features: int, dtype: str
) -> np.ndarray:
    """Write rows of nested Gaussians block by block; return their levels.

    Clusters are in groups, about as many as a group has clusters. They overlap a
    little, and each has three directions of larger variance.

    Returns
    -------
    levels : ndarray of shape (n, 2)
        Group and cluster of each row.
    """
    rng = np.random.default_rng(0)
    group = np.arange(n_clusters) % round(n_clusters**0.5)
    # Distances don't depend on the number of features.
    scale = np.float32((50 / n_features) ** 0.5)
    shape = n_clusters, n_features
    centers = scale * rng.standard_normal(shape, dtype=np.float32)[group]
    centers += 0.6 * scale * rng.standard_normal(shape, dtype=np.float32)
    factors = 0.4 * scale * rng.standard_normal((3, *shape), dtype=np.float32)
    y = rng.integers(n_clusters, size=n)
    with path.open("wb") as file:
        for cluster in np.array_split(y, -(-n // BLOCK_SIZE)):
            rows = rng.standard_normal((len(cluster), n_features), dtype=np.float32)
            rows += centers[cluster]
            for factor in factors:
                rows += rng.standard_normal((len(rows), 1)) * factor[cluster]
            rows.astype(dtype).tofile(file)
    return np.stack([group[y], y], axis=1)


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


def make_binary(
    n: int, n_features: int, n_clusters: int, high: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Generate columns of 0 and 1, which are 1 with probability high or 1 - high."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_clusters, size=n)
    is_high = rng.random((n_clusters, n_features)) < 0.5
    probability = np.where(is_high, high, 1 - high)
    return (rng.random((n, n_features)) < probability[y]).astype(float), y


MIXED_KINDS = {
    "city and membership, weak": lambda rng, y: [
        one_hot(noisy(rng, y % 3, 0.3, 3)),
        rng.random(len(y)) < 0.3 + 0.3 * (y % 2),
    ],
    "city, weak": lambda rng, y: [one_hot(noisy(rng, y % 3, 0.3, 3))],
    "a binary column of noise": lambda rng, y: [rng.integers(0, 2, len(y))],
    "three binary columns of noise": lambda rng, y: [rng.integers(0, 2, (len(y), 3))],
    "a rare binary column of noise": lambda rng, y: [rng.random(len(y)) < 0.1],
    "five ordered values of noise": lambda rng, y: [rng.integers(0, 5, len(y))],
    "ten one-hot values of noise": lambda rng, y: [
        one_hot(rng.integers(0, 10, len(y)))
    ],
    "an informative binary column": lambda rng, y: [y < 2],
    "four informative one-hot values": lambda rng, y: [one_hot(noisy(rng, y, 0.9, 4))],
    "twelve informative binary columns": lambda rng, y: [
        rng.random((len(y), 12)) < np.where(rng.random((4, 12)) < 0.5, 0.9, 0.1)[y]
    ],
    "three informative ordered values": lambda rng, y: [
        np.clip(y % 3 + rng.integers(-1, 2, len(y)) * (rng.random(len(y)) < 0.2), 0, 2)
    ],
    "a constant and a binary column of noise": lambda rng, y: [
        np.ones(len(y)),
        rng.integers(0, 2, len(y)),
    ],
}
"""Discrete columns, beside three numeric ones, of the kinds of `make_mixed`."""


def one_hot(values: np.ndarray) -> np.ndarray:
    """Return a column of 0 and 1 for each value."""
    return np.eye(values.max() + 1)[values]


def noisy(
    rng: np.random.Generator, y: np.ndarray, share: float, n_values: int
) -> np.ndarray:
    """Return values of which a share is right, and the others are drawn."""
    return np.where(rng.random(len(y)) < share, y, rng.integers(0, n_values, len(y)))


def make_mixed(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Generate four clusters in three standardized columns, and discrete columns."""
    rng = np.random.default_rng(seed)
    numeric, y = make_blobs(
        600, n_features=3, centers=4, cluster_std=1.5, random_state=seed
    )
    numeric = (numeric - numeric.mean(axis=0)) / numeric.std(axis=0)
    return np.column_stack([numeric, *MIXED_KINDS[kind](rng, y)]), y
