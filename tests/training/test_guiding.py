import numpy as np
import pytest
import torch
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
    proposals,
)

from .cases import nested_gaussians


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


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
    monkeypatch.setattr(proposals, "N_LANDMARKS", n_landmarks)
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
    hierarchy = proposals.Hierarchy(
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


def test_leaves_with_too_few_samples_are_pruned():
    growth, hierarchy, _ = make_growth(8, min_fraction=0.2)
    model = growth.grow(hierarchy)
    assert growth.leaf_counts().min() >= 0.2 * 480
    assert len(model.topology.leaves) < 8


def test_a_single_cluster_is_a_plain_vae():
    growth, hierarchy, _ = make_growth(1)
    assert growth.grow(hierarchy).topology == Topology.single_leaf()
