import re

import numpy as np
import pytest
from scipy import sparse

from sktreevae import sources
from sktreevae.preprocessing import (
    COUNT_LIKELIHOODS,
    resolve_likelihood,
    standardisation,
)
from sktreevae.validation import InvalidParameterError


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_SIZE", 7)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, sparse.csr_matrix])
def test_moments_are_those_of_the_whole(make, rng):
    X = rng.standard_normal((40, 3)) * (rng.random((40, 3)) > 0.5)
    center, scale = standardisation(make(X), "gaussian")
    np.testing.assert_allclose(center, X.mean(axis=0))
    np.testing.assert_allclose(scale, X.std(axis=0))


@pytest.mark.parametrize("likelihood", ["bernoulli", *COUNT_LIKELIHOODS])
def test_data_of_other_likelihoods_stays_as_it_is(likelihood):
    center, scale = standardisation(np.ones((3, 2)), likelihood)
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


def test_counts_are_never_guessed(rng):
    assert resolve_likelihood(rng.poisson(3.0, (40, 3)), "auto") == "gaussian"


@pytest.mark.parametrize("likelihood", COUNT_LIKELIHOODS)
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_whole_numbers_are_counts(likelihood, make, dtype):
    X = make(np.array([[0, 3], [200, 0]], dtype=dtype))
    assert resolve_likelihood(X, likelihood) == likelihood


def test_a_sparse_matrix_of_zeros_has_counts():
    assert resolve_likelihood(sparse.csr_array((40, 3)), "poisson") == "poisson"


@pytest.mark.parametrize("likelihood", COUNT_LIKELIHOODS)
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("value", [0.5, -3.0, 2.0**24 + 2])
def test_other_values_are_no_counts(likelihood, make, value):
    X = np.ones((40, 3))
    X[30, 1] = value
    message = (
        f"likelihood='{likelihood}' needs counts, whole numbers from 0 to 16777216, "
        f"but X has the value {value:.17g}. Pass counts that aren't normalised or "
        "transformed, or use 'gaussian'."
    )
    with pytest.raises(InvalidParameterError, match=re.escape(message)):
        resolve_likelihood(make(X), likelihood)


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
