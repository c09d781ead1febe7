"""Settings that must be made before torch is imported, and shared fixtures."""

import os

os.environ["MPLBACKEND"] = "Agg"

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

# Tests of the model's parts run beside each other, without the estimator's limit.
torch.set_num_threads(1)
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=40)
settings.register_profile("nightly", deadline=None, max_examples=10_000)
settings.load_profile("suite")


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def data_dir():
    """Return the folder with real data, or skip where there is none."""
    path = Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("no folder with real data")
    return path
