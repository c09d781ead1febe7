import functools
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch.nn.functional import one_hot

from sktreevae import TreeVAEClustering
from sktreevae.graph import GraphOptions, NeighborGraph, Proposal
from sktreevae.model import Topology
from sktreevae.model.networks import BottomUp
from sktreevae.training import ContrastOptions, GrowthOptions, GuidedGrowth
from sktreevae.training.growth import GuidedSchedule

from .cases import CONFIG, make_data, make_trainer, nested_gaussians

CONFIG4 = replace(CONFIG, n_features=4)


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
    schedule=GuidedSchedule(),  # noqa: B008
    **options,
):
    data, proposal, y = propose(n_clusters, n_validation, graph)
    options = GrowthOptions(n_clusters, schedule=schedule, graph=graph, **options)
    trainer = make_trainer(max_iter=None, batch_size=64)
    contrast = pairs and ContrastOptions(pairs, 1.0, 0.5)
    return GuidedGrowth(data, CONFIG, options, trainer, contrast), proposal, y


def test_the_model_learns_the_proposal():
    growth, proposal, y = make_growth(8)
    model = growth.grow(proposal)
    leaf = growth.assign_leaves()
    assert adjusted_rand_score(proposal.cluster, leaf) > 0.98
    assert len(model.topology.leaves) == 8


def built(n_clusters, pairs=None, **options):
    growth, proposal, y = make_growth(n_clusters, pairs, **options)
    growth.build_model(Topology.from_merges(proposal.merges.tolist()).topology)
    return growth, torch.tensor(y)


def test_noise_is_not_longer_than_the_clusters_are_wide():
    growth, proposal, _ = make_growth(8)
    features = growth.data.features[growth.data.train].double()
    distance = torch.cdist(features, features)
    cluster = proposal.cluster.clone()
    cluster[0] = 8  # a single row
    extent = growth._pair_distances(cluster)
    for i in range(8):
        pairs = distance[cluster == i][:, cluster == i]
        n = len(pairs)
        expected = (pairs.square().sum() / (n * (n - 1))).sqrt().item()
        assert extent[i].item() == pytest.approx(expected, rel=1e-4)
    assert extent[8] == 0


