import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from sktreevae.graph.density import Moments, principal_components


def moments(x, group, n_groups):
    return Moments.of_groups(x, np.arange(len(x)) % 2, group, n_groups)


def brute_log_density(x, cluster):
    """Fit Gaussians to one half, and evaluate the other, sample by sample."""
    n, d = x.shape
    k = cluster.max() + 1
    half = np.arange(n) % 2
    total = 0.0
    for held_out in (0, 1):
        fit = half != held_out
        mean = np.stack([x[fit & (cluster == c)].mean(axis=0) for c in range(k)])
        scatter = np.stack(
            [
                (x[fit & (cluster == c)] - mean[c]).T
                @ (x[fit & (cluster == c)] - mean[c])
                for c in range(k)
            ]
        )
        within = scatter.sum(axis=0) / fit.sum()
        for i in np.flatnonzero(~fit):
            c = cluster[i]
            n_fit = (fit & (cluster == c)).sum()
            covariance = (scatter[c] + (d + 2) * within) / (n_fit + d + 2)
            covariance += 1e-6 * np.diag(x.var(axis=0))
            share = (n_fit + 0.5) / (fit.sum() + 0.5 * k)
            density = multivariate_normal(mean[c], covariance).logpdf(x[i])
            total += density + np.log(share)
    return total / n


@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 99))
def test_the_density_is_that_of_gaussians_of_the_other_half(d, k, seed):
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(k), 10)
    x = rng.standard_normal((len(cluster), d)) + cluster[:, None]
    actual = moments(x, cluster, k).log_density()
    assert actual == pytest.approx(brute_log_density(x, cluster), rel=1e-6)


@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 99))
def test_sums_over_clusters_are_sums_over_their_groups(n_groups, k, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((60, 2))
    group = rng.integers(n_groups, size=60)
    cluster = np.unique(rng.integers(k, size=n_groups), return_inverse=True)[1]
    merged = moments(x, group, n_groups).merge(cluster)
    direct = moments(x, cluster[group], cluster.max() + 1)
    np.testing.assert_allclose(merged.sums, direct.sums)


@pytest.mark.parametrize("sizes", [(1, 40), (2, 40), (1, 1)])
def test_clusters_of_single_samples_have_a_density(sizes, rng):
    cluster = np.repeat([0, 1], sizes)
    x = rng.standard_normal((len(cluster), 3))
    assert np.isfinite(moments(x, cluster, 2).log_density())


def test_constant_and_collinear_features_have_no_components(rng):
    x = rng.standard_normal((100, 3))
    more = np.c_[x, np.full(100, 5.0), x[:, :1] + x[:, 1:2]]
    components, n_dimensions = principal_components(more, rng.permutation(100), 0)
    assert components.shape == (100, 3)
    assert n_dimensions == 3
    np.testing.assert_allclose(components.var(axis=0), 1.0)
