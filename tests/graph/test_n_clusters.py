import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.stats import binom

from sktreevae.data import FeatureTable
from sktreevae.graph import n_clusters, split_p_values
from sktreevae.graph.gaussians import principal_axes
from sktreevae.graph.n_clusters import gap_evidence, spread_steps

ONE_MODE = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "t3": lambda rng, shape: rng.standard_t(3, shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "lognormal": lambda rng, shape: rng.lognormal(size=shape),
    "uniform": lambda rng, shape: rng.random(shape),
    "Poisson": lambda rng, shape: rng.poisson(3, shape).astype(float),
}


def ward_tree(X, n_leaves):
    """Ward's tree over as many clusters, as labels and merges."""
    labels = cut_tree(linkage(X, "ward"), n_leaves)[:, 0]
    means = np.stack([X[labels == k].mean(axis=0) for k in range(n_leaves)])
    return labels, linkage(means, "ward")[:, :2].astype(int)


def p_values(X, cluster, merges, seed=0):
    features = FeatureTable.from_tensor(torch.from_numpy(X))
    rng = np.random.default_rng(seed)
    return split_p_values(features, cluster, np.asarray(merges), rng)


@pytest.mark.parametrize("shape", ONE_MODE)
def test_few_trees_of_data_with_one_mode_have_a_significant_split(shape, rng):
    draws = [ONE_MODE[shape](rng, (400, 3)) for _ in range(10)]
    smallest = np.array([p_values(X, *ward_tree(X, 12)).min() for X in draws])
    # Of ten trees, more than two with a probability of 0.012.
    assert np.count_nonzero(smallest <= 0.05) <= 2


@pytest.mark.parametrize("n_leaves", [4, 6, 12])
@pytest.mark.parametrize("shape", ONE_MODE)
def test_the_supported_splits_are_those_of_separated_clusters(shape, n_leaves, rng):
    X = ONE_MODE[shape](rng, (600, 3))
    X[:, :2] += 40 * np.stack(np.divmod(np.arange(600) % 4, 2), axis=1)
    assert np.count_nonzero(p_values(X, *ward_tree(X, n_leaves)) < 0.001) == 3


def test_clusters_that_no_line_separates_from_the_other_side_are_told_apart(rng):
    # The outer two of three Gaussians in a row are below one node.
    X = rng.standard_normal((300, 2)) + np.outer(np.arange(300) % 3, [10, 0])
    assert (p_values(X, np.arange(300) % 3, [[0, 2], [1, 3]]) < 0.001).all()


def test_a_cut_through_one_of_several_clusters_is_not_supported(rng):
    X = rng.standard_normal((400, 2))
    X[:200, 0] += 20.0
    # The second cluster is cut in two, the right part of which joins the first.
    cluster = np.where(np.arange(400) < 200, 0, np.where(X[:, 1] > 0, 1, 2))
    p = p_values(X, cluster, [[0, 1], [2, 3]])
    assert p[0] < 0.001
    assert p[1] > 0.05


@pytest.mark.parametrize("size", [10, 30])
def test_a_small_cluster_is_supported(size, rng):
    X = rng.standard_normal((500, 3))
    X[:size] += 10.0
    assert p_values(X, (np.arange(500) < size).astype(int), [[0, 1]])[0] < 0.01


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_few_rows_support_one(n, rng):
    X = rng.standard_normal((n, 2))
    k = min(n, 2)
    merges = np.array([[0, 1]])[: k - 1]
    assert (p_values(X, np.arange(n) % k, merges) == 1.0).all()


@pytest.mark.filterwarnings("error")
def test_a_leaf_without_samples_is_not_supported(rng):
    X = rng.standard_normal((60, 2))
    p = p_values(X, np.ones(60, dtype=int), [[0, 2], [1, 3]])
    assert p.tolist() == [1.0, 1.0]


def test_splits_share_the_level_of_significance_by_their_samples(rng):
    X = rng.standard_normal((200, 2))
    X[:100, 0] += 4.0
    cluster = np.repeat([0, 1], 100)
    alone = p_values(X, cluster, [[0, 1]])
    # Clusters 2 and 3 are empty: two of the three splits have all samples.
    among_others = p_values(X, cluster, [[2, 3], [0, 1], [5, 4]])
    assert among_others[1] == pytest.approx(2 * alone[0])


