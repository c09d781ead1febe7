import functools
import itertools

import joblib
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import make_blobs, make_moons
from sklearn.metrics import adjusted_rand_score

from sktreevae.data import FeatureTable
from sktreevae.graph import GraphOptions, NeighborGraph, Proposal
from sktreevae.graph import proposal as proposals
from sktreevae.graph.cluster_tree import ClusterTree
from sktreevae.graph.linkage import cut_merges
from sktreevae.graph.neighbors import nearest_neighbors
from sktreevae.model import Topology
from sktreevae.utils.cache import Cache

from .cases import lazy_table, nested_gaussians, sample_graph


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def table(X):
    return FeatureTable.from_tensor(torch.tensor(X, dtype=torch.float32))


def quick(**options):
    """Return options of a small graph, with few restarts."""
    return GraphOptions(**{"n_micro_clusters": 100, "n_restarts": 2, **options})


def cluster(X, n_clusters, seed=0, **options):
    graph = NeighborGraph(
        table(X), generator(seed), n_clusters, options=quick(**options)
    )
    return graph.propose(n_clusters)


@pytest.mark.parametrize(("n", "n_rows"), [(400, 400), (400, 100), (9, 9), (2, 2)])
def test_the_wide_graph_has_more_edges(n, n_rows, rng):
    x = torch.tensor(rng.standard_normal((n, 3)), dtype=torch.float32)
    rows = torch.randperm(n, generator=generator())[:n_rows]
    (index, _), graph = proposals._find_neighbors(x, rows, generator())
    expected = nearest_neighbors(FeatureTable.from_tensor(x), index.shape[1], None)[0]
    assert torch.equal(index, expected)
    assert graph.shape == (n, n)
    assert abs(graph - graph.T).max() < 1e-12
    degree = np.diff(graph.indptr)
    others = np.setdiff1d(np.arange(n), rows)
    assert not degree[others].any()
    n_neighbors = min(4 * proposals._count_neighbors(n) * n_rows / n, n_rows - 1)
    if n > 9:
        assert degree[rows].min() >= n_neighbors
    assert (degree[rows] > 0).all()


def test_samples_beyond_the_landmarks_follow_the_nearest():
    X, y = nested_gaussians()
    proposal = cluster(X, 8, max_landmarks=100)
    assert len(proposal.cluster) == len(X)
    assert adjusted_rand_score(y, proposal.cluster) == 1.0


@pytest.mark.parametrize("n", [1, 2, 3, 4, 10])
def test_few_samples_have_a_proposal(n, rng):
    for n_clusters in range(1, n + 1):
        proposal = cluster(rng.standard_normal((n, 2)), n_clusters)
        assert proposal.cluster.unique().tolist() == list(range(n_clusters))
        assert proposal.tree.merges.shape == (n_clusters - 1, 2)


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
def test_degenerate_data_has_a_proposal(X):
    proposal = cluster(X, 3)
    assert set(proposal.cluster.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(("max_depth", "n_clusters"), [(0, 1), (2, 4), (3, 8), (6, 8)])
def test_trees_have_a_largest_depth(max_depth, n_clusters):
    X, y = nested_gaussians()
    graph = NeighborGraph(table(X), generator(), options=quick())
    proposal = graph.propose(8, max_depth)
    tree = Topology.from_merges(proposal.tree.merges.tolist()).topology
    assert tree.depth <= max_depth
    assert len(tree.leaves) == n_clusters


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 8), ({"max_clusters": 4}, 4), ({"min_mean_cluster_size": 240}, 2)],
)
def test_the_number_of_clusters_is_found_within_its_limits(options, expected):
    X, _ = nested_gaussians()
    graph = NeighborGraph(table(X), generator(), options=quick(**options))
    assert graph.estimate_n_clusters(np.random.default_rng(0)) == expected


