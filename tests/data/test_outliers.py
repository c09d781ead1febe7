import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.data import DataOptions, DataSummary, TrainingData
from sktreevae.data.outliers import FeatureBounds


def prepare(X, **options):
    generators = torch.Generator().manual_seed(0), np.random.default_rng(0)
    return TrainingData.prepare(X, DataOptions(**options), *generators)


@given(st.integers(1, 300), st.integers(0, 99))
def test_bounds_are_a_range_beyond_the_extremes(n, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    bounds = FeatureBounds.from_matrix(X, rng)
    extreme = min(4, n // 20)
    ordered = np.sort(X, axis=0)
    low, high = ordered[extreme], ordered[n - 1 - extreme]
    if n == 1:
        assert np.isinf([bounds.low, bounds.high]).all()
    else:
        np.testing.assert_allclose(bounds.low, low - 3 * (high - low))
        np.testing.assert_allclose(bounds.high, high + 3 * (high - low))


@pytest.mark.parametrize("n", [5, 20, 100, 1000, 20_000])
def test_normal_data_and_groups_in_any_order_have_no_outliers(n, rng):
    rows = np.arange(n)
    shifts = [0.0 * rows]
    if n == 1000:  # all of which are read
        shifts += [1000.0 * (rows < 5)]
    if n == 20_000:
        shifts += [60.0 * (rows % period > 0) for period in (2, 3, 7)]
        shifts += [60.0 * (rows > n / part) for part in (2, 3, 7)]
    for shift in shifts:
        X = rng.standard_normal((n, 4)) + shift[:, None]
        assert FeatureBounds.from_matrix(X, rng).excess(X).max() <= 0


def test_features_of_few_values_have_the_bounds_of_the_longest_range(rng):
    X = np.zeros((100, 2))
    X[:3, 0] = 1.0
    X[:5, 1] = 1.0
    bounds = FeatureBounds.from_matrix(X, rng)
    assert (bounds.low.tolist(), bounds.high.tolist()) == ([-3, -3], [3, 4])


def test_without_any_range_there_are_no_bounds(rng):
    bounds = FeatureBounds.from_matrix(np.ones((100, 2)), rng)
    assert bounds.low.tolist() == [-np.inf, -np.inf]
    assert bounds.high.tolist() == [np.inf, np.inf]


@pytest.mark.parametrize("value", [1e3, 1e6, -1e20, 1e100])
def test_moments_leave_outliers_out(value, rng):
    X = rng.standard_normal((100, 3))
    X[7, 1] = value
    bounds = FeatureBounds.from_matrix(X, rng)
    summary = DataSummary.from_matrix(X, chunk_size=9, bounds=bounds)
    (outlier,) = summary.outliers
    assert (outlier.sample, outlier.feature, outlier.value) == (7, 1, value)
    X[7, 1] = np.nan
    np.testing.assert_allclose(summary.mean, np.nanmean(X, axis=0), atol=1e-12)
    np.testing.assert_allclose(summary.std, np.nanstd(X, axis=0))
    deviation = np.nanmax(np.abs(X - summary.mean), axis=0)
    np.testing.assert_allclose(summary.deviation, deviation)


def test_the_furthest_value_of_each_feature_is_kept(rng):
    X = rng.standard_normal((100, 3))
    X[[7, 50, 90], 1] = 1e3, -1e5, 1e4
    X[8, 2] = 1e3
    bounds = FeatureBounds.from_matrix(X, rng)
    summary = DataSummary.from_matrix(X, chunk_size=9, bounds=bounds)
    found = {(v.sample, v.feature, v.value) for v in summary.outliers}
    assert found == {(50, 1, -1e5), (8, 2, 1e3)}


@pytest.mark.parametrize("value", [1e3, 1e20])
def test_outliers_are_clipped_in_samples_and_features(value, rng):
    X = rng.standard_normal((100, 3))
    X[7, 1] = value
    data = prepare(X)
    high = (data.summary.bounds.high - data.summary.mean) / data.summary.std
    assert data.samples[:][7, 1] == pytest.approx(high[1], rel=1e-5)
    others = np.delete(np.arange(100), 7)
    restored = data.standardizer.inverse_transform(data.samples[:])
    np.testing.assert_allclose(restored[others], X[others], atol=1e-5)
    assert data.features[:].abs().max() < 20


def test_images_are_not_clipped(rng):
    X = rng.standard_normal((100, 64))
    X[7, 1] = 1e3
    data = prepare(X, image_shape=(8, 8))
    restored = data.standardizer.inverse_transform(data.samples[:])
    assert restored[7, 1] == pytest.approx(1e3)
