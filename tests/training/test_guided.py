import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch.nn.functional import one_hot

from sktreevae import TreeVAEClustering
from sktreevae.graph import GraphOptions, NeighborGraph
from sktreevae.model.networks import BottomUp
from sktreevae.training.contrastive import ContrastOptions
from sktreevae.training.growth import GrowthOptions
from sktreevae.training.guided import GuidedGrowth, RouterPhase
from sktreevae.training.objectives import RoutingObjective
from sktreevae.training.state import Plan

from ..graph.cases import nested_gaussians
from .cases import CONFIG, make_data, make_trainer


@functools.cache
def propose(n_clusters, n_validation, graph):
    """Return data, and the proposal of a graph."""
    X, y = nested_gaussians()
    data = make_data(X, n_validation)
    features = data.features.subset(data.train)
    graph = NeighborGraph(features, torch.Generator().manual_seed(0), options=graph)
    return data, graph.propose(n_clusters), y


def make_growth(
    n_clusters,
    pairs=None,
    n_validation=0,
    graph=GraphOptions(n_micro_clusters=100, n_restarts=2),  # noqa: B008
    max_iter=None,
    config=CONFIG,
    **options,
):
    data, proposal, _ = propose(n_clusters, n_validation, graph)
    options = GrowthOptions(n_clusters, graph=graph, **options)
    trainer = make_trainer(max_iter=max_iter, batch_size=64)
    contrast = pairs and ContrastOptions(pairs, 1.0, 0.5)
    trainer.state.plan = Plan(n_clusters, {}, proposal)
    return GuidedGrowth(data, config, options, trainer, contrast)


def grown(growth):
    """Run a growth, and return what it has found."""
    growth.run()
    return growth.finished()


@pytest.fixture(scope="module")
def grown_eight():
    return grown(make_growth(8))


def leaves(growth):
    return growth.data.assign(growth.model)


def test_the_model_learns_the_proposal(grown_eight):
    cluster = grown_eight.state.plan.proposal.cluster
    assert adjusted_rand_score(cluster, leaves(grown_eight)) > 0.98
    assert len(grown_eight.model.topology.leaves) == 8
    state = grown_eight.state
    assert (state.target.argmax(1) == state.leaf).float().mean() > 0.98
    assert grown_eight.state.done == ["initialization", "routers", "joint"]


def begun(n_clusters, pairs=None, **options):
    """Return a growth with an initial model, and the known clusters."""
    growth = make_growth(n_clusters, pairs, **options)
    growth._initialize()
    return growth, torch.tensor(nested_gaussians()[1])


def train_routers(growth, target, max_steps=200, tol=0.1):
    growth.state.target = target
    phase = RouterPhase("routers", (0, 0), (1, 1), max_steps=max_steps, tol=tol)
    growth.trainer.train(phase, RoutingObjective(growth.data, growth.state))


def test_noise_is_not_longer_than_the_clusters_are_wide():
    growth = make_growth(8)
    features = growth.data.features[growth.data.train].double()
    distance = torch.cdist(features, features)
    cluster = growth.state.plan.proposal.cluster.clone()
    cluster[0] = 8  # a single row
    extent = growth._pair_distances(cluster, 9)
    for i in range(8):
        pairs = distance[cluster == i][:, cluster == i]
        n = len(pairs)
        expected = (pairs.square().sum() / (n * (n - 1))).sqrt().item()
        assert extent[i].item() == pytest.approx(expected, rel=1e-4)
    assert extent[8] == 0


def test_routers_learn_their_targets_alone():
    growth, target = begun(8)
    # Not those of the initial routers.
    target = target.roll(1)
    before = {name: p.clone() for name, p in growth.model.named_parameters()}
    train_routers(growth, one_hot(target).float(), max_steps=400)
    assert (leaves(growth) == target).float().mean() > 0.98
    trained = ("bottom_up", "top_down.q_routers")
    for name, parameter in growth.model.named_parameters():
        assert name.startswith(trained) != torch.equal(parameter, before[name]), name


def far_away(growth):
    """Return augmentations that lie farther away than all samples."""
    return growth.data.features[:] + torch.tensor([0.0, 4.0, 0.0])


def test_routers_learn_to_send_augmentations_where_the_samples_go():
    growth, _ = begun(8, lambda index, _: far_away(growth)[index])
    target = growth.state.leaf

    def accuracy(features):
        return (growth.model.assign_leaves(features) == target).float().mean()

    assert accuracy(far_away(growth)) < 0.9
    before = {name: p.clone() for name, p in growth.state.contrast.named_parameters()}
    train_routers(growth, one_hot(target).float())
    assert accuracy(growth.data.features[:]) > 0.9
    assert accuracy(far_away(growth)) > 0.9
    for name, parameter in growth.state.contrast.named_parameters():
        assert torch.equal(parameter, before[name]), name


@pytest.mark.parametrize(
    ("max_iter", "batch_size", "n_steps"),
    [(None, 64, 400), (None, 480, 100), (15, 64, 400), (2, 64, 64), (1, 3, 400)],
)
def test_an_int_as_max_iter_limits_the_training_of_the_routers(
    max_iter, batch_size, n_steps
):
    growth, _ = begun(2, max_iter=max_iter)
    growth.trainer.options = replace(growth.trainer.options, batch_size=batch_size)
    assert growth._router_phase().max_steps == n_steps


