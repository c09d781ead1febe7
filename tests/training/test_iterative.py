import copy
import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from torch.nn.functional import one_hot

from sktreevae import TreeVAEClustering
from sktreevae.metrics import leaf_purity
from sktreevae.model import Topology, attach
from sktreevae.training.contrastive import router_contrast
from sktreevae.training.iterative import IterativeGrowth, sum_divergences
from sktreevae.training.objectives import SplitObjective, routing_loss
from sktreevae.training.state import Split

from ..model.strategies import topologies
from .cases import make_blobs_growth

make_growth = partial(make_blobs_growth, IterativeGrowth)


def mirrored(growth):
    """Return augmentations without information on the samples."""
    return -growth.data.features[:]


def stump(with_views=False, **options):
    """Return a growth whose root is split."""

    def pairs(index, _):
        return mirrored(growth)[index]

    growth = make_growth(n_clusters=2, pairs=pairs if with_views else None, **options)
    growth.run()
    return growth


@pytest.mark.parametrize("with_views", [False, True])
def test_a_split_trains_the_new_part_alone(with_views):
    growth = stump(with_views=with_views)
    growth.state.unsplittable = [1]
    before = {name: p.clone() for name, p in growth.model.named_parameters()}
    growth._split_stage(growth._choose_leaf()).run(growth.trainer)
    assert growth.state.done[-1] == "split"
    # The leaf on the right has another number.
    assert growth.state.unsplittable == [2]
    after = dict(growth.model.named_parameters())
    for name, value in before.items():
        part = name.removeprefix("top_down.").partition(".")[0]
        if part in ("decoders", "likelihood"):
            continue  # the leaf's own are gone
        kept = after[name][: len(value)] if name.startswith("top_down") else after[name]
        torch.testing.assert_close(kept, value, rtol=0, atol=0)


def test_a_split_has_the_losses_of_the_new_router_in_the_whole_tree():
    growth, target = stump(with_views=True), one_hot(torch.arange(160) % 2).float()
    split, every = growth.new_split(), torch.ones(160, dtype=torch.bool)
    growth.state.split, growth.state.members = Split(split, 1, 0), every
    growth.state.target = target
    objective, some = growth._split_objective(), torch.arange(0, 160, 3)
    terms = objective.evaluate(some)
    model = growth.model
    model.top_down = attach(model.top_down, 1, split)
    logits, reach, losses = [], [], []
    for features in (growth.data.features[some], mirrored(growth)[some]):
        routing = model.route(model.bottom_up(features))
        logits.append(routing.q_logit[1:])
        reach.append(routing.node_log_proba[2:3].exp())
        both = torch.cat([logits[-1], -logits[-1]]).sigmoid().log()
        losses.append(routing_loss(both, target[some]))
    torch.testing.assert_close(terms.contrast, 2.0 * router_contrast(*logits, *reach))
    torch.testing.assert_close(terms.routing_loss, sum(losses) / 2)
    terms.contrast.backward()
    for name, p in split.named_parameters():
        assert name.startswith("q_routers") == (p.grad is not None), name


def test_samples_and_augmentations_have_the_same_targets():
    growth = make_growth(n_clusters=2, pairs=lambda index, _: mirrored(growth)[index])
    growth.build_model(Topology.stump())
    index, target = torch.arange(160), one_hot(torch.arange(160) % 2).float()

    growth.state.target = target

    def loss(features):
        return routing_loss(growth.model.leaf_log_proba(features).T, target)

    paired = growth.tree_objective().evaluate(index)
    features = growth.data.features[:]
    expected = (loss(features) + loss(mirrored(growth))) / 2
    torch.testing.assert_close(paired.routing_loss, expected)
    growth.state.contrast = None
    alone = growth.tree_objective().evaluate(index)
    torch.testing.assert_close(alone.routing_loss, loss(features))
    assert alone.contrast is None


