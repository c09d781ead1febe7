import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sktreevae import Dendrogram, TreeVAEClustering


@pytest.fixture
def tree():
    return Dendrogram([-1, 0, 0, 1, 1], [9, 4, 0, 0, 0], [0, 0, 1, 2])


@pytest.fixture
def full_tree():
    """Return a tree whose leaves all have the same depth."""
    return Dendrogram([-1, 0, 0, 1, 1, 2, 2], [9, 4, 3, 0, 0, 0, 0], labels=[])


@pytest.fixture(scope="session")
def rows():
    """Return three groups of different ages; the last one has other sizes, too."""
    rng = np.random.default_rng(0)
    means = np.repeat([[10.0, 5.0], [20.0, 5.0], [40.0, 90.0]], 80, axis=0)
    return pd.DataFrame(rng.normal(means), columns=["age", "size"])


@pytest.fixture(scope="session")
def fitted(rows):
    """Return an estimator that knows the three groups."""
    return TreeVAEClustering(n_clusters=3, random_state=0).fit(rows)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")
