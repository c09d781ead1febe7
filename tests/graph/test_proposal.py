import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs, make_moons
from sklearn.metrics import adjusted_rand_score

from sktreevae.model import Topology
from sktreevae.training import GraphClustering, proposals

from .cases import nested_gaussians


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def cluster(X, n_clusters, seed=0):
    X = torch.tensor(X, dtype=torch.float32)
    return GraphClustering(X, generator(seed), n_clusters).hierarchy(n_clusters)


@pytest.mark.parametrize("limit", [100, 1000])
def test_clusters_and_their_nesting_are_found(limit, monkeypatch):
    monkeypatch.setattr(proposals, "N_GROUPS", limit)
    X, y = nested_gaussians()
    hierarchy = cluster(X, 8)
    assert adjusted_rand_score(y, hierarchy.cluster) == 1.0
    # The last merge joins the two halves.
    below = [{i} for i in range(8)]
    for left, right in hierarchy.merges:
        below.append(below[left] | below[right])
    top = np.isin(hierarchy.cluster, list(below[hierarchy.merges[-1, 0]]))
    assert adjusted_rand_score(y & 1, top) == 1.0


def test_samples_beyond_the_landmarks_follow_the_nearest(monkeypatch):
    monkeypatch.setattr(proposals, "N_LANDMARKS", 100)
    X, y = nested_gaussians()
    hierarchy = cluster(X, 8)
    assert len(hierarchy.cluster) == len(X)
    assert adjusted_rand_score(y, hierarchy.cluster) == 1.0


@pytest.mark.parametrize("ratio", [1, 10, 100])
def test_classes_of_unequal_size_are_found(ratio):
    sizes = [500, max(5, 500 // ratio), 500]
    X, y = make_blobs(sizes, centers=[[0, 0], [30, 0], [0, 30]], random_state=0)
    assert adjusted_rand_score(y, cluster(X, 3).cluster) == 1.0


@pytest.mark.parametrize("n", [1, 2, 3, 4, 10])
def test_few_samples_have_a_hierarchy(n, rng):
    for n_clusters in range(1, n + 1):
        hierarchy = cluster(rng.standard_normal((n, 2)), n_clusters)
        assert hierarchy.cluster.unique().tolist() == list(range(n_clusters))
        assert hierarchy.merges.shape == (n_clusters - 1, 2)


@pytest.mark.parametrize(
    "X",
    [
        np.zeros((50, 3)),
        np.repeat(np.eye(3), [30, 20, 10], axis=0),
        np.concatenate([np.zeros((30, 2)), np.full((1, 2), 1e6)]),
        np.linspace(0, 1, 200)[:, None],
    ],
    ids=["constant", "duplicates", "outlier", "line"],
)
def test_degenerate_data_has_a_hierarchy(X):
    hierarchy = cluster(X, 3)
    assert set(hierarchy.cluster.tolist()) == {0, 1, 2}


def test_same_generator_same_hierarchy(rng):
    X = rng.standard_normal((400, 4))
    one, two = (cluster(X, 6, seed=3) for _ in range(2))
    assert torch.equal(one.cluster, two.cluster)
    assert (one.merges == two.merges).all()


@pytest.mark.parametrize(("max_depth", "n_clusters"), [(0, 1), (2, 4), (3, 8), (6, 8)])
def test_trees_have_a_largest_depth(max_depth, n_clusters):
    X, y = nested_gaussians()
    graph = GraphClustering(torch.tensor(X, dtype=torch.float32), generator())
    hierarchy = graph.hierarchy(8, max_depth)
    tree = Topology.from_merges(hierarchy.merges.tolist()).topology
    assert tree.depth <= max_depth
    assert len(tree.leaves) == n_clusters


def test_the_number_of_clusters_is_found():
    X, _ = nested_gaussians()
    graph = GraphClustering(torch.tensor(X, dtype=torch.float32), generator())
    assert graph.find_n_clusters(np.random.default_rng(0)) == 8


def test_clusters_have_enough_micro_clusters(monkeypatch, rng):
    monkeypatch.setattr(proposals, "N_GROUPS", 10)
    hierarchy = cluster(rng.random((200, 2)), 30)
    assert hierarchy.cluster.unique().tolist() == list(range(30))


@pytest.mark.parametrize("n", [200, 400])
def test_moons_are_told_apart(n):
    X, y = make_moons(n, noise=0.05, random_state=0)
    assert adjusted_rand_score(y, cluster(X, 2).cluster) > 0.95


@pytest.mark.parametrize("sizes", [(500, 500), (900, 100), (970, 30)])
def test_a_small_cluster_is_told_from_a_large_one(sizes):
    X, y = make_blobs(sizes, centers=[[0, 0], [9, 0]], random_state=0)
    assert adjusted_rand_score(y, cluster(X, 2).cluster) == 1.0


def test_groups_without_common_neighbours_are_joined_by_distance():
    centers = [[0, 0], [0, 3], [50, 0], [50, 3]]
    X, y = make_blobs(200, centers=centers, cluster_std=0.1, random_state=0)
    assert adjusted_rand_score(y // 2, cluster(X, 2).cluster) == 1.0


@pytest.mark.parametrize(
    ("merges", "sizes", "expected"),
    [
        ([[0, 1]], [50, 50], [0, 1]),
        ([[0, 1]], [5, 95], None),
        # The small one parts first, and goes with the larger side: left, then right.
        ([[0, 1], [2, 3]], [60, 30, 5], [0, 1, 0]),
        ([[0, 1], [2, 3]], [30, 60, 5], [0, 1, 1]),
        # Two small ones, on both sides of the way down.
        ([[1, 2], [0, 4], [3, 5]], [5, 40, 50, 6], [1, 0, 1, 1]),
        ([[0, 1], [2, 3], [4, 5]], [30, 60, 4, 5], [0, 1, 1, 1]),
        ([], [100], None),
    ],
)
def test_groups_too_small_to_be_leaves_go_with_the_larger_side(merges, sizes, expected):
    cluster = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    merges = np.array(merges, dtype=np.int64).reshape(-1, 2)
    hierarchy = proposals.Hierarchy(cluster, merges, torch.zeros(len(cluster)))
    side = hierarchy.sides(min_samples=10)
    if expected is None:
        assert side is None
    else:
        assert torch.equal(side, torch.tensor(expected)[cluster])
