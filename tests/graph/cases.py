"""Data that several modules are tested on."""

import numpy as np


def random_weights(n, seed):
    weight = np.random.default_rng(seed).random((n, n)) ** 4
    weight = weight + weight.T
    return weight / weight.sum()


def nested_gaussians(n=480, seed=0):
    """Eight Gaussians in pairs of pairs."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 8
    bits = np.stack([y & 4, 3 * (y & 2), 20 * (y & 1)], axis=1).astype(float)
    return bits * [3.0, 3.0, 3.0] + rng.standard_normal((n, 3)), y
