"""Probabilities of clusters: soft where clusters overlap, confident elsewhere."""

import numpy as np
import pytest
from sklearn.datasets import make_moons
from sklearn.metrics import log_loss

from sktreevae import TreeVAEClustering
from sktreevae.exceptions import UnsupportedClustersWarning


def touching_gaussians(n, seed):
    """Return two unit Gaussians two standard deviations apart, y and P(1 | x)."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    X = rng.standard_normal((n, 2))
    X[:, 0] += 2.0 * y
    return X, y, 1 / (1 + np.exp(-2.0 * (X[:, 0] - 1.0)))


NIGHTLY = [
    (growth, seed, bound)
    for growth, bound in (("guided", 0.05), ("iterative", 0.15))
    for seed in (1, 2)
]


@pytest.mark.parametrize(
    ("growth", "seed", "bound"),
    [
        ("guided", 0, 0.05),
        *(pytest.param(*case, marks=pytest.mark.nightly) for case in NIGHTLY),
    ],
)
def test_overlapping_gaussians_have_nearly_the_true_probabilities(growth, seed, bound):
    X, y, _ = touching_gaussians(1000, seed)
    new, y_new, truth = touching_gaussians(4000, seed + 100)
    # Held-out samples don't support clusters that overlap so much.
    with pytest.warns(UnsupportedClustersWarning):
        model = TreeVAEClustering(2, growth=growth, random_state=0).fit(X)
    first = int(np.mean(model.labels_ == y) > 0.5)
    proba = model.predict_proba(new)[:, first]
    assert log_loss(y_new, proba) - log_loss(y_new, truth) < bound


def test_moons_are_told_apart_with_confidence():
    X, y = make_moons(1000, noise=0.05, random_state=0)
    proba = TreeVAEClustering(2, random_state=0).fit(X).predict_proba(X)
    accuracy = np.mean(proba.argmax(axis=1) == y)
    assert max(accuracy, 1 - accuracy) == 1.0
    assert proba.max(axis=1).mean() > 0.98
