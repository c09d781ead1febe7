import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from sktreevae.model import Topology
from sktreevae.training import linkage as linkages
from sktreevae.training.linkage import (
    Groups,
    average_linkage,
    code_length,
    partition,
)


def random_flow(n, seed):
    weight = np.random.default_rng(seed).random((n, n)) ** 4
    weight = weight + weight.T
    return weight / weight.sum()


def two_step_code(flow, cluster):
    """The map equation, written as its authors do, short of the node visits."""
    volume = flow.sum(axis=1)
    leaving = [
        flow[np.ix_(cluster == c, cluster != c)].sum() for c in range(cluster.max() + 1)
    ]

    def entropy(parts):
        parts = np.array([p for p in parts if p > 0])
        parts = parts / parts.sum()
        return -(parts * np.log2(parts)).sum()

    length = sum(leaving) * entropy(leaving) if sum(leaving) > 0 else 0.0
    for c, q in enumerate(leaving):
        parts = [q, *volume[cluster == c]]
        length += sum(parts) * entropy(parts)
    return length


@given(st.integers(3, 12), st.integers(0, 99))
def test_code_lengths_differ_as_those_of_the_map_equation(n, seed):
    flow = random_flow(n, seed)
    rng = np.random.default_rng(seed)
    one, two = (
        np.unique(rng.integers(3, size=n), return_inverse=True)[1] for _ in range(2)
    )
    actual = code_length(flow, one) - code_length(flow, two)
    expected = two_step_code(flow, one) - two_step_code(flow, two)
    assert actual == pytest.approx(expected, abs=1e-9)


@given(st.integers(4, 8), st.integers(0, 99))
def test_refined_partitions_have_no_better_neighbour(n, seed):
    flow = random_flow(n, seed)
    start = np.arange(n) % 3
    other = np.roll(start, 1)
    refined, beside = linkages._refine(flow, np.stack([start, other]))
    assert np.array_equal(beside, linkages._refine(flow, other[None])[0])
    best = code_length(flow, refined)
    assert best <= code_length(flow, start) + 1e-12
    for i, c in itertools.product(range(n), range(3)):
        moved = refined.copy()
        moved[i] = c
        if len(np.unique(moved)) == 3:
            assert code_length(flow, moved) >= best - 1e-9


@given(st.integers(3, 20), st.integers(2, 3), st.integers(0, 99))
def test_ward_of_single_samples_is_that_of_scipy(n, k, seed):
    place = np.random.default_rng(seed).standard_normal((n, 2))
    groups = Groups(np.eye(n) / n, np.ones(n), (place,))
    merges = linkages._ward(groups, place)
    expected = fcluster(linkage(place, "ward"), k, "maxclust")
    assert adjusted_rand_score(linkages._cut(merges, k), expected) == 1.0


def blocks(sizes, inside=1.0, between=0.005):
    """Groups in blocks with strong links, joined by weak ones."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    weight = np.where(y[:, None] == y, inside, between)
    return weight / weight.sum(), y


@pytest.mark.parametrize("sizes", [(5, 5, 5), (20, 10, 2), (40, 5, 4)])
def test_blocks_of_all_sizes_are_found(sizes):
    flow, y = blocks(sizes)
    place = np.random.default_rng(0).standard_normal((len(y), 2))
    groups = Groups(flow, np.ones(len(y)), (place,))
    assert adjusted_rand_score(y, partition(groups, len(sizes))) == 1.0


def test_the_densest_links_are_merged_first():
    flow = np.array(
        [[5, 2, 0, 0], [2, 5, 0.5, 0], [0, 0.5, 5, 1], [0, 0, 1, 5.0]],
    )
    merges = average_linkage(flow / flow.sum(), np.arange(4))
    assert [sorted(pair) for pair in merges.tolist()] == [[0, 1], [2, 3], [4, 5]]


def test_cuts_nest(rng):
    merges = linkages._graph_linkage(random_flow(15, 0), linkages._average)
    cuts = [linkages._cut(merges, k) for k in range(1, 16)]
    for k, (coarse, fine) in enumerate(itertools.pairwise(cuts), start=1):
        assert len(np.unique(coarse)) == k
        assert len(set(zip(coarse, fine, strict=True))) == k + 1


def test_groups_without_an_edge_are_near_by_their_places():
    graph = sparse.csr_array(np.kron(np.eye(4), np.ones((2, 2)) - np.eye(2)))
    place = np.repeat([[0.0], [1.0], [10.0], [11.0]], 2, axis=0)
    groups = Groups.aggregate(graph, np.arange(8) // 2, (place,))
    assert groups.flow.sum() == pytest.approx(1.0)
    merges = average_linkage(groups.flow, np.arange(4))
    assert {tuple(sorted(pair)) for pair in merges[:2].tolist()} == {(0, 1), (2, 3)}


def test_as_many_clusters_as_groups_are_the_groups():
    groups = Groups(random_flow(4, 0), np.ones(4), (np.zeros((4, 1)),))
    assert partition(groups, 4).tolist() == [0, 1, 2, 3]


@given(st.integers(1, 20), st.integers(0, 3), st.integers(0, 99))
def test_all_clusters_find_a_place_within_the_depth(n, slack, seed):
    max_depth = int(np.ceil(np.log2(n))) + slack
    merges = average_linkage(random_flow(n, seed), np.arange(n), max_depth)
    tree = Topology.from_merges(merges.tolist()).topology
    assert len(tree.leaves) == n
    assert tree.depth <= max_depth


def test_a_depth_that_does_not_bind_changes_nothing():
    flow = random_flow(10, 0)
    free = average_linkage(flow, np.arange(10))
    assert (average_linkage(flow, np.arange(10), 9) == free).all()
