"""Settings and data that several files share."""

import numpy as np

QUICK = {"max_iter": 8, "hidden_dim": 16, "random_state": 0}
"""Settings of a fit that takes a fraction of a second."""

METHODS = ["predict", "predict_proba", "transform", "score_samples", "reconstruct"]
"""Methods that map rows to rows."""


def make_images(n_channels, n=90):
    """Return noisy images of three kinds, (n, channels, 16, 16), in [0, 1]."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    kinds = (rng.random((3, n_channels, 16, 16)) > 0.5).astype(float)
    return np.clip(kinds[y] + 0.2 * rng.standard_normal((n, *kinds[0].shape)), 0, 1), y
