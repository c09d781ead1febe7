import matplotlib.pyplot as plt
import pytest

from sktreevae import Dendrogram


@pytest.fixture
def tree():
    return Dendrogram([-1, 0, 0, 1, 1], [9, 4, 0, 0, 0], [0, 0, 1, 2])


@pytest.fixture
def full_tree():
    """Return a tree whose leaves all have the same depth."""
    return Dendrogram([-1, 0, 0, 1, 1, 2, 2], [9, 4, 3, 0, 0, 0, 0], labels=[])


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")
