import numpy as np
import pytest
from scipy import sparse

from sktreevae import preprocessing
from sktreevae.preprocessing import resolve_likelihood, standardisation


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(preprocessing, "CHUNK_SIZE", 7)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, sparse.csr_matrix])
def test_moments_are_those_of_the_whole(make, rng):
    X = rng.standard_normal((40, 3)) * (rng.random((40, 3)) > 0.5)
    center, scale = standardisation(make(X), "gaussian")
    np.testing.assert_allclose(center, X.mean(axis=0))
    np.testing.assert_allclose(scale, X.std(axis=0))


def test_bernoulli_data_stays_as_it_is():
    center, scale = standardisation(np.full((3, 2), 0.5), "bernoulli")
    assert center.tolist() == [0, 0]
    assert scale.tolist() == [1, 1]


def test_constant_features_are_not_scaled():
    assert standardisation(np.full((9, 1), 5.0), "gaussian")[1].tolist() == [1.0]


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.0, 1.0]], "bernoulli"),
        ([[0.0, 0.0]], "bernoulli"),
        ([[0.5, 0.5]] * 9 + [[0.5, 1.5]], "gaussian"),
        ([[0.5, 0.5]] * 9 + [[0.5, -0.5]], "gaussian"),
    ],
)
def test_auto_follows_the_range(make, values, expected):
    assert resolve_likelihood(make(values), "auto") == expected
    assert resolve_likelihood(make(values), "gaussian") == "gaussian"


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_ranges_of_all_types_are_found(dtype):
    assert resolve_likelihood(np.ones((3, 2), dtype=dtype), "auto") == "bernoulli"


def test_images_are_standardised_as_a_whole(rng):
    X = 255 * rng.random((40, 6)) * np.arange(6)
    center, scale = standardisation(X, "gaussian", as_a_whole=True)
    np.testing.assert_allclose(center, X.mean())
    np.testing.assert_allclose(scale, X.std())
    center, scale = standardisation(np.full((4, 3), 7.0), "gaussian", as_a_whole=True)
    assert (center == 7).all()
    assert (scale == 1).all()
