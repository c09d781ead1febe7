"""Data and fitted models of several files. A test that changes a model copies it."""

import copy

import pytest
from sklearn.datasets import load_digits, load_iris, make_blobs

from sktreevae import TreeVAEClustering

from .cases import QUICK


@pytest.fixture(scope="session")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:300], y[:300]


@pytest.fixture(scope="session")
def iris():
    return load_iris(return_X_y=True, as_frame=True)


@pytest.fixture(scope="session")
def blobs():
    """Return four clusters in two pairs."""
    centers = [[0, 0], [0, 5], [20, 0], [20, 5]]
    return make_blobs(200, centers=centers, cluster_std=0.5, random_state=0)


@pytest.fixture(scope="session")
def model(digits):
    """Return a model of the digits with default settings."""
    return TreeVAEClustering(6, random_state=0).fit(digits[0])


@pytest.fixture(scope="session")
def default_blobs(blobs):
    """Return a model with default settings, in which clusters are as good as can be."""
    return TreeVAEClustering(4, random_state=0).fit(blobs[0])


@pytest.fixture(scope="session")
def quick_blobs(blobs):
    return TreeVAEClustering(4, **QUICK).fit(blobs[0])


@pytest.fixture
def blob_model(quick_blobs):
    """Return a copy that a test may change."""
    return copy.deepcopy(quick_blobs)
