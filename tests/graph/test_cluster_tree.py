import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sktreevae.graph.cluster_tree import cluster_tree, separations
from sktreevae.graph.linkage import (
    cut_merges,
    graph_linkage,
    relative_modularity_gain,
)
from sktreevae.graph.partition import linkages, partition_cost
from sktreevae.model import Topology

from .cases import micro_clusters, random_weights


def random_merges(n, rng):
    """Merge pairs in any order."""
    clusters, merges = list(range(n)), []
    for step in range(n - 1):
        i, j = rng.choice(len(clusters), 2, replace=False)
        merges.append((clusters[i], clusters[j]))
        clusters = [c for c in clusters if c not in merges[-1]] + [n + step]
    return np.array(merges, dtype=np.int64).reshape(-1, 2)


@given(st.integers(1, 12), st.integers(0, 99))
def test_heights_are_separations_of_the_clusters(n, seed):
    rng, flow = np.random.default_rng(seed), random_weights(n, seed)
    merges = random_merges(n, rng)
    height = separations(flow, merges)
    assert (np.diff(height, prepend=0.0) > 0).all()
    for k in range(2, n + 1):
        cut = cut_merges(merges, n, k)
        densities = [
            flow[np.ix_(one, two)].sum() / (flow[one].sum() * flow[two].sum())
            for one, two in itertools.combinations(cut == np.arange(k)[:, None], 2)
        ]
        expected = np.log1p(1 / np.sum(np.power(densities, 4)) ** 0.25)
        np.testing.assert_allclose(height[n - k], expected, rtol=1e-9)
        assert height[n - k] <= np.log1p(1 / max(densities)) + 1e-9


@given(st.integers(1, 12), st.sampled_from([None, 0, 1, 3]), st.integers(0, 99))
@settings(max_examples=30)
def test_the_tree_of_least_cost_is_returned(n, slack, seed):
    max_depth = None if slack is None else int(np.ceil(np.log2(n))) + slack
    clusters = micro_clusters(random_weights(n, seed))

    def costs(merges):
        cuts = (cut_merges(merges, n, k) for k in range(n, 1, -1))
        return [partition_cost(clusters, cut) for cut in cuts]

    lengths = 3.0, 30.0
    tree = cluster_tree(clusters, max_depth, lengths)
    flows = map(clusters.flow, lengths)
    candidates = [
        costs(graph_linkage(flow, relative_modularity_gain, max_depth))
        for flow in flows
    ]
    actual = costs(tree.merges)
    assert np.sum(actual) == pytest.approx(min(map(sum, candidates)))
    others = map(costs, linkages(clusters).values())
    expected = np.subtract(actual, np.min([*candidates, *others], axis=0))
    np.testing.assert_array_equal(tree.excess_cost, expected)
    np.testing.assert_array_equal(
        tree.height, separations(clusters.flow(), tree.merges)
    )
    depth = Topology.from_merges(tree.merges.tolist()).topology.depth
    assert max_depth is None or depth <= max_depth


def test_touching_clusters_of_one_size_have_a_balanced_tree():
    # A ring: average linkage would add one cluster after the other.
    ring = np.eye(8) + 0.1 * (np.roll(np.eye(8), 1, axis=0) + np.roll(np.eye(8), -1, 0))
    place = np.zeros((8, 0))
    merges, *_ = cluster_tree(micro_clusters(ring / ring.sum(), place=place))
    for k in (2, 4):
        assert (np.bincount(cut_merges(merges, 8, k)) == 8 // k).all()
