import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from sktreevae.data import DataSummary, Standardizer, resolve_likelihood
from sktreevae.data.outliers import FeatureBounds
from sktreevae.exceptions import InvalidParameterError
from sktreevae.model.likelihoods import LIKELIHOODS, MAX_COUNT

from ..utils.processes import in_threads
from .cases import MAKERS

COUNTS = [name for name, cls in LIKELIHOODS.items() if cls.is_count]


def summary_of(X):
    """Return the summary of X, read in many chunks."""
    return DataSummary.from_matrix(X, chunk_size=7)


def find_bounds(X):
    return FeatureBounds.from_matrix(X, np.random.default_rng(0))


def resolve(X, likelihood):
    return resolve_likelihood(summary_of(X), likelihood)


def standardizer_of(X, likelihood="gaussian", as_a_whole=False):
    return Standardizer.fit(summary_of(X), likelihood, as_a_whole)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("whole", [False, True])
def test_statistics_are_those_of_the_whole(kind, whole, rng, tmp_path):
    X = 9 * rng.standard_normal((40, 3)) * (rng.random((40, 3)) > 0.5)
    X = np.round(X) if whole else X
    summary = summary_of(MAKERS[kind](X, tmp_path))
    assert (summary.n_samples, summary.n_features) == X.shape
    assert (summary.low, summary.high) == (X.min(), X.max())
    assert summary.n_nonzero == np.count_nonzero(X)
    assert (summary.fractional_value is None) == (whole)
    np.testing.assert_allclose(summary.mean, X.mean(axis=0))
    np.testing.assert_allclose(summary.var, X.var(axis=0))
    np.testing.assert_allclose(summary.std, X.std(axis=0))
    deviation = np.abs(X - X.mean(axis=0)).max(axis=0)
    np.testing.assert_allclose(summary.deviation, deviation)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_values_whose_squares_overflow_are_refused(make):
    with pytest.raises(ValueError, match=r"too large to standardize.*at most 1e\+150"):
        summary_of(make([[0.0, -1e151]]))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_likelihood_says_whether_data_are_standardized(likelihood, rng):
    standardizer = standardizer_of(rng.poisson(3.0, (9, 2)), likelihood)
    is_identity = not LIKELIHOODS[likelihood].standardize
    assert (standardizer.center.tolist() == [0, 0]) == is_identity
    assert (standardizer.scale.tolist() == [1, 1]) == is_identity
    assert (standardizer.log_det == 0) == is_identity


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_rare_large_values_are_scaled_to_five(make):
    X = np.zeros((900, 2))
    X[0] = 7.0, -7.0
    Z = standardizer_of(make(X)).transform(X)
    np.testing.assert_allclose(np.abs(Z).max(axis=0), 5.0)


def test_outliers_of_constant_features_are_clipped_to_five(rng):
    X = np.c_[rng.standard_normal(1000), np.zeros((1000, 2))]
    X[5, 2] = 1e6
    summary = DataSummary.from_matrix(X, bounds=find_bounds(X))
    standardizer = Standardizer.fit(summary, "gaussian")
    Z = standardizer.transform(X).clip(standardizer.low, standardizer.high)
    assert Z.shape == (1000, 2)
    np.testing.assert_allclose(Z[5, 1], 5.0)
    assert not np.delete(Z[:, 1], 5).any()


def test_images_are_standardized_as_a_whole(rng):
    X = 255 * rng.random((40, 6)) * np.arange(6)
    summary = DataSummary.from_matrix(X, columns=slice(None))
    standardizer = Standardizer.fit(summary, "gaussian", as_a_whole=True)
    assert standardizer.transform(X).shape == X.shape
    np.testing.assert_allclose(standardizer.center, X.mean())
    np.testing.assert_allclose(standardizer.scale, X.std())
    standardizer = standardizer_of(np.full((4, 3), 7.0), as_a_whole=True)
    assert (standardizer.center == 7).all()
    assert (standardizer.scale == 1).all()


@pytest.mark.parametrize(
    ("convert", "dtype"),
    [
        (lambda X: X, np.float64),
        (lambda X: X.astype(np.float32), np.float64),
        (lambda X: X.astype(np.int64), np.float64),
        (torch.from_numpy, torch.float64),
        (lambda X: torch.from_numpy(X).float(), torch.float32),
    ],
)
def test_arrays_become_float64_and_tensors_keep_their_type(convert, dtype, rng):
    X = np.round(9 * rng.standard_normal((40, 3)))
    rows = convert(X)
    standardizer = standardizer_of(X)
    result = standardizer.transform(rows)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, (X - X.mean(axis=0)) / X.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(standardizer.inverse_transform(result), X, atol=1e-5)
    assert np.array_equal(rows, X)
    assert standardizer.log_det == pytest.approx(np.log(X.std(axis=0)).sum())


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.0, 1.0]], "bernoulli"),
        ([[0.0, 0.0]], "bernoulli"),
        ([[0.0, 3.0]], "gaussian"),  # counts are never guessed
        ([[0.5, 0.5]] * 9 + [[0.5, 1.5]], "gaussian"),
        ([[0.5, 0.5]] * 9 + [[0.5, -0.5]], "gaussian"),
        # Rounding errors of 0 and of 1, as scalers make them.
        ([[0.0, 1.0 + 2.3e-16]], "bernoulli"),
        ([[-1e-17, 1.0]], "bernoulli"),
        ([[0.0, 1.0 + 2e-6]], "gaussian"),
        ([[-2e-6, 1.0]], "gaussian"),
        # Not rounding errors: they are as large as all values.
        ([[-1e-9, 1e-9]], "gaussian"),
        ([[-1e-9, 0.0]], "gaussian"),
        ([[0.0, 1e-9]], "gaussian"),
    ],
)
def test_auto_follows_the_range(make, values, expected):
    assert resolve(make(values), "auto") == expected
    assert resolve(make(values), "gaussian") == "gaussian"