def test_projections_are_trained_with_the_whole_tree():
    growth = make_growth(n_clusters=2, pairs=lambda index, _: mirrored(growth)[index])
    growth.build_model(Topology.stump())
    projections = list(growth.state.contrast.parameters())
    before = [p.clone() for p in projections]
    growth._whole_tree("refresh").run(growth.trainer)
    for p, value in zip(projections, before, strict=True):
        assert not torch.equal(p, value)


def test_split_inputs_are_computed_once_a_split(monkeypatch):
    growth = stump()
    calls = []
    forward = growth.model.bottom_up.forward
    stage = growth._split_stage(growth._choose_leaf())
    stage.begin()
    growth.state.stage = "split"
    monkeypatch.setattr(
        growth.model.bottom_up,
        "forward",
        lambda x: calls.append(torch.is_grad_enabled()) or forward(x),
    )
    growth.trainer.train(stage.phase(), stage.objective())
    assert calls == [False]  # one block; nothing above is differentiated


def test_dead_splits_are_refused(monkeypatch):
    growth = make_growth(n_clusters=4)
    monkeypatch.setattr(growth.trainer, "train", lambda *args: None)

    def init_dead(top_down, *args):
        with torch.no_grad():
            top_down.q_routers.weights[-1].zero_()
            top_down.q_routers.biases[-1].fill_(9.0)

    growth.build_model(Topology.stump())
    before = growth.model.top_down
    with torch.no_grad():
        before.q_routers.biases[-1].fill_(-9.0)
    monkeypatch.setattr(growth, "_finish_split", init_dead)
    for stage in growth._growth():
        stage.run(growth.trainer)
    assert growth.model.top_down is before
    assert growth.state.unsplittable
    assert growth.state.done == []


def test_a_small_group_far_away_ends_no_growth():
    X, y = make_blobs([150] * 3, 5, random_state=0)
    far = 60 + np.random.default_rng(0).standard_normal((6, 5))
    model = TreeVAEClustering(
        3, growth="iterative", min_cluster_size=0.05, max_iter=2, random_state=0
    ).fit(np.concatenate([X, far]))
    assert adjusted_rand_score(y, model.labels_[: len(y)]) > 0.95


def test_leaves_are_tried_again_when_others_are_pruned():
    growth = make_growth()
    growth.state.model = growth.new_model(Topology.stump().split_leaf(0).topology)
    with torch.no_grad():
        # Everything goes right at the root: the two leaves on the left are empty.
        growth.model.top_down.q_routers.weights[-1].zero_()
        growth.model.top_down.q_routers.biases[-1].fill_(-9.0)
    for expected in ([], [0]):
        growth.state.unsplittable = [0]
        assert growth._end_whole_tree()
        assert len(growth.model.topology.leaves) == 1
        assert growth.state.unsplittable == expected


@pytest.fixture(scope="module")
def grown_once():
    growth = make_growth(n_clusters=3)
    growth.run()
    return growth.finished()


@pytest.fixture
def grown(grown_once):
    """Return a copy whose state and options a test may replace."""
    growth = copy.copy(grown_once)
    growth.state = copy.copy(growth.state)
    return growth


@torch.no_grad()
@pytest.mark.parametrize("criterion", ["n_samples", "reconstruction", "elbo"])
def test_priorities_are_sums_over_the_samples_of_a_leaf(grown, criterion):
    model, x = grown.model, grown.data.samples[torch.arange(160)]
    posterior = model.posterior(model.encode(x))
    proba = posterior.routing.leaf_log_proba.exp()
    terms = {
        "n_samples": (proba >= 1 / 3).float(),  # those that take part in a split
        "reconstruction": -proba * model.top_down.leaf_log_prob(posterior, x),
        "elbo": -proba * model.leaf_elbo(x).T,
    }
    grown.options = dataclasses.replace(grown.options, split_criterion=criterion)
    expected = terms[criterion].sum(1).tolist()
    assert grown._priorities() == pytest.approx(expected, rel=1e-4)