def test_as_many_clusters_as_rows_are_found():
    X = np.random.default_rng(0).normal(size=(60, 5))
    model = TreeVAEClustering(60, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert model.fit(X).n_clusters_ >= 55


def test_routers_learn_their_targets_alone():
    growth, target = built(8)
    before = {name: p.clone() for name, p in growth.model.named_parameters()}
    growth._train_routers(one_hot(target).float(), 200)
    assert (growth.assign_leaves() == target).float().mean() > 0.98
    trained = ("bottom_up", "top_down.q_routers")
    for name, parameter in growth.model.named_parameters():
        assert name.startswith(trained) != torch.equal(parameter, before[name]), name


def test_routers_learn_soft_targets():
    growth, y = built(8)
    # The nearer pairs of clusters can't be told apart.
    target = one_hot(y // 2, 4).float().repeat_interleave(2, dim=1) / 2
    growth._train_routers(target, 200)
    proba = growth.data.features.map(growth.model.leaf_proba)
    assert (proba - target).abs().mean() < 0.02


def far_away(growth):
    """Return augmentations that lie farther away than all samples."""
    return growth.data.features[:] + torch.tensor([0.0, 4.0, 0.0])


def test_routers_learn_to_send_augmentations_where_the_samples_go():
    growth, target = built(8, lambda index, _: far_away(growth)[index])
    before = {name: p.clone() for name, p in growth.contrast.named_parameters()}
    growth._train_routers(one_hot(target).float(), 200)
    for features in (growth.data.features[:], far_away(growth)):
        leaf = growth.model.assign_leaves(features)
        assert (leaf == target).float().mean() > 0.9
    for name, parameter in growth.contrast.named_parameters():
        assert torch.equal(parameter, before[name]), name


@pytest.mark.parametrize(("tol", "n_steps"), [(torch.inf, 8), (0.0, 20)])
def test_routers_are_trained_until_their_loss_is_small(tol, n_steps, monkeypatch):
    growth, target = built(8, schedule=GuidedSchedule(router_loss_tol=tol))
    calls = []
    forward = growth.model.bottom_up.forward
    monkeypatch.setattr(
        growth.model.bottom_up, "forward", lambda x: calls.append(1) or forward(x)
    )
    growth._train_routers(one_hot(target).float(), 20)
    # An epoch has 8 steps.
    assert len(calls) == n_steps


@pytest.mark.parametrize(
    ("max_iter", "steps_per_epoch", "n_steps"),
    [(None, 8, 400), (None, 1, 100), (15, 8, 400), (2, 8, 64), (1, 200, 400)],
)
def test_an_int_as_max_iter_limits_the_training_of_the_routers(
    max_iter, steps_per_epoch, n_steps
):
    growth, _ = built(2)
    growth.trainer.options = replace(growth.trainer.options, max_iter=max_iter)
    assert growth._n_router_steps(steps_per_epoch) == n_steps


@pytest.mark.parametrize(
    ("has_latents", "max_steps", "kl_weights", "min_steps"),
    [
        (True, 1000, (1.0, 1.0), 120),
        (False, 1000, (0.0, 1.0), 150),
        (True, 50, (1.0, 1.0), 50),
        (False, 50, (0.0, 1.0), 50),
    ],
)
def test_posteriors_from_random_weights_have_annealing_and_more_steps(
    has_latents, max_steps, kl_weights, min_steps
):
    growth, _ = built(2)
    phase = growth._joint_phase(has_latents, max_steps)
    assert phase.kl_weights == kl_weights
    assert phase.min_steps == min_steps
    assert len(set(phase.routing_weights)) == 1


@pytest.mark.parametrize("max_landmarks", [480, 100])
def test_noise_reaches_as_far_as_the_neighbors_of_a_sample(max_landmarks):
    graph = GraphOptions(max_landmarks, n_micro_clusters=100, n_restarts=2)
    growth, proposal, _ = make_growth(2, graph=graph)
    growth.grow(proposal)
    x = growth.data.features[:]
    length = growth.noisy_features.noise_scale[:, 0] * np.sqrt(3)
    torch.testing.assert_close(length, proposal.spacing)
    if max_landmarks == 480:
        distance = torch.cdist(x, x).sort(dim=1).values[:, 1:10]
        torch.testing.assert_close(length, distance.median(1).values, rtol=1e-3, atol=0)


def test_noise_is_only_for_training(monkeypatch):
    growth, proposal, _ = make_growth(2, n_validation=80)
    rows = {tuple(row) for row in growth.data.features[:].tolist()}
    seen = {True: [], False: []}
    forward = BottomUp.forward

    def recorded(bottom_up, features):
        known = [tuple(row) in rows or not any(row) for row in features.tolist()]
        seen[bottom_up.training].append(np.mean(known))
        return forward(bottom_up, features)

    monkeypatch.setattr(BottomUp, "forward", recorded)
    growth.grow(proposal)
    assert set(seen[True]) == {0.0}
    assert set(seen[False]) == {1.0}


def test_dense_clusters_near_each_other_stay_apart(rng):
    # The noise of a sparse cloud would wash them into one.
    cloud = rng.standard_normal((400, 10))
    dense = 0.01 * rng.standard_normal((200, 10))
    dense[:, 0] += 12
    dense[100:, 1] += 0.15
    X, y = np.concatenate([cloud, dense]), np.repeat([0, 1, 2], [400, 100, 100])
    model = TreeVAEClustering(3, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1.0


@pytest.mark.parametrize(
    "distance",
    [100, *(pytest.param(d, marks=pytest.mark.nightly) for d in (10, 1000))],
)
def test_routers_keep_the_clusters_at_every_scale_of_distance(distance, rng):
    y = np.repeat([0, 1, 2, 3], [200, 30, 200, 30])
    X = rng.standard_normal((len(y), 4))
    X[:, 0] += 8.0 * (y % 2)
    X[:, 1] += distance * (y // 2)
    data = make_data(X)
    far, near = 2.0, 1.0
    proposal = Proposal(
        cluster=torch.from_numpy(y),
        proba=one_hot(torch.from_numpy(y)).float(),
        merges=np.array([[0, 1], [2, 3], [4, 5]]),
        height=np.array([near, near, far]),
        spacing=torch.from_numpy(np.full(len(X), 1.0 / X.std(), dtype=np.float32)),
        costs={},
    )
    growth = GuidedGrowth(data, CONFIG4, GrowthOptions(4), make_trainer(max_iter=None))
    growth.grow(proposal)
    assert adjusted_rand_score(y, growth.assign_leaves()) > 0.99


def test_priors_of_the_decisions_are_their_frequencies():
    growth, proposal, _ = make_growth(8, min_cluster_size=1)
    growth.grow(proposal)
    state = growth.generator.get_state()
    growth.fit_prior_odds()
    growth.generator.set_state(state)  # for the same draws of the latents
    weight, q_proba, p_logit = growth._decisions(growth.data.train)
    expected = (weight * q_proba).sum(1) / weight.sum(1)
    actual = (weight * p_logit.sigmoid()).sum(1) / weight.sum(1)
    torch.testing.assert_close(actual, expected, atol=1e-3, rtol=0.0)


def test_leaves_with_too_few_samples_are_pruned():
    growth, proposal, _ = make_growth(8, min_cluster_size=0.2)
    model = growth.grow(proposal)
    assert growth.leaf_counts().min() >= 0.2 * 480
    assert len(model.topology.leaves) < 8


@pytest.mark.parametrize(("size", "expected"), [(30, 30), (0.1, 48), (0, 1), (None, 3)])
def test_minimum_size_is_a_count_or_a_fraction(size, expected):
    assert GrowthOptions(8, min_cluster_size=size).min_samples(480) == expected


def test_minimum_size_is_a_twentieth_of_the_mean_and_at_most_a_hundredth():
    assert GrowthOptions(2).min_samples(1000) == 10
    assert GrowthOptions(50).min_samples(1000) == 1
    assert GrowthOptions(50).min_samples(100_000) == 100


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(s, marks=pytest.mark.nightly) for s in range(1, 5))]
)
def test_clusters_near_each_other_on_a_line_are_kept(seed):
    # Ten deviations apart, beside others more than a hundred deviations away.
    X = np.repeat([0.0, 3.0, 40.0, 43.0], 100)[:, None] * [1.0, 0.0]
    X += 0.3 * np.random.default_rng(seed).standard_normal(X.shape)
    model = TreeVAEClustering(4, random_state=seed).fit(X)
    assert adjusted_rand_score(np.repeat(range(4), 100), model.labels_) == 1.0
