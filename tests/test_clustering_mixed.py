"""Tables of numeric and discrete columns."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from sktreevae import TreeVAEClustering

DISCRETE = {
    "noise": lambda rng, y: rng.integers(0, 2, len(y)),
    "rare": lambda rng, y: rng.random(len(y)) < 0.1,
    "one-hot noise": lambda rng, y: np.eye(10)[rng.integers(0, 10, len(y))],
    "ordered noise": lambda rng, y: rng.integers(0, 5, len(y)),
    "informative": lambda rng, y: np.eye(3)[np.where(rng.random(len(y)) < 0.9, y, 0)],
}


@pytest.mark.parametrize("kind", DISCRETE)
def test_discrete_columns_do_not_cut_clusters(kind):
    rng = np.random.default_rng(0)
    X, y = make_blobs(400, n_features=3, centers=3, random_state=0)
    X = np.column_stack([StandardScaler().fit_transform(X), DISCRETE[kind](rng, y)])
    model = TreeVAEClustering(3, max_iter=20, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.9
