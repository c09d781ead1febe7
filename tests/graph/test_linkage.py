import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from sktreevae.graph.linkage import (
    average_linkage,
    cut_merges,
    edge_density,
    graph_linkage,
    leaves_below,
    ward_linkage,
)
from sktreevae.model import Topology

from .cases import random_weights


@given(st.integers(3, 20), st.integers(2, 3), st.integers(0, 99))
def test_ward_of_single_samples_is_that_of_scipy(n, k, seed):
    place = np.random.default_rng(seed).standard_normal((n, 2))
    merges = ward_linkage(place, np.ones(n))
    expected = fcluster(linkage(place, "ward"), k, "maxclust")
    assert adjusted_rand_score(cut_merges(merges, k), expected) == 1.0


def test_the_densest_links_are_merged_first():
    edge_weight = np.array(
        [[5, 2, 0, 0], [2, 5, 0.5, 0], [0, 0.5, 5, 1], [0, 0, 1, 5.0]],
    )
    merges = average_linkage(edge_weight / edge_weight.sum(), np.arange(4))
    assert [sorted(pair) for pair in merges.tolist()] == [[0, 1], [2, 3], [4, 5]]


def test_cuts_nest(rng):
    merges = graph_linkage(random_weights(15, 0), edge_density)
    cuts = [cut_merges(merges, k) for k in range(1, 16)]
    for k, (coarse, fine) in enumerate(itertools.pairwise(cuts), start=1):
        assert len(np.unique(coarse)) == k
        assert len(set(zip(coarse, fine, strict=True))) == k + 1


@given(st.integers(1, 20), st.integers(0, 3), st.integers(0, 99))
def test_all_clusters_fit_within_the_depth(n, slack, seed):
    max_depth = int(np.ceil(np.log2(n))) + slack
    merges = average_linkage(random_weights(n, seed), np.arange(n), max_depth)
    tree = Topology.from_merges(merges.tolist()).topology
    assert len(tree.leaves) == n
    assert tree.depth <= max_depth


def test_a_depth_that_does_not_bind_changes_nothing():
    edge_weight = random_weights(10, 0)
    free = average_linkage(edge_weight, np.arange(10))
    assert (average_linkage(edge_weight, np.arange(10), 9) == free).all()


@given(st.integers(1, 20), st.integers(0, 99))
def test_leaves_below_a_node_are_those_of_its_branches(n, seed):
    merges = average_linkage(random_weights(n, seed), np.arange(n))
    expected = [{leaf} for leaf in range(n)]
    for left, right in merges:
        expected.append(expected[left] | expected[right])
    is_below = leaves_below(merges)
    assert is_below.shape == (2 * n - 1, n)
    assert [set(np.flatnonzero(row)) for row in is_below] == expected
