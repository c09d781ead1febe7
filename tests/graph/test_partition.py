import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from sktreevae.graph.cluster_tree import cluster_tree
from sktreevae.graph.linkage import cut_merges
from sktreevae.graph.partition import (
    linkage_partitions,
    partition,
    partition_cost,
    refine,
    separated_partitions,
)

from .cases import micro_clusters, random_weights, sample_graph


def map_equation(edge_weight, cluster):
    """Return the map equation (Rosvall and Bergstrom 2008) in bits per step.

    The entropy of the node visits, which is the same for all partitions, is left out.
    """
    volume = edge_weight.sum(axis=1)
    cut = [
        edge_weight[np.ix_(cluster == c, cluster != c)].sum()
        for c in range(cluster.max() + 1)
    ]

    def entropy(parts):
        parts = np.array([p for p in parts if p > 0])
        parts = parts / parts.sum()
        return -(parts * np.log2(parts)).sum()

    length = sum(cut) * entropy(cut) if sum(cut) > 0 else 0.0
    for c, q in enumerate(cut):
        parts = [q, *volume[cluster == c]]
        length += sum(parts) * entropy(parts)
    return length


@given(st.integers(4, 12), st.integers(2, 4), st.integers(0, 99))
def test_refined_partitions_have_no_better_neighbor(n, n_clusters, seed):
    edge_weight = random_weights(n, seed)
    start = np.random.default_rng(seed).permutation(np.arange(n) % n_clusters)
    refined = refine(edge_weight, start)
    assert len(np.unique(refined)) == n_clusters
    best = map_equation(edge_weight, refined)
    assert best <= map_equation(edge_weight, start) + 1e-12
    for i, c in itertools.product(range(n), range(n_clusters)):
        moved = refined.copy()
        moved[i] = c
        if len(np.unique(moved)) == n_clusters:
            assert map_equation(edge_weight, moved) >= best - 1e-9


@given(st.integers(6, 16), st.integers(0, 99))
def test_nodes_stay_in_clusters_of_their_component(n, seed):
    component = np.arange(n) % 2
    refined = refine(random_weights(n, seed), np.arange(n) % 4, component)
    assert len(np.unique(refined)) == 4
    np.testing.assert_array_equal(refined % 2, component)


