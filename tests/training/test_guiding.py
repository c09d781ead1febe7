import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from sktreevae import TreeVAEClustering
from sktreevae.model import Topology
from sktreevae.model.networks import BottomUp
from sktreevae.training import (
    ContrastOptions,
    GraphClustering,
    GrowthOptions,
    GuidedGrowth,
    History,
    LoopOptions,
    Samples,
    guiding,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def nested_gaussians(n=480, seed=0):
    """Eight Gaussians in pairs of pairs."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 8
    bits = np.stack([y & 4, 3 * (y & 2), 20 * (y & 1)], axis=1).astype(float)
    return bits * [3.0, 3.0, 3.0] + rng.standard_normal((n, 3)), y


def cluster(X, n_clusters, seed=0):
    X = torch.tensor(X, dtype=torch.float32)
    return GraphClustering(X, generator(seed), n_clusters).hierarchy(n_clusters)


@pytest.mark.parametrize("limit", [100, 1000])
def test_clusters_and_their_nesting_are_found(limit, monkeypatch):
    monkeypatch.setattr(guiding, "N_GROUPS", limit)
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
    monkeypatch.setattr(guiding, "N_LANDMARKS", 100)
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


def make_growth(n_clusters, min_fraction=0.01, views=None):
    X, y = nested_gaussians()
    samples = Samples(X, X.mean(axis=0), X.std(axis=0))
    features = samples[torch.arange(len(X))]
    growth = GuidedGrowth(
        samples,
        features,
        torch.arange(len(X)),
        torch.arange(0),
        networks={
            "n_features": 3,
            "hidden_dim": 16,
            "latent_dim": 2,
            "n_steps": 3,
            "likelihood": "gaussian",
        },
        growth=GrowthOptions(n_clusters, None, "n_samples", min_fraction),
        options=LoopOptions(3, 64, 5e-3, 0.0, 10, 0.0),
        contrast=views and ContrastOptions(views, 1.0, 0.5),
        generator=generator(),
        history=History(),
    )
    return growth, GraphClustering(features, generator()).hierarchy(n_clusters), y


def test_the_model_learns_the_proposal():
    growth, hierarchy, y = make_growth(8)
    model = growth.grow(hierarchy)
    leaf = growth.positions()
    assert adjusted_rand_score(hierarchy.cluster, leaf) > 0.98
    assert len(model.topology.leaves) == 8


def planted(n_clusters, views=None):
    growth, hierarchy, y = make_growth(n_clusters, views=views)
    growth.plant(Topology.from_merges(hierarchy.merges.tolist()).topology)
    growth.noise = torch.zeros(len(y), 1)
    return growth, torch.tensor(y)


def test_routers_learn_their_targets_alone():
    growth, target = planted(8)
    before = {name: p.clone() for name, p in growth.model.named_parameters()}
    growth._start_routers(target, 200)
    assert (growth.positions() == target).float().mean() > 0.98
    trained = ("bottom_up", "top_down.q_routers")
    for name, parameter in growth.model.named_parameters():
        assert name.startswith(trained) != torch.equal(parameter, before[name]), name


def far_away(growth):
    """Return views that lie farther away than all samples."""
    return growth.features + torch.tensor([0.0, 4.0, 0.0])


def test_routers_learn_to_send_variants_where_the_samples_go():
    growth, target = planted(8, lambda index, _: far_away(growth)[index])
    before = {name: p.clone() for name, p in growth.contrast.named_parameters()}
    growth._start_routers(target, 200)
    for features in (growth.features, far_away(growth)):
        leaf = growth.model.route_from(features).argmax(0)
        assert (leaf == target).float().mean() > 0.9
    for name, parameter in growth.contrast.named_parameters():
        assert torch.equal(parameter, before[name]), name


@pytest.mark.parametrize(("sure", "n_steps"), [(torch.inf, 8), (0.0, 20)])
def test_routers_are_trained_until_they_are_sure(sure, n_steps, monkeypatch):
    monkeypatch.setattr(guiding, "SURE", sure)
    steps = []
    step = guiding.Descent.step

    def counted(self, loss, progress):
        steps.append(progress)
        step(self, loss, progress)

    monkeypatch.setattr(guiding.Descent, "step", counted)
    growth, target = planted(8)
    growth._start_routers(target, 20)
    # An epoch has 8 steps.
    assert steps == [i / 20 for i in range(n_steps)]


@pytest.mark.parametrize("n_landmarks", [480, 100])
def test_noise_reaches_as_far_as_a_samples_neighbours(n_landmarks, monkeypatch):
    monkeypatch.setattr(guiding, "N_LANDMARKS", n_landmarks)
    growth, hierarchy, _ = make_growth(2)
    growth.grow(hierarchy)
    x = growth.features
    length = growth.noise[:, 0] * np.sqrt(3)
    torch.testing.assert_close(length, hierarchy.spacing)
    if n_landmarks == 480:
        distance = torch.cdist(x, x).sort(dim=1).values[:, 1:10]
        torch.testing.assert_close(length, distance.median(1).values, rtol=1e-3, atol=0)


def test_noise_is_only_for_learning(monkeypatch):
    growth, hierarchy, _ = make_growth(2)
    growth.train, growth.validation = growth.train[:400], growth.train[400:]
    hierarchy = guiding.Hierarchy(
        hierarchy.cluster[:400], hierarchy.merges, hierarchy.spacing[:400]
    )
    rows = {tuple(row) for row in growth.features.tolist()}
    seen = {True: [], False: []}
    forward = BottomUp.forward

    def recorded(bottom_up, features):
        known = [tuple(row) in rows or not any(row) for row in features.tolist()]
        seen[torch.is_grad_enabled()].append(np.mean(known))
        return forward(bottom_up, features)

    monkeypatch.setattr(BottomUp, "forward", recorded)
    growth.grow(hierarchy)
    assert set(seen[True]) == {0.0}
    assert set(seen[False]) == {1.0}


def test_dense_clusters_near_each_other_stay_apart(rng):
    # The noise of a sparse cloud would wash them into one.
    cloud = rng.standard_normal((800, 10))
    dense = 0.01 * rng.standard_normal((200, 10))
    dense[:, 0] += 12
    dense[100:, 1] += 0.15
    X, y = np.concatenate([cloud, dense]), np.repeat([0, 1, 2], [800, 100, 100])
    model = TreeVAEClustering(3, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1.0


def test_clusters_have_enough_micro_clusters(monkeypatch, rng):
    monkeypatch.setattr(guiding, "N_GROUPS", 10)
    hierarchy = cluster(rng.random((200, 2)), 30)
    assert hierarchy.cluster.unique().tolist() == list(range(30))


def test_leaves_with_too_few_samples_are_pruned():
    growth, hierarchy, _ = make_growth(8, min_fraction=0.2)
    model = growth.grow(hierarchy)
    assert growth.leaf_counts().min() >= 0.2 * 480
    assert len(model.topology.leaves) < 8


def test_a_single_cluster_is_a_plain_vae():
    growth, hierarchy, _ = make_growth(1)
    assert growth.grow(hierarchy).topology == Topology.single_leaf()
