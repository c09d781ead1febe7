import dataclasses

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from sktreevae import TreeVAEClustering
from sktreevae.model import Topology, TreeVAE
from sktreevae.training import (
    ContrastOptions,
    GrowthOptions,
    History,
    IterativeGrowth,
    LoopOptions,
    Samples,
    growing,
)
from sktreevae.training import (
    gardener as gardening,
)
from sktreevae.training.contrast import router_contrast

NETWORKS = {
    "n_features": 3,
    "hidden_dim": 16,
    "latent_dim": 2,
    "n_steps": 2,
    "likelihood": "gaussian",
}


def make_gardener(
    n_clusters=4, max_depth=None, fraction=0.01, seed=0, n_validation=0, views=None
):
    X, _ = make_blobs(160, 3, centers=4, cluster_std=0.3, random_state=1)
    samples = Samples(X, X.mean(axis=0), X.std(axis=0))
    return IterativeGrowth(
        samples,
        samples[torch.arange(160)],
        torch.arange(160 - n_validation),
        torch.arange(160 - n_validation, 160),
        networks=NETWORKS,
        growth=GrowthOptions(n_clusters, max_depth, "n_samples", fraction),
        options=LoopOptions(3, 32, 5e-3, 0.0, 10, 0.0),
        contrast=views and ContrastOptions(views, 2.0, 0.5),
        generator=torch.Generator().manual_seed(seed),
        history=History(),
    )


def test_growth_reaches_the_leaves_asked_for():
    model = make_gardener(n_clusters=4).grow()
    assert len(model.topology.leaves) == 4


def test_one_cluster_is_a_plain_vae():
    gardener = make_gardener(n_clusters=1)
    assert gardener.grow().topology == Topology.single_leaf()
    assert {record["phase"] for record in gardener.history.records} == {"finetune"}


def mirrored(gardener):
    """Return views that tell nothing of what the samples are."""
    return -gardener.features


@pytest.mark.parametrize("with_views", [False, True])
def test_a_split_trains_the_new_part_alone(with_views):
    views = (lambda index, _: mirrored(gardener)[index]) if with_views else None
    gardener = make_gardener(n_clusters=2, views=views)
    gardener.grow()
    model = gardener.model
    before = {name: p.clone() for name, p in model.named_parameters()}
    leaf = gardener._choose_leaf(set())
    assert gardener._split(leaf)
    after = dict(model.named_parameters())
    for name, value in before.items():
        part = name.removeprefix("top_down.").partition(".")[0]
        if part in ("decoders", "likelihood"):
            continue  # the leaf's own are gone
        kept = after[name][: len(value)] if name.startswith("top_down") else after[name]
        torch.testing.assert_close(kept, value, rtol=0, atol=0)


def test_a_split_contrasts_the_new_router_alone():
    gardener = make_gardener(
        n_clusters=2, views=lambda index, _: mirrored(gardener)[index]
    )
    gardener.grow()
    model, index = gardener.model, torch.arange(160)
    leaf = model.topology.leaves[1]
    activations = gardener._activations(leaf, index)
    children = growing.TopDown(
        growing.CHERRY, **model.top_down.config, generator=gardener.generator
    )
    part = growing._NewLeaves(
        children,
        activations,
        gardener.samples,
        index,
        torch.zeros(160, dtype=torch.long),
        gardener.generator,
        contrast_weight=2.0,
        n_leaves=3,
    )
    some = torch.arange(0, 160, 3)
    loss = part.evaluate(some).contrast
    # As in the whole tree, once the new part belongs to it.
    model.top_down = model.top_down.graft(leaf, children)
    logits, reach = [], []
    for features in (gardener.features[some], mirrored(gardener)[some]):
        routing = model.route_with(model.bottom_up(features))
        logits.append(routing.q_logits[1])
        reach.append(routing.log_paths[1][1:].exp())
    expected = 2.0 * router_contrast(*logits, *reach)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    for name, p in children.named_parameters():
        assert name.startswith("q_routers") == (p.grad is not None), name


def test_activations_know_of_no_variants_without_views():
    gardener = make_gardener(n_clusters=2)
    gardener.grow()
    activations = gardener._activations(1, torch.arange(5))
    assert activations.variant is None
    assert activations.variant_log_path is None


def test_samples_and_variants_are_guided_alike():
    gardener = make_gardener(
        n_clusters=2, views=lambda index, _: mirrored(gardener)[index]
    )
    gardener.plant(growing.CHERRY)
    index, target = torch.arange(160), torch.arange(160) % 2

    def whole_tree(contrast):
        return gardening._WholeTree(
            gardener.model,
            gardener.samples,
            gardener.inputs,
            target,
            contrast=contrast,
            generator=gardener.generator,
        )

    found = whole_tree(gardener.contrast).evaluate(index)
    expected = sum(
        gardening.surprise(gardener.model.route_from(features), target) / 2
        for features in (gardener.features, mirrored(gardener))
    )
    torch.testing.assert_close(found.distance, expected)
    alone = whole_tree(None).evaluate(index)
    expected = gardening.surprise(gardener.model.route_from(gardener.features), target)
    torch.testing.assert_close(alone.distance, expected)
    assert alone.contrast is None


def test_projections_are_trained_with_the_whole_tree():
    gardener = make_gardener(
        n_clusters=2, views=lambda index, _: mirrored(gardener)[index]
    )
    gardener.plant(growing.CHERRY)
    before = [p.clone() for p in gardener.contrast.parameters()]
    gardener.train_whole(gardening.Phase("refresh", (0.0, 0.0), 0.0))
    for p, value in zip(gardener.contrast.parameters(), before, strict=True):
        assert not torch.equal(p, value)


