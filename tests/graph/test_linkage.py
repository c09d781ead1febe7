import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.graph.linkage import (
    GRAPH_GAINS,
    cut_merges,
    edge_density,
    genie_linkage,
    graph_linkage,
    square_distances,
    ward_linkage,
)

from .cases import random_weights


def merge_best(n, gain_of, max_depth=None):
    """Merge the pair of sets of nodes with the largest gain, by brute force."""
    clusters = {i: ([i], 0) for i in range(n)}
    merges = []
    while len(clusters) > 1:
        best = -np.inf
        for a, b in itertools.combinations(clusters, 2):
            (one, one_height), (two, two_height) = clusters[a], clusters[b]
            height = max(one_height, two_height) + 1
            others = [h for c, (_, h) in clusters.items() if c not in (a, b)]
            share = sum(2.0**h for h in [*others, height])
            fits = max_depth is None or share <= 2.0**max_depth
            gain = gain_of(one, two)
            if fits and gain > best:
                best, pair, merged = gain, (a, b), (one + two, height)
        for i in pair:
            del clusters[i]
        clusters[n + len(merges)] = merged
        merges.append(sorted(pair))
    return merges


@pytest.mark.parametrize("gain", GRAPH_GAINS.values())
@pytest.mark.parametrize("slack", [None, 0, 1])
@given(n=st.integers(1, 12), seed=st.integers(0, 99))
def test_the_largest_gain_is_merged_first(gain, slack, n, seed):
    edge_weight = random_weights(n, seed)
    max_depth = None if slack is None else int(np.ceil(np.log2(n))) + slack

    def gain_of(one, two):
        volume, other_volume = (edge_weight[c].sum() for c in (one, two))
        return gain(edge_weight[np.ix_(one, two)].sum(), volume, other_volume)

    merges = graph_linkage(edge_weight, gain, max_depth)
    assert [sorted(pair) for pair in merges.tolist()] == merge_best(
        n, gain_of, max_depth
    )


@given(st.integers(1, 15), st.integers(0, 99))
def test_ward_merges_the_least_increase_of_the_variance_first(n, seed):
    rng = np.random.default_rng(seed)
    place, size = rng.standard_normal((n, 2)), rng.integers(1, 9, n).astype(float)

    def scatter(c):
        center = np.average(place[c], axis=0, weights=size[c])
        return size[c] @ np.square(place[c] - center).sum(axis=1)

    def gain_of(one, two):
        return scatter(one) + scatter(two) - scatter(one + two)

    merges = ward_linkage(place, size)
    assert [sorted(pair) for pair in merges.tolist()] == merge_best(n, gain_of)


@pytest.mark.parametrize(
    "place",
    [np.zeros((30, 2)), np.arange(30.0)[:, None], np.indices((6, 5)).reshape(2, -1).T],
    ids=["constant", "line", "grid"],
)
def test_equal_distances_have_a_tree(place):
    merges = ward_linkage(place, np.ones(30))
    assert sorted(merges.ravel()) == list(range(58))
    assert (merges.max(axis=1) < np.arange(30, 59)).all()


def test_cuts_nest(rng):
    merges = graph_linkage(random_weights(15, 0), edge_density)
    cuts = [cut_merges(merges, 15, k) for k in range(1, 16)]
    for k, (coarse, fine) in enumerate(itertools.pairwise(cuts), start=1):
        assert len(np.unique(coarse)) == k
        assert len(set(zip(coarse, fine, strict=True))) == k + 1


def gini(sizes):
    """The Gini index, from the differences of all pairs."""
    sizes = np.array(sizes, dtype=float)
    n = len(sizes)
    differences = np.abs(sizes[:, None] - sizes).sum() / 2
    return differences / ((n - 1) * sizes.sum())


@given(st.integers(2, 12), st.sampled_from([0.0, 0.3, 0.7, 1.0]), st.integers(0, 99))
def test_genie_merges_the_nearest_clusters_that_keep_sizes_equal(n, max_gini, seed):
    rng = np.random.default_rng(seed)
    distance = square_distances(rng.standard_normal((n, 2)))
    size = rng.integers(1, 9, n).astype(float)
    merges = genie_linkage(distance, size, max_gini)
    clusters = {i: [i] for i in range(n)}
    for step, (i, j) in enumerate(merges.tolist()):
        total = {c: size[members].sum() for c, members in clusters.items()}
        nearest = {
            (a, b): distance[np.ix_(clusters[a], clusters[b])].min()
            for a, b in itertools.combinations(clusters, 2)
        }
        if gini(list(total.values())) > max_gini + 1e-12:
            least = min(total.values())
            nearest = {
                pair: d
                for pair, d in nearest.items()
                if least in (total[pair[0]], total[pair[1]])
            }
        merged = nearest[tuple(sorted((i, j)))]
        # Genie considers the edges of the minimum spanning tree only.
        assert merged >= min(nearest.values())
        if max_gini == 1.0:
            assert merged == min(nearest.values())
        clusters[n + step] = clusters.pop(i) + clusters.pop(j)
    assert len(clusters) == 1


def test_equal_samples_have_a_genie_linkage():
    merges = genie_linkage(np.zeros((5, 5)), np.ones(5), 0.3)
    assert cut_merges(merges, 5, 2).max() == 1
