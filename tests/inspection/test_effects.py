import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import roc_auc_score

from sktreevae.inspection.effects import (
    GroupMoments,
    area_under_curve,
    effect_size,
    mix_moments,
    pooled_spread,
    row_moments,
)


def moments_of(*samples):
    return GroupMoments(
        np.array([rows.mean(0) for rows in samples]),
        np.array([rows.var(0) for rows in samples]),
    )


def pair(samples):
    moments = moments_of(*samples)
    return [GroupMoments(moments.mean[i], moments.variance[i]) for i in (0, 1)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 99))
def test_moments_of_a_mixture_are_those_of_all_its_samples(sizes, seed):
    rng = np.random.default_rng(seed)
    groups = [rng.normal(rng.normal(), 1.0, (n, 3)) for n in sizes]
    mixed = mix_moments(moments_of(*groups), np.array([sizes]))
    expected = moments_of(np.concatenate(groups))
    np.testing.assert_allclose(mixed.mean, expected.mean)
    np.testing.assert_allclose(mixed.variance, expected.variance, atol=1e-12)


def test_the_effect_is_the_standardized_difference(rng):
    samples = rng.normal(0.0, 2.0, (50, 3)), rng.normal(1.0, 3.0, (20, 3))
    spread = np.sqrt((samples[0].var(0) + samples[1].var(0)) / 2)
    expected = (samples[0].mean(0) - samples[1].mean(0)) / spread
    np.testing.assert_allclose(effect_size(*pair(samples)), expected)
    np.testing.assert_allclose(pooled_spread(*pair(samples)), spread)


@given(st.floats(1e-6, 1e6))
def test_the_effect_does_not_depend_on_the_unit(unit):
    samples = np.random.default_rng(0).normal(size=(2, 30, 4))
    scaled = effect_size(*pair(samples * unit))
    np.testing.assert_allclose(scaled, effect_size(*pair(samples)))


def test_constant_features_have_bounded_effects():
    left, right = np.zeros((3, 3)), np.array([[0.0, 1.0, 1e-9]] * 3)
    effect = effect_size(*pair((left, right)))
    assert effect[0] == 0.0
    np.testing.assert_allclose(effect[1:], -2 / np.sqrt(1e-3))


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array, sparse.csr_matrix])
def test_moments_of_groups_of_rows(rng, convert):
    X = np.round(rng.normal(size=(40, 5))) * 1e3
    labels = rng.permutation(np.arange(40) % 3 - 1)
    actual = row_moments(convert(X), labels, 3)
    expected = moments_of(X[labels == 0], X[labels == 1])
    np.testing.assert_allclose(actual.mean[:2], expected.mean)
    np.testing.assert_allclose(actual.variance[:2], expected.variance, rtol=1e-10)
    assert np.isnan([actual.mean[2], actual.variance[2]]).all()


def test_moments_of_rows_do_not_cancel(rng):
    X = 1e9 + rng.normal(size=(100, 1))
    variance = row_moments(X, np.zeros(100, dtype=int), 1).variance
    np.testing.assert_allclose(variance[0], X.var(0), rtol=1e-6)


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("max_values", [1, 120, 1000])
def test_the_area_is_that_of_sklearn_whatever_is_read_at_a_time(
    rng, convert, max_values
):
    X = np.round(rng.normal(size=(60, 7)), 1)
    group, features = rng.integers(0, 3, 60), np.array([2, 0, 6])
    area = area_under_curve(convert(X), [group == 0, group == 1], features, max_values)
    rows = group < 2
    expected = [roc_auc_score(group[rows] == 0, X[rows, i]) for i in features]
    np.testing.assert_allclose(area, expected)