def test_activations_are_computed_once_a_split(monkeypatch):
    gardener = make_gardener(n_clusters=2)
    gardener.grow()
    calls = []
    forward = gardener.model.bottom_up.forward
    monkeypatch.setattr(
        gardener.model.bottom_up,
        "forward",
        lambda x: calls.append(torch.is_grad_enabled()) or forward(x),
    )
    leaf = gardener._choose_leaf(set())
    calls.clear()
    gardener._split(leaf)
    n_steps = len(gardener.history.records)
    assert not any(calls)  # nothing above is differentiated
    assert len(calls) < n_steps


def test_dead_splits_are_refused(monkeypatch):
    gardener = make_gardener(n_clusters=4)
    monkeypatch.setattr(gardener, "run", lambda *args: None)

    def start_dead(top_down, *args):
        with torch.no_grad():
            top_down.q_routers.weights[-1].zero_()
            top_down.q_routers.biases[-1].fill_(9.0)

    gardener.plant(growing.CHERRY)
    before = gardener.model.top_down
    with torch.no_grad():
        before.q_routers.biases[-1].fill_(-9.0)
    monkeypatch.setattr(gardener, "_start_leaves", start_dead)
    gardener._split_leaves()
    assert gardener.model.top_down is before


def test_a_small_group_far_away_ends_no_growth():
    X, y = make_blobs([300] * 3, 5, random_state=0)
    far = 60 + np.random.default_rng(0).standard_normal((12, 5))
    model = TreeVAEClustering(
        3, growth="iterative", min_cluster_fraction=0.05, max_iter=2, random_state=0
    ).fit(np.concatenate([X, far]))
    assert adjusted_rand_score(y, model.labels_[: len(y)]) > 0.95


def test_empty_leaves_are_pruned():
    gardener = make_gardener()
    tree = growing.CHERRY.split(1).topology
    gardener.model = TreeVAE(tree, generator=gardener.generator, **NETWORKS)
    with torch.no_grad():
        # Everything goes right at the root: the two leaves on the left are empty.
        gardener.model.top_down.q_routers.weights[-1].zero_()
        gardener.model.top_down.q_routers.biases[-1].fill_(-9.0)
    assert gardener.prune()
    assert len(gardener.model.topology.leaves) == 1
    assert not gardener.prune()


@pytest.fixture
def grown():
    gardener = make_gardener(n_clusters=3)
    gardener.grow()
    return gardener


def priorities(gardener, criterion):
    growth = dataclasses.replace(gardener.growth, split_criterion=criterion)
    gardener.growth = growth
    return gardener._priorities()


def test_n_samples_counts_those_that_take_part_in_a_split(grown):
    path = grown.model.route_from(grown.features).T.exp()
    expected = [int((path[:, leaf] >= 1 / 3).sum()) for leaf in range(3)]
    assert priorities(grown, "n_samples") == expected


@torch.no_grad()
@pytest.mark.parametrize("criterion", ["reconstruction", "elbo"])
def test_losses_are_the_sums_over_the_samples_of_a_leaf(grown, criterion):
    model, x = grown.model, grown.samples[torch.arange(160)]
    posterior = model.infer(x)
    quality = (
        model.leaf_elbo(x)
        if criterion == "elbo"
        else model.top_down.leaf_log_prob(posterior, x)
    )
    path = posterior.leaf_log_path.exp()
    expected = [
        -sum(float(path[leaf, i] * quality[leaf, i]) for i in range(160))
        for leaf in range(3)
    ]
    assert priorities(grown, criterion) == pytest.approx(expected, rel=1e-4)


def test_the_leaf_of_highest_priority_is_chosen(grown, monkeypatch):
    leaves = grown.model.topology.leaves
    for position, leaf in enumerate(leaves):
        order = [float(i == position) for i in range(3)]
        monkeypatch.setattr(grown, "_priorities", lambda order=order: order)
        assert grown._choose_leaf(set()) == leaf


def test_refused_and_deep_leaves_are_not_chosen():
    gardener = make_gardener(n_clusters=2, max_depth=1)
    gardener.grow()
    assert gardener._choose_leaf(set()) is None
    gardener.growth = dataclasses.replace(gardener.growth, max_depth=None)
    assert gardener._choose_leaf(set()) in (1, 2)
    assert gardener._choose_leaf({1}) == 2
    assert gardener._choose_leaf({1, 2}) is None


def test_members_of_a_split_pass_the_threshold_of_the_paper():
    gardener = make_gardener(n_clusters=2)
    gardener.grow()
    assert gardener._threshold() == 0.5
    gardener.model.top_down = gardener.model.top_down.graft(
        1,
        growing.TopDown(
            growing.CHERRY,
            **gardener.model.top_down.config,
            generator=gardener.generator,
        ),
    )
    assert gardener._threshold() == pytest.approx(1 / 3)


@pytest.mark.parametrize("part", [gardening._WholeTree, growing._NewLeaves])
def test_held_out_samples_are_validated_on_and_not_trained_on(part, monkeypatch):
    gardener = make_gardener(n_clusters=3, n_validation=40)
    trained, validated = set(), set()
    evaluate = part.evaluate

    def spy(self, index):
        rows = self.index[index] if hasattr(self, "index") else index
        (trained if torch.is_grad_enabled() else validated).update(rows.tolist())
        return evaluate(self, index)

    monkeypatch.setattr(part, "evaluate", spy)
    gardener.grow()
    assert trained
    assert trained <= set(range(120))
    assert validated
    assert validated <= set(range(120, 160))