def test_clusters_have_enough_micro_clusters(rng):
    proposal = cluster(rng.random((200, 2)), 30, n_micro_clusters=10)
    assert proposal.cluster.unique().tolist() == list(range(30))


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
def test_groups_too_small_to_be_leaves_go_with_the_larger_side(
    merges, sizes, expected, rng
):
    cluster = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    proba = torch.from_numpy(rng.dirichlet(np.ones(len(sizes)), len(cluster)))
    tree = ClusterTree(np.array(merges, dtype=int).reshape(-1, 2), None, None)
    size = torch.tensor(sizes)
    side = Proposal(cluster, proba, tree, None, size, {}).sides(10)
    if expected is None:
        assert side is None
    else:
        torch.testing.assert_close(side, proba @ torch.eye(2).double()[expected])


def touching_gaussians(n=600):
    """Return two Gaussians that overlap, two standard deviations apart."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 2))
    X[:, 0] += 2.0 * (np.arange(n) % 2)
    return X


MOONS, MOON = make_moons(600, noise=0.08, random_state=0)
PROPOSED = {"mixture": touching_gaussians(), "shares": MOONS}
"""Data whose probabilities are those of a mixture, or the shares of the neighbors."""


@pytest.mark.parametrize("max_landmarks", [600, 300])
@pytest.mark.parametrize("kind", PROPOSED)
def test_every_sample_has_probabilities_of_clusters(kind, max_landmarks):
    proposal = cluster(PROPOSED[kind], 2, max_landmarks=max_landmarks)
    assert proposal.proba.shape == (600, 2)
    assert (proposal.proba >= 0).all()
    total = proposal.proba.sum(1).double()
    torch.testing.assert_close(total, torch.ones(600).double(), rtol=0.0, atol=1e-5)
    if kind == "mixture":
        assert torch.equal(proposal.proba.argmax(1), proposal.cluster)


def test_most_neighbors_of_most_samples_are_in_their_cluster():
    proposal = cluster(PROPOSED["shares"], 2)
    assert adjusted_rand_score(MOON, proposal.cluster) > 0.95
    agree = (proposal.proba.argmax(1) == proposal.cluster).float().mean()
    assert agree > 0.98
    assert proposal.proba.max(1).values.mean() > 0.98


def test_probabilities_of_overlapping_clusters_are_soft():
    X = PROPOSED["mixture"]
    proba = cluster(X, 2).proba.double().numpy()
    truth = 1 / (1 + np.exp(-2.0 * (X[:, 0] - 1.0)))
    assert min(np.abs(proba[:, k] - truth).mean() for k in (0, 1)) < 0.1


def gaussians_of_four_scales(seed):
    """Sixteen Gaussians, nested in pairs at distances 64, 16, 4 and 1."""
    rng = np.random.default_rng(seed)
    centers = np.zeros((1, 8))
    for distance in (64, 16, 4, 1):
        step = rng.standard_normal(centers.shape)
        step *= distance / 2 / np.linalg.norm(step, axis=1, keepdims=True)
        centers = np.stack([centers + step, centers - step], axis=1).reshape(-1, 8)
    y = np.repeat(np.arange(16), 60)
    return centers[y] + 0.15 * rng.standard_normal((len(y), 8)), y


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(s, marks=pytest.mark.nightly) for s in (1, 2))]
)
def test_nested_clusters_are_cut_right_at_every_scale(seed):
    X, y = gaussians_of_four_scales(seed)
    proposal = cluster(X, 16, seed, n_micro_clusters=320)
    assert (np.diff(proposal.tree.height) >= 0).all()
    for k in (2, 4, 8, 16):
        cut = cut_merges(proposal.tree.merges, 16, k)[proposal.cluster]
        # A sample in a thousand is nearer to another mean of the finest level.
        assert adjusted_rand_score(y * k // 16, cut) > (0.99 if k == 16 else 0.9999)


@pytest.mark.parametrize("distance", [30, 300, 3000])
def test_unequal_clusters_are_cut_right_at_two_scales(distance):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2, 3], [400, 30, 400, 30])
    X = rng.standard_normal((len(y), 4))
    X[:, 0] += 8.0 * (y % 2)
    X[:, 1] += distance * (y // 2)
    proposal = cluster(X, 4)
    for k, expected in ((2, y // 2), (4, y)):
        cut = cut_merges(proposal.tree.merges, 4, k)[proposal.cluster]
        assert adjusted_rand_score(expected, cut) == 1.0


@pytest.mark.parametrize(
    ("sizes", "n_more"),
    [
        ((495, 5), 1),
        ((200, 20, 20), 2),
        *(
            pytest.param(x, 3, marks=pytest.mark.nightly)
            for x in ((950, 50), (990, 10))
        ),
    ],
)
def test_small_separate_groups_are_found_before_others_are_cut(sizes, n_more, rng):
    y = np.repeat(np.arange(len(sizes)), sizes)
    X = rng.standard_normal((len(y), 3))
    X[np.arange(len(y)), y] += 12.0 * (y > 0)
    graph = NeighborGraph(table(X), generator(), options=quick())
    for n_clusters in range(len(sizes), len(sizes) + n_more + 1):
        labels = graph.propose(n_clusters, min_size=5).cluster
        assert len(set(zip(labels.tolist(), y.tolist(), strict=True))) == n_clusters


@pytest.mark.parametrize(("max_groups", "n_used"), [(4, 2), (3, 1)])
def test_samples_that_are_together_in_all_partitions_are_a_group(max_groups, n_used):
    component = np.array([0, 0, 0, 0, 1, 1])
    graph = sample_graph(sparse.csr_array((6, 6)), component=component)
    partitions = {
        "one": np.array([0, 0, 1, 1, 1, 1]),
        "two": np.array([1, 0, 0, 0, 0, 0]),
    }
    together = np.zeros(6, dtype=int)
    assignment, clusters = graph.overlay(together, partitions, max_groups)
    assert list(clusters) == list(partitions)[:n_used]
    for i, j in itertools.combinations(range(6), 2):
        used = [component, *(partitions[name] for name in clusters)]
        is_together = all(labels[i] == labels[j] for labels in used)
        assert (assignment[i] == assignment[j]) == is_together
    for name, labels in clusters.items():
        assert np.array_equal(labels[assignment], partitions[name])


def assert_same(one, two):
    (one, one_state), (two, two_state) = one, two
    assert torch.equal(one.cluster, two.cluster)
    assert torch.equal(one.spacing, two.spacing)
    assert np.array_equal(one.tree.merges, two.tree.merges)
    assert torch.equal(one_state, two_state)


EXPENSIVE = ["_micro_clusterings", "_propose", "_nearest_landmarks"]


@pytest.fixture
def calls(monkeypatch):
    """Return the names of the expensive functions that have run."""
    names = []
    for name in EXPENSIVE:
        function = getattr(proposals, name)

        @functools.wraps(function)
        def counted(*args, function=function, name=name):
            names.append(name)
            return function(*args)

        monkeypatch.setattr(proposals, name, counted)
    return names


def run(make, max_landmarks, memory=None):
    """Return a proposal, and the state of the generator afterwards."""
    random, X = generator(), nested_gaussians()[0]
    options = quick(max_landmarks=max_landmarks)
    graph = NeighborGraph(make(X), random, 8, options=options, cache=Cache(memory))
    return graph.propose(8), random.get_state()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("max_landmarks", [1000, 100])
@pytest.mark.parametrize(("make", "mmap_mode"), [(table, None), (lazy_table, "r")])
def test_stored_results_are_those_that_are_computed_of_rows_in_memory(
    make, mmap_mode, max_landmarks, calls, tmp_path, capfd
):
    expected = run(table, max_landmarks)
    memory = joblib.Memory(tmp_path, mmap_mode=mmap_mode, verbose=0)
    nearest = ["_nearest_landmarks"] * (max_landmarks == 100)
    of_rows_on_disk = nearest if make is lazy_table else []
    for names in (["_micro_clusterings", "_propose", *nearest], of_rows_on_disk):
        calls.clear()
        assert_same(run(make, max_landmarks, memory), expected)
        assert calls == names
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("max_landmarks", [1000, 200])
def test_groups_that_stand_apart_are_those_of_all_samples(max_landmarks):
    X, y = make_blobs([300, 100], 3, centers=[[0] * 3, [9] * 3], random_state=0)
    options = GraphOptions(max_landmarks=max_landmarks)
    random = torch.Generator().manual_seed(0)
    graph = NeighborGraph(table(X), random, 4, options=options)
    assert adjusted_rand_score(y, graph.separate_groups()) == 1.0