@pytest.mark.parametrize("n_more", [0, 1, 4])
def test_rotations_and_constant_features_do_not_change_the_evidence(n_more, rng):
    X = rng.standard_normal((100, 4)) + 4.0 * np.eye(4)[np.arange(100) % 2]
    rotation = np.linalg.qr(rng.standard_normal((4 + n_more, 4)))[0].T
    one, two = (
        gap_evidence(x[::2], x[1::2])
        for x in (rows @ principal_axes(rows, 20) for rows in (X, X @ rotation + 5.0))
    )
    assert one == pytest.approx(two)


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_units_do_not_change_the_evidence(unit, rng):
    left, right = rng.standard_normal((2, 50, 3)) + [[[0.0]], [[3.0]]]
    expected = gap_evidence(left, right)
    assert gap_evidence(unit * left, unit * right) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("value", [1e2, 1e4])
def test_a_far_row_of_a_cluster_does_not_hide_the_gap(value, rng):
    left, right = rng.standard_normal((2, 100, 2))
    right[:, 0] += 8.0
    right[0, 0] = value
    assert gap_evidence(left, right) > 10.0


def test_rows_are_not_projected_by_themselves(rng):
    # Of equal groups, an axis of all rows has a difference of 1.
    left, right = rng.standard_normal((2, 20, 15))
    left, right = n_clusters._held_out_scores(left, right)
    assert abs(right.mean() - left.mean()) < 0.5


def test_evidence_bounds_the_probability_of_counts():
    # For 40 rows in two intervals of equal length.
    n = np.arange(21)
    one = np.ones(len(n))
    evidence = n_clusters._log_ratio(one, n - 0.5, one, 40 - n)
    assert (binom.cdf(n, 40, 0.5) <= np.exp(-evidence)).all()


def test_evidence_is_that_of_the_best_intervals(rng):
    left, right = rng.standard_normal(30), rng.standard_normal(40) + 3.0
    levels = np.linspace(0, 1, 5)
    both = [np.quantile(v, levels, method="inverted_cdf") for v in (left, right)]
    cuts = np.unique(np.concatenate(both))
    values = np.concatenate([left, right])

    def ratio(a, b, c, d):
        n, other = (
            ((lo < values) & (values <= hi)).sum() for lo, hi in [(a, b), (c, d)]
        )
        return float(n_clusters._log_ratio(b - a, n, d - c, other))

    best = 0.0
    for i in range(1, len(cuts) - 2):
        for j in range(i + 1, len(cuts) - 1):
            gap = cuts[i], cuts[j]
            before = max(ratio(*gap, cut, gap[0]) for cut in cuts[:i])
            after = max(ratio(*gap, gap[1], cut) for cut in cuts[j + 1 :])
            best = max(best, min(before, after))
    assert n_clusters._gap_evidence(left, right, 5) == pytest.approx(best)


# Discrete features


def test_spread_values_stay_nearest_to_what_they_were(rng):
    X = rng.choice([0.0, 1.0, 3.0, 10.0], size=(500, 1))
    spread = spread_steps(X, rng)
    nearest = np.abs(spread - [[0.0, 1.0, 3.0, 10.0]]).argmin(axis=1)
    np.testing.assert_array_equal(np.array([0.0, 1.0, 3.0, 10.0])[nearest], X[:, 0])
    # Steps are filled: no gap is much longer than the mean distance.
    inner = np.sort(spread[X < 3.0])
    assert np.diff(inner).max() < 20 * np.diff(inner).mean()


def test_a_gap_remains_between_two_values(rng):
    X = np.repeat([[0.0], [4.0]], 50, axis=0)
    spread = spread_steps(X, rng)
    assert np.abs(spread - X).max() <= 1.0
    assert p_values(X, np.repeat([0, 1], 50), [[0, 1]])[0] < 0.001


def test_constant_features_stay(rng):
    X = np.full((20, 2), 3.0)
    np.testing.assert_array_equal(spread_steps(X, rng), X)


def test_a_cut_between_integers_is_not_supported(rng):
    X = rng.poisson(3, size=(500, 1)).astype(float)
    assert p_values(X, (X[:, 0] > 3).astype(int), [[0, 1]])[0] > 0.05


def test_a_split_by_a_category_is_supported(rng):
    category = rng.integers(3, size=400)
    X = np.c_[rng.standard_normal((400, 3)), np.eye(3)[category]]
    assert (p_values(X, category, [[0, 1], [2, 3]]) < 0.001).all()