def test_refused_and_deep_leaves_are_not_chosen():
    growth = stump(max_depth=1)
    assert growth._choose_leaf() is None
    growth.options = dataclasses.replace(growth.options, max_depth=None)
    assert growth._choose_leaf() in (0, 1)
    growth.state.unsplittable = [0]
    assert growth._choose_leaf() == 1
    growth.state.unsplittable = [0, 1]
    assert growth._choose_leaf() is None


def test_members_of_a_split_pass_the_threshold_of_the_paper():
    growth = stump()
    assert growth._threshold() == 0.5
    growth.model.top_down = attach(growth.model.top_down, 1, growth.new_split())
    assert growth._threshold() == pytest.approx(1 / 3)


def test_held_out_samples_are_validated_on_and_not_trained_on(monkeypatch):
    growth = make_growth(n_clusters=3, n_validation=40)
    trained, validated = set(), set()
    train = growth.trainer.train

    def spy(phase, objective):
        index = torch.arange(160)
        if isinstance(objective, SplitObjective):
            index = objective.index
        trained.update(index[objective.train_rows].tolist())
        validated.update(index[objective.validation_rows].tolist())
        train(phase, objective)

    monkeypatch.setattr(growth.trainer, "train", spy)
    growth.run()
    held_out = growth.data.validation.tolist()
    assert validated == set(held_out)
    assert len(held_out) == 40
    assert not trained & validated


def test_groups_that_are_too_small_for_a_leaf_do_not_count(grown):
    assignment = torch.tensor([0] * 80 + [1] * 40 + [2] * 40)
    grown.state.group = torch.tensor([0] * 70 + [1] * 10 + [2] * 40 + [3] * 39 + [4])
    grown.min_samples = 2
    assert grown._count_groups(assignment) == [2, 1, 1]


def test_small_groups_are_split_off_before_a_large_one_is_cut():
    X, y = make_blobs(
        [200, 20, 20], centers=[[0] * 4, [9, 0, 0, 0], [0, 9, 0, 0]], random_state=0
    )
    model = TreeVAEClustering(4, growth="iterative", max_iter=15, random_state=0).fit(X)
    assert leaf_purity(y, model.labels_) > 0.95


# Heights


def test_branches_are_mixtures_of_their_leaves():
    labels = np.array([2, 2, 0, 0, 1])
    density = np.array(
        [
            [0.1, 0.2, 0.9],
            [0.1, 0.3, 0.8],
            [0.5, 0.4, 0.1],
            [0.6, 0.2, 0.1],
            [0.3, 0.4, 0.1],
        ]
    )
    # Leaves 0 and 1 are the children of node 1, and leaf 2 is a child of the root.
    tree = Topology((-1, 0, 0, 1, 1))
    height = sum_divergences(tree, np.log(density), labels, np.bincount(labels))
    below = labels < 2
    # Shares are those of one sample more in each leaf.
    ratio = np.log(density[:, :2] @ [0.6, 0.4]) - np.log(density[:, 2])
    expected = ratio[below].mean() - ratio[~below].mean()
    assert height[0] - height[1] == pytest.approx(expected)
    # Of two leaves, the height is the Jeffreys divergence.
    ratio = np.log(density[:, 0] / density[:, 1])
    expected = ratio[labels == 0].mean() - ratio[labels == 1].mean()
    assert height[1] == pytest.approx(expected)
    assert (height[2:] == 0).all()


@given(topologies(), st.integers(0, 99))
def test_heights_never_fall_towards_the_root(tree, seed):
    rng = np.random.default_rng(seed)
    n_leaves = len(tree.leaves)
    labels = rng.integers(n_leaves, size=30)
    leaf_elbo = rng.standard_normal((30, n_leaves))
    counts = np.bincount(labels, minlength=n_leaves)
    height = sum_divergences(tree, leaf_elbo, labels, counts)
    assert all(height[tree.parent[i]] >= height[i] for i in range(1, tree.n_nodes))
    assert all(height[leaf] == 0 for leaf in tree.leaves)
