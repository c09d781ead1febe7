import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA

from sktreevae.data import DataOptions, TrainingData
from sktreevae.data.kinds.units import (
    column_resolutions,
    density_gain,
    entropy_deviations,
)

from .test_kinds import map_of


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.integers(0, 99))
def test_resolutions_scale_with_the_unit(factor, offset, seed):
    rng = np.random.default_rng(seed)
    X = 0.1 * rng.integers(0, 60, (100, 2)) * [1, 3]
    expected = column_resolutions(X)
    np.testing.assert_allclose(expected, [0.1, 0.3])
    actual = column_resolutions(factor * X + offset)
    np.testing.assert_allclose(actual, factor * expected, rtol=1e-6)


def test_continuous_and_constant_columns_have_no_resolution(rng):
    X = np.column_stack([rng.standard_normal(300), np.ones(300)])
    assert np.isnan(column_resolutions(X)).all()
    assert np.isnan(column_resolutions(X[:, 1:])).all()


WHOLE = np.random.default_rng(0).integers(0, 9, 50)


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (load_iris().data, 0.1),
        (load_iris().data.astype(np.float32), 0.1),
        (load_iris().data.astype(np.float32).astype(np.float64), 0.1),
        (np.column_stack([WHOLE, np.full(50, 0.7)]), 1.0),
        # Few values don't decide.
        (np.column_stack([WHOLE, np.repeat([0.0, 3.7, 5.0], [46, 2, 2])]), 1.0),
        (np.resize(0.1 * WHOLE, (200, 1)) + 0.0123 * (np.eye(200, 1) > 0), 0.1),
    ],
    ids=["iris", "float32", "from float32", "constant", "rare values", "more digits"],
)
def test_measurements_have_a_resolution(X, expected):
    np.testing.assert_allclose(column_resolutions(X), expected, rtol=1e-5)


def gain(X, rng):
    """Gain of the deviations as units."""
    X = X[:, X.std(axis=0) > 0]
    unit = np.ones(X.shape[1])
    return density_gain(X, column_resolutions(X), unit, 1 / X.std(axis=0), rng)


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_columns_of_different_units_gain_by_standardization(load, rng):
    assert gain(load().data, rng) > 1.0


def test_columns_of_one_unit_do_not_gain_by_standardization(rng):
    assert gain(load_digits().data[:1000], rng) < 0
    assert gain(load_iris().data, rng) < 0
    components = PCA(30).fit_transform(load_digits().data[:1000])
    assert gain(components, rng) < 0


@given(st.floats(1e-3, 1e3), st.integers(0, 99))
def test_the_gain_is_of_densities_in_the_same_units(factor, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((100, 3)) * [1.0, 10.0, 0.1]
    none, unit, other = np.full(3, np.nan), np.ones(3), 1 / X.std(axis=0)
    expected = density_gain(X, none, unit, other, rng)
    assert density_gain(X, none, factor * unit, other, rng) == pytest.approx(expected)
    assert density_gain(X, none, other, unit, rng) == pytest.approx(-expected)
    assert density_gain(factor * X, none, unit, other, rng) == pytest.approx(expected)


@pytest.mark.parametrize(
    "X", [np.zeros((0, 2)), np.zeros((9, 3)), np.eye(3), np.ones((50, 1))]
)
def test_few_values_have_no_gain(X, rng):
    unit = np.ones(X.shape[1])
    assert density_gain(X, np.nan * unit, unit, 2 * unit, rng) == 0.0


def test_a_rare_amount_beside_others_is_standardized(rng):
    gains = np.where(rng.random(1000) < 0.1, rng.lognormal(8, 1, 1000), 0)
    X = np.column_stack([rng.normal(40, 10, 1000), gains])
    assert gain(X, rng) > 0.3


@pytest.mark.parametrize("seed", range(2))
def test_rare_pixels_do_not_change_the_units(seed):
    # Some columns of the digits are constant in most samples of rows.
    assert map_of(load_digits().data, seed=seed)[0].kind == "plain"


@pytest.mark.parametrize("load", [load_iris, load_wine])
@pytest.mark.parametrize("factor", [0.1, 10.0, 2.54])
def test_the_unit_of_a_column_does_not_matter(load, factor):
    X = load().data
    expected = map_of(X)[1]
    for column in range(X.shape[1]):
        other = X.copy()
        other[:, column] *= factor
        np.testing.assert_allclose(map_of(other)[1], expected, atol=1e-4)


@given(st.floats(1e-6, 1e6), st.integers(0, 99))
def test_deviations_scale_with_the_unit_and_ignore_the_place(factor, seed):
    x = np.random.default_rng(seed).standard_normal((200, 1))
    expected = entropy_deviations(x)
    assert expected == pytest.approx(1.0, abs=0.25)
    assert entropy_deviations(factor * (x + 3)) == pytest.approx(factor * expected)
    assert entropy_deviations(np.round(x)) == 0.0


def test_a_column_of_which_outliers_vary_does_not_change_the_units():
    X = load_wine().data
    column = np.zeros((len(X), 1))
    column[[3, 50]] = 1e6
    assert map_of(np.hstack([X, column]))[0].kind == map_of(X)[0].kind


def test_missing_values_are_no_other_values():
    X = np.repeat([0.0, 1.0, np.nan], [5, 3, 32])[:, None]
    assert np.isnan(column_resolutions(X)).all()


def test_codes_alone_are_standardized(rng):
    X = rng.integers(0, 2, (200, 1)) * [1.0, 1.0, 4.0]
    feature_map, result = map_of(X)
    assert feature_map.kind == "standardized"
    assert result.std(axis=0) == pytest.approx(np.full(3, 1 / np.sqrt(3)), rel=0.2)


def test_wide_tables_of_heavy_tails_have_features(generator, rng):
    # Every row has an outlier.
    X = rng.standard_cauchy((100, 700))
    data = TrainingData.prepare(X, DataOptions(), generator, rng)
    assert data.features[:].isfinite().all()