def blocks(sizes, inside=1.0, between=0.005):
    """Groups in blocks with strong links, joined by weak ones."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    weight = np.where(y[:, None] == y, inside, between)
    return weight / weight.sum(), y


@pytest.mark.parametrize("sizes", [(5, 5, 5), (20, 10, 2), (40, 5, 4)])
def test_blocks_of_all_sizes_are_found(sizes):
    edge_weight, y = blocks(sizes)
    # The positions say nothing.
    groups = micro_clusters(edge_weight, place=np.zeros((len(y), 0)))
    starts = linkage_partitions(groups, len(sizes))
    assert adjusted_rand_score(y, partition(groups, starts)[0]) == 1.0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_distances_matter_at_every_scale(scale):
    # Eight pairs of points without a common edge, nested three levels deep.
    place = scale * np.array([0, 1, 16, 17, 256, 257, 272, 273.0])[:, None]
    graph = sparse.csr_array(np.kron(np.eye(8), np.ones((2, 2)) - np.eye(2)))
    place = place.repeat(2, axis=0)
    pair = np.arange(16) // 2
    groups = sample_graph(graph, place, pair).aggregate(pair)
    merges, height, _ = cluster_tree(groups)
    for k in (2, 4):
        expected = np.arange(8) * k // 8
        assert adjusted_rand_score(cut_merges(merges, 8, k), expected) == 1.0
    assert (np.diff(height[[3, 5, 6]]) > 0.5).all()


@given(st.integers(1, 12), st.sampled_from([10.0, 100.0]), st.integers(0, 99))
@settings(max_examples=10)
def test_flow_is_that_of_random_walks(n, n_steps, seed):
    edge_weight = random_weights(n, seed)
    volume = edge_weight.sum(axis=1)
    step = edge_weight / volume[:, None]
    stay = 1 / n_steps
    expected, walk = np.zeros((n, n)), np.diag(volume)
    for _ in range(4000):
        expected += stay * walk
        walk = (1 - stay) * walk @ step
    flow = micro_clusters(edge_weight).flow(n_steps)
    np.testing.assert_allclose(flow, expected, atol=1e-12)
    np.testing.assert_allclose(flow, flow.T, atol=0)
    np.testing.assert_allclose(flow.sum(axis=1), volume)


@given(st.integers(4, 16), st.integers(1, 5), st.integers(0, 99), st.data())
def test_the_partition_of_least_cost_is_returned(n, n_components, seed, data):
    rng = np.random.default_rng(seed)
    component = np.unique(rng.integers(n_components, size=n), return_inverse=True)[1]
    groups = micro_clusters(random_weights(n, seed), component)
    k = data.draw(st.integers(1, n - 1))
    starts = linkage_partitions(groups, k) | separated_partitions(groups, k)
    cluster, costs = partition(groups, starts)
    assert len(np.unique(cluster)) == k
    assert min(costs.values()) == partition_cost(groups, cluster)
    for start in starts.values():
        assert partition_cost(groups, start) >= min(costs.values())


@given(st.integers(4, 16), st.integers(2, 4), st.integers(0, 99))
def test_numbers_of_clusters_do_not_matter(n, k, seed):
    groups = micro_clusters(random_weights(n, seed))
    cluster = np.arange(n) % k
    _, costs = partition(groups, {"one": cluster, "two": k - 1 - cluster})
    for name, cost in costs.items():
        if name.startswith("one"):
            assert costs[name.replace("one", "two")] == cost


@given(st.integers(4, 16), st.integers(1, 5), st.integers(0, 99), st.data())
def test_components_are_cut_last_in_some_partitions(n, n_components, seed, data):
    rng = np.random.default_rng(seed)
    component = np.unique(rng.integers(n_components, size=n), return_inverse=True)[1]
    n_components = component.max() + 1
    groups = micro_clusters(random_weights(n, seed), component)
    k = data.draw(st.integers(1, n - 1))
    partitions = separated_partitions(groups, k)
    of_components = [c for name, c in partitions.items() if "components" in name]
    assert (len(of_components) == 0) == (n_components == 1 < k)
    for cluster in of_components:
        pairs = set(zip(cluster.tolist(), component.tolist(), strict=True))
        # Either each cluster is within a component, or each component in a cluster.
        assert len(pairs) == max(k, n_components)
        assert len(np.unique(cluster)) == k


@given(st.permutations(range(12)))
def test_clumps_are_joined_by_their_wider_neighborhood(order):
    # Neighbors are in the same clump. Of more neighbors, some are in two others.
    y = np.array(order) % 4
    clumps = np.eye(12) + 1e-3
    wide = clumps + 0.2 * (y[:, None] == y)
    groups = replace(
        micro_clusters(clumps / clumps.sum(), place=np.zeros((12, 0))),
        wide_weight=wide / wide.sum(),
    )
    starts = linkage_partitions(groups, 4) | {"clumps": y}
    cluster, _ = partition(groups, starts)
    assert adjusted_rand_score(y, cluster) == 1.0


def test_partitions_without_small_clusters_are_preferred():
    edge_weight, y = blocks((20, 20, 2))
    groups = micro_clusters(edge_weight, place=np.zeros((len(y), 0)))
    starts = linkage_partitions(groups, 3)
    assert np.bincount(partition(groups, starts)[0]).min() == 2
    half = np.minimum(np.arange(len(y)) // 10, 2)
    cluster, _ = partition(groups, starts | {"large": half}, min_size=5)
    assert np.bincount(cluster).min() >= 5


@pytest.mark.parametrize("small", [5, 20, 50])
def test_a_small_separate_group_costs_less_than_half_of_a_large_one(small, rng):
    # A ring of 500 nodes, and a clique without an edge to it.
    n = 500 + small
    node = np.arange(500)
    weight = np.zeros((n, n))
    for step in range(1, 7):
        weight[node, (node + step) % 500] = 1.0
    weight[500:, 500:] = 12.0 / small
    weight = weight + weight.T
    groups = micro_clusters(weight / weight.sum(), place=np.zeros((n, 0)))
    separate = (np.arange(n) >= 500).astype(int)
    halves = (np.arange(n) >= 250).astype(int)
    assert partition_cost(groups, separate) < partition_cost(groups, halves)
    assert map_equation(groups.edge_weight, separate) > map_equation(
        groups.edge_weight, halves
    )
