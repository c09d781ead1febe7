"""Settings and data that several files share."""

import numpy as np
from numpy.testing import assert_equal

QUICK = {"max_iter": 8, "hidden_dim": 16, "random_state": 0}
"""Settings of a fit that takes a fraction of a second."""

METHODS = ["predict", "predict_proba", "transform", "score_samples", "reconstruct"]
"""Methods that map rows to rows."""


def assert_same(one, other, X):
    """Check that two estimators are the same to the bit."""
    for name in ("labels_", "linkage_matrix_", "history_", "n_samples_seen_", "_seed"):
        assert_equal(getattr(one, name), getattr(other, name))
    for name in ("weight", "height", "p_values"):
        assert_equal(getattr(one.dendrogram_, name), getattr(other.dendrogram_, name))
    for method in METHODS:
        assert_equal(getattr(one, method)(X), getattr(other, method)(X))


def make_images(n_channels, n=90):
    """Return noisy images of three kinds, (n, channels, 16, 16), in [0, 1]."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    kinds = (rng.random((3, n_channels, 16, 16)) > 0.5).astype(float)
    return np.clip(kinds[y] + 0.2 * rng.standard_normal((n, *kinds[0].shape)), 0, 1), y