@pytest.mark.parametrize("likelihood", COUNTS)
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, sparse.csr_matrix])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_whole_numbers_are_counts(likelihood, make, dtype):
    X = make(np.array([[0, 3], [200, 0]], dtype=dtype))
    assert resolve(X, likelihood) == likelihood


WHOLE = "counts, whole numbers from 0 to 16777216"
NOT_NORMALIZED = "Pass counts that aren't normalized or transformed"


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    ("likelihood", "value", "needed", "remedy"),
    [
        *(("bernoulli", x, "values between 0 and 1", "Scale X to [0, 1]")
          for x in (-0.5, 1.5)),
        *((name, x, WHOLE, NOT_NORMALIZED)
          for name in COUNTS for x in (0.5, -3.0, MAX_COUNT + 2.0)),
    ],
)  # fmt: skip
def test_other_values_are_refused(likelihood, make, value, needed, remedy):
    X = np.ones((40, 3))
    X[30, 1] = value
    message = (
        f"likelihood='{likelihood}' needs {needed}, but X has the value {value:.17g}. "
        f"{remedy}, or fit a model with likelihood='gaussian'."
    )
    with pytest.raises(InvalidParameterError, match=re.escape(message)):
        resolve(make(X), likelihood)


constant_columns = st.lists(
    st.tuples(st.integers(0, 4), st.floats(-1e6, 1e6)), max_size=3
)


def with_constants(X, columns):
    """Return X with constant columns, of (position, value)."""
    for position, value in columns:
        X = np.insert(X, position, value, axis=1)
    return X


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array, torch.from_numpy])
@given(columns=constant_columns)
@settings(max_examples=10)
def test_constant_columns_are_dropped_and_restored(likelihood, make, columns):
    data = np.random.default_rng(0).normal(size=(50, 4))
    X = with_constants(data, columns)
    alone, standardizer = (standardizer_of(x, likelihood) for x in (data, X))
    Z = standardizer.transform(make(X))
    np.testing.assert_allclose(Z, alone.transform(data))
    restored = standardizer.inverse_transform(Z)
    np.testing.assert_allclose(restored, X, rtol=1e-9, atol=1e-9)
    variance = standardizer.restore_variance(np.ones((2, 4)))
    expected = with_constants(
        alone.restore_variance(np.ones((2, 4))), [(i, 0.0) for i, _ in columns]
    )
    np.testing.assert_array_equal(variance, expected)
    assert standardizer.log_det == alone.log_det


@given(columns=constant_columns)
def test_constant_columns_do_not_change_the_summary(columns):
    data = np.random.default_rng(0).normal(size=(50, 4)).round(1)
    data[:, 1:3] = np.eye(2)[np.arange(50) % 2]
    data[7, 0] = 1e3
    alone, summary = (
        DataSummary.from_matrix(X, bounds=find_bounds(X))
        for X in (data, with_constants(data, columns))
    )
    assert summary.outliers == alone.outliers
    assert summary.binary.groups == alone.binary.groups == ((1, 2),)
    for name in ("n_features", "low", "high", "n_nonzero"):
        assert getattr(summary, name) == getattr(alone, name)
    for name in ("mean", "var", "std", "deviation"):
        assert np.array_equal(getattr(summary, name), getattr(alone, name))
    assert np.array_equal(summary.bounds.high, alone.bounds.high)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("likelihood", ["bernoulli", "poisson"])
def test_fractions_in_constant_columns_do_not_count(make, likelihood):
    X = make(with_constants(np.resize(np.eye(3), (30, 3)), [(1, 0.5)]))
    assert resolve(X, likelihood) == likelihood
    assert resolve(X, "auto") == "bernoulli"


def test_columns_that_are_all_constant_are_kept():
    standardizer = standardizer_of(np.full((9, 2), [5.0, 7.0]))
    assert standardizer.center.tolist() == [5.0, 7.0]


# Processes


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("ends", [(30,), (0, 5), (41, 41)])
def test_processes_have_the_statistics_of_all_rows(make, ends, rng):
    X = rng.standard_normal((60, 6))
    X[:, 1] = rng.permutation(np.arange(60) % 2)  # binary
    X[:, 2:4] = np.eye(2)[rng.permutation(np.arange(60) % 2)]  # one-hot
    X[:, 4] = 0.1  # constant
    X[50, 0] = 1e6  # outlier
    X[:41, 5] = 2.0  # constant in some processes
    bounds = None if make is sparse.csr_array else find_bounds(X)
    expected = DataSummary.from_matrix(make(X), bounds=bounds)
    starts = 0, *ends

    def summarize(processes):
        rows = slice(starts[processes.rank], [*ends, 60][processes.rank])
        return DataSummary.from_matrix(
            make(X[rows]), bounds=bounds, processes=processes
        )

    for summary in in_threads(len(starts), summarize):
        for name in ("mean", "var", "std", "constant", "deviation", "low", "high"):
            actual = getattr(summary, name)
            np.testing.assert_allclose(actual, getattr(expected, name), rtol=1e-12)
        for name in ("n_samples", "n_features", "n_nonzero", "outliers"):
            assert getattr(summary, name) == getattr(expected, name)
        assert summary.fractional_value in X
        if bounds is not None:
            assert summary.binary.groups == expected.binary.groups == ((1,), (2, 3))