@pytest.mark.parametrize(
    ("likelihood", "batch_size", "kl_weights", "min_steps"),
    [
        ("gaussian", 64, (1.0, 1.0), 120),
        ("poisson", 64, (0.0, 1.0), 150),
        ("gaussian", 480, (1.0, 1.0), 100),
        ("poisson", 480, (0.0, 1.0), 100),
    ],
)
def test_posteriors_from_random_weights_have_annealing_and_more_steps(
    likelihood, batch_size, kl_weights, min_steps
):
    growth, _ = begun(2, config=replace(CONFIG, likelihood=likelihood))
    growth.trainer.options = replace(growth.trainer.options, batch_size=batch_size)
    phase = growth._joint_phase()
    assert phase.kl_weights == kl_weights
    assert phase.min_steps == min_steps
    assert len(set(phase.routing_weights)) == 1


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
def test_latents_of_counts_start_from_random_weights(likelihood):
    growth, _ = begun(2, config=replace(CONFIG, likelihood=likelihood))
    before = {name: p.clone() for name, p in growth.model.named_parameters()}
    growth._init_latents()
    for name, parameter in growth.model.named_parameters():
        assert torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("max_landmarks", [480, 100])
def test_noise_reaches_as_far_as_the_neighbors_of_a_sample(max_landmarks):
    graph = GraphOptions(max_landmarks, n_micro_clusters=100, n_restarts=2)
    growth, _ = begun(2, graph=graph)
    x = growth.data.features[:]
    length = growth.state.noise_scale[:, 0] * np.sqrt(3)
    torch.testing.assert_close(length, growth.state.plan.proposal.spacing)
    if max_landmarks == 480:
        distance = torch.cdist(x, x).sort(dim=1).values[:, 1:10]
        torch.testing.assert_close(length, distance.median(1).values, rtol=1e-3, atol=0)


def test_noise_is_only_for_training(monkeypatch):
    growth = make_growth(2, n_validation=80, max_iter=2)
    rows = {tuple(row) for row in growth.data.features[:].tolist()}
    seen = {True: [], False: []}
    forward = BottomUp.forward

    def recorded(bottom_up, features):
        known = [tuple(row) in rows or not any(row) for row in features.tolist()]
        seen[bottom_up.training].append(np.mean(known))
        return forward(bottom_up, features)

    monkeypatch.setattr(BottomUp, "forward", recorded)
    growth.run()
    assert set(seen[True]) == {0.0}
    assert set(seen[False]) == {1.0}


def test_dense_clusters_near_each_other_stay_apart(rng):
    # The noise of a sparse cloud would wash them into one.
    cloud = rng.standard_normal((200, 10))
    dense = 0.01 * rng.standard_normal((100, 10))
    dense[:, 0] += 12
    dense[50:, 1] += 0.15
    X, y = np.concatenate([cloud, dense]), np.repeat([0, 1, 2], [200, 50, 50])
    model = TreeVAEClustering(3, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1.0


@pytest.mark.parametrize(
    "distance", [100, *(pytest.param(d, marks=pytest.mark.nightly) for d in (10, 1000))]
)
def test_routers_keep_the_clusters_at_every_scale_of_distance(distance, rng):
    y = np.repeat([0, 1, 2, 3], [200, 30, 200, 30])
    X = rng.standard_normal((len(y), 4))
    X[:, 0] += 8.0 * (y % 2)
    X[:, 1] += distance * (y // 2)
    model = TreeVAEClustering(4, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.99


def test_generated_samples_have_the_sizes_of_the_clusters(grown_eight):
    model, data = grown_eight.model, grown_eight.data
    noise = model.sample_noise(20_000, torch.Generator().manual_seed(1))
    _, log_proba = model.top_down.sample_latents(noise)
    expected = model.leaf_proba(data.features[data.train]).mean(0)
    torch.testing.assert_close(log_proba.exp().mean(1), expected, atol=0.01, rtol=0.0)


def test_leaves_with_too_few_samples_are_pruned():
    growth = grown(make_growth(8, min_cluster_size=0.2))
    assert growth.leaf_counts().min() >= 0.2 * 480
    assert len(growth.model.topology.leaves) < 8
    n_nodes = growth.model.topology.n_nodes
    assert len(growth.state.height) == len(growth.state.excess_cost) == n_nodes


@pytest.mark.parametrize(
    ("n_clusters", "size", "n_samples", "expected"),
    [
        (8, 30, 480, 30),
        (8, 0.1, 480, 48),
        (8, 0, 480, 1),
        # A twentieth of the mean, and at most a hundredth of all.
        (8, None, 480, 3),
        (2, None, 1000, 10),
        (50, None, 1000, 1),
        (50, None, 100_000, 100),
    ],
)
def test_minimum_size_is_a_count_or_a_fraction(n_clusters, size, n_samples, expected):
    options = GrowthOptions(n_clusters, min_cluster_size=size)
    assert options.min_samples(n_samples) == expected
