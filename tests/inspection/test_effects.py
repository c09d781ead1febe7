import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from sktreevae.inspection.effects import (
    GroupMoments,
    area_under_curve,
    effect_size,
    row_moments,
)


def moments_of(*samples):
    """Return the moments of the known values of groups."""
    return GroupMoments(
        np.array([np.nanmean(rows, 0) for rows in samples]),
        np.array([np.nanvar(rows, 0) for rows in samples]),
        np.array([np.sum(~np.isnan(rows), 0) for rows in samples]),
    )


def assert_same(actual, expected, **tolerance):
    np.testing.assert_allclose(actual.mean, expected.mean, **tolerance)
    np.testing.assert_allclose(actual.variance, expected.variance, **tolerance)
    weight = np.broadcast_to(actual.weight, expected.weight.shape)
    np.testing.assert_array_equal(weight, expected.weight)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 99))
def test_moments_of_a_mixture_are_those_of_all_its_samples(sizes, seed):
    rng = np.random.default_rng(seed)
    groups = [rng.normal(rng.normal(), 1.0, (n, 3)) for n in sizes]
    mixed = moments_of(*groups).mix(np.ones((1, len(sizes)), dtype=bool))
    assert_same(mixed, moments_of(np.concatenate(groups)), rtol=1e-7, atol=1e-12)


def test_groups_without_values_do_not_count():
    moments = GroupMoments(
        np.array([[1.0], [np.nan]]), np.array([[2.0], [np.nan]]), np.array([[3], [0]])
    )
    mixed = moments.mix(np.array([[True, True], [False, True]]))
    np.testing.assert_array_equal(mixed.mean, [[1.0], [np.nan]])
    np.testing.assert_array_equal(mixed.variance, [[2.0], [np.nan]])


@given(st.floats(1e-6, 1e6))
def test_the_effect_does_not_depend_on_the_unit(unit):
    samples = np.random.default_rng(0).normal(size=(2, 30, 4))
    scaled, moments = moments_of(*samples * unit), moments_of(*samples)
    expected = effect_size(moments[0], moments[1])
    np.testing.assert_allclose(effect_size(scaled[0], scaled[1]), expected)


def test_constant_features_have_bounded_effects():
    moments = moments_of(np.zeros((3, 3)), np.array([[0.0, 1.0, 1e-9]] * 3))
    effect = effect_size(moments[0], moments[1])
    assert effect[0] == 0.0
    np.testing.assert_allclose(effect[1:], -2 / np.sqrt(1e-3))


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array, sparse.csr_matrix])
def test_moments_of_groups_of_rows(rng, convert):
    X = np.round(rng.normal(size=(40, 5))) * 1e3
    labels = rng.permutation(np.arange(40) % 2)
    actual = row_moments(convert(X), labels, 3)
    expected = moments_of(X[labels == 0], X[labels == 1])
    assert_same(actual[:2], expected, rtol=1e-10)
    assert np.isnan([actual.mean[2], actual.variance[2]]).all()


def test_unknown_values_are_left_out(rng):
    X = np.where(rng.random((40, 5)) < 0.3, np.nan, rng.normal(size=(40, 5)))
    labels = rng.integers(0, 2, 40)
    expected = moments_of(X[labels == 0], X[labels == 1])
    assert_same(row_moments(X, labels, 2), expected, rtol=1e-10)
    first, second = X[labels == 0, 0], X[labels == 1, 0]
    known = [x[~np.isnan(x)] for x in (first, second)]
    assert area_under_curve(first, second) == area_under_curve(*known)
    assert np.isnan(area_under_curve(first, np.array([np.nan])))


def test_moments_of_rows_do_not_cancel(rng):
    X = 1e9 + rng.normal(size=(40_000, 1))
    variance = row_moments(X, np.zeros(len(X), dtype=int), 1).variance
    np.testing.assert_allclose(variance[0], X.var(0), rtol=1e-6)
