import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.data import FeatureTable, Samples, Standardizer
from sktreevae.model import FeatureMap, ModelConfig, Topology, TreeVAE
from sktreevae.training.contrastive import (
    AugmentedPairs,
    Contrast,
    ContrastOptions,
    NeighborPairs,
    nt_xent,
    router_contrast,
)

from .cases import make_data

seeds = st.integers(0, 999)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Contrast of embeddings


def two_views(n, width, seed):
    return torch.randn(2, n, width, generator=generator(seed), dtype=torch.float64)


def slow_nt_xent(a, b, temperature):
    z = torch.cat([a, b])
    n = len(a)
    total = 0.0
    for i in range(2 * n):
        similarity = [
            float(z[i] @ z[k] / (z[i].norm() * z[k].norm())) / temperature
            for k in range(2 * n)
        ]
        positive = similarity[(i + n) % (2 * n)]
        others = sum(math.exp(similarity[k]) for k in range(2 * n) if k != i)
        total += math.log(others) - positive
    return total / (2 * n)


@given(st.integers(1, 6), st.integers(1, 4), st.floats(0.1, 2), seeds)
def test_nt_xent_is_its_definition(n, width, temperature, seed):
    a, b = two_views(n, width, seed)
    expected = slow_nt_xent(a, b, temperature)
    assert float(nt_xent(a, b, temperature)) == pytest.approx(expected, abs=1e-9)


# Contrast of decisions


def decisions(n_routers, n, seed, scale=2.0):
    """Return log-odds and probabilities of reaching, for two views of n samples."""
    source = generator(seed)
    logits = scale * torch.randn(2, n_routers, n, generator=source, dtype=torch.float64)
    weights = torch.rand(2, n_routers, n, generator=source, dtype=torch.float64)
    return *logits, *weights


def slow_router_contrast(logit_a, logit_b, weight_a, weight_b):
    n_routers, n = logit_a.shape
    total = total_weight = 0.0
    for router in range(n_routers):
        p = torch.cat([logit_a[router], logit_b[router]]).sigmoid().tolist()
        w = torch.cat([weight_a[router], weight_b[router]]).tolist()
        for i in range(2 * n):
            j = (i + n) % (2 * n)
            same = [p[i] * q + (1 - p[i]) * (1 - q) for q in p]
            others = sum(
                w[k] * math.exp(same[k]) for k in range(2 * n) if k not in (i, j)
            )
            total += w[i] * w[j] * (math.log(math.exp(same[j]) + others) - same[j])
            total_weight += w[i] * w[j]
    return total / total_weight


@given(st.integers(1, 4), st.integers(1, 6), st.floats(0, 20), seeds)
def test_router_contrast_is_its_definition(n_routers, n, scale, seed):
    arguments = decisions(n_routers, n, seed, scale)
    expected = slow_router_contrast(*arguments)
    assert float(router_contrast(*arguments)) == pytest.approx(expected, abs=1e-6)
    single = router_contrast(*(x.float() for x in arguments))
    assert float(single) == pytest.approx(expected, abs=1e-5)


def test_no_gradient_passes_by_the_weights():
    arguments = [x.requires_grad_() for x in decisions(3, 5, 0)]
    router_contrast(*arguments).backward()
    a, b, u, v = (x.grad for x in arguments)
    assert a.any()
    assert b.any()
    assert u is None
    assert v is None


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("reach", [0.0, 1e-30, 1.0])
def test_router_contrast_of_next_to_nothing_is_finite(n, reach):
    a, b, *_ = (x.float().requires_grad_() for x in decisions(2, n, 0, scale=100.0))
    weight = torch.full((2, n), reach)
    loss = router_contrast(a, b, weight, weight)
    loss.backward()
    if n == 1 or reach == 0:
        assert loss.item() == pytest.approx(0, abs=1e-5)
    for x in (loss, a.grad, b.grad):
        assert torch.isfinite(x).all()


# Pairs of neighbors


table = FeatureTable.from_tensor


@given(st.integers(1, 5), seeds)
def test_a_neighbor_is_one_of_the_row(k, seed):
    index = torch.randint(50, (50, k), generator=generator(seed))
    sample = torch.randint(50, (30,), generator=generator(seed + 1))
    make = NeighborPairs(table(torch.arange(50.0)[:, None]), index)
    drawn = make(sample, generator(seed))
    assert drawn.shape == (30, 1)
    assert (index[sample] == drawn).any(1).all()
    assert torch.equal(drawn, make(sample, generator(seed)))


@pytest.mark.parametrize("n_train", [1, 2, 4, 40])
def test_held_out_samples_are_neighbors_of_no_sample(n_train):
    X = np.random.default_rng(0).standard_normal((60, 3))
    train = torch.randperm(60, generator=generator())[:n_train].sort().values
    data = replace(make_data(X), train=train)
    index = NeighborPairs.from_data(data, generator()).neighbors
    features = data.features[:]
    assert index.shape == (60, min(5, max(1, n_train - 1)))
    for sample, neighbors in enumerate(index.tolist()):
        others = set(train.tolist()) - {sample}
        if sample in train and others:
            distance = (features - features[sample]).norm(dim=1).tolist()
            nearest = sorted(others, key=lambda other, d=distance: d[other])
            assert neighbors == nearest[:5]
        else:
            assert set(neighbors) == {sample}


# Pairs of augmentations


def standardized(n=6):
    """Return data in a user's units, and the standardized samples."""
    X = np.random.default_rng(0).normal([500.0, -2.0, 0.01], [20.0, 1.0, 0.001], (n, 3))
    return X, Samples(X, Standardizer(X.mean(axis=0), X.std(axis=0)))


def test_a_callable_sees_and_returns_values_in_the_users_units():
    X, samples = standardized()
    seen = []

    def double(rows, source):
        seen.append(rows)
        return 2 * rows

    feature_map = FeatureMap(3, 2)
    projection = np.random.default_rng(0).random((3, 2))
    feature_map.set_buffers(projection=projection)
    index = torch.tensor([4, 0, 2])
    result = AugmentedPairs(samples, feature_map, double)(index, generator())
    np.testing.assert_allclose(seen[0], X[[4, 0, 2]], rtol=1e-5)
    expected = (2 * X[[4, 0, 2]] - X.mean(axis=0)) / X.std(axis=0) @ projection
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-3)


def test_a_callable_gets_the_generator_and_may_write_into_its_rows():
    X, samples = standardized()
    make = AugmentedPairs(
        samples, FeatureMap(3), lambda rows, source: rows.normal_(generator=source)
    )
    index = torch.arange(6)
    before = X.copy(), samples[index].clone(), torch.get_rng_state()
    first = make(index, generator(3))
    assert torch.equal(first, make(index, generator(3)))
    assert not torch.equal(first, make(index, generator(4)))
    assert np.array_equal(X, before[0])
    assert torch.equal(samples[index], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_a_callable_may_return_numbers_of_another_type(dtype):
    samples = Samples(
        np.arange(12.0).reshape(4, 3), Standardizer(np.zeros(3), np.ones(3))
    )
    index = torch.arange(4)
    make = AugmentedPairs(samples, FeatureMap(3), lambda rows, _: rows.to(dtype))
    assert torch.equal(make(index, generator()), samples[index])


def test_no_gradient_passes_by_an_augmentation():
    _, samples = standardized()
    weight = torch.ones(3, requires_grad=True)
    make = AugmentedPairs(samples, FeatureMap(3), lambda rows, _: rows * weight)
    assert not make(torch.arange(6), generator()).requires_grad


# Both, of a model

CONFIG = ModelConfig(3, hidden_dim=8, latent_dim=2, bottom_up_depth=2)

STUMP = Topology.stump()
PRUNED = STUMP.split_leaf(1).topology.split_leaf(0).topology.prune(0).topology
"""A root with an only grandchild on its left, and two grandchildren on its right."""

TREES = {"leaf": Topology.single_leaf(), "stump": STUMP, "pruned": PRUNED}


def make_contrast(tree=PRUNED, n=12, weight=1.0):
    """Return a contrast, the arguments of a call, and augmented samples."""
    source = generator()
    model = TreeVAE(tree, CONFIG, generator=source)
    x = torch.randn(n, 3, generator=source)
    augmented = torch.randn(n, 3, generator=source)
    options = ContrastOptions(lambda index, _: augmented[index], weight, 0.5)
    contrast = Contrast(options, model, weights=source, rows=source)
    embeddings = model.bottom_up(x)
    arguments = model, embeddings, model.route(embeddings), torch.arange(n)
    return contrast, arguments, augmented


@pytest.mark.parametrize("tree", TREES)
def test_contrast_is_the_mean_over_depths_and_the_routers(tree):
    contrast, arguments, augmented = make_contrast(TREES[tree], weight=3.0)
    model, embeddings, _, _ = arguments
    pairs = zip(
        contrast.projections(torch.stack(embeddings)),
        contrast.projections(torch.stack(model.bottom_up(augmented))),
        strict=True,
    )
    expected = torch.stack([nt_xent(a, b, 0.5) for a, b in pairs]).mean()
    if model.topology.splits:
        logit_a, reach_a = at_splits(model, embeddings)
        logit_b, reach_b = at_splits(model, model.bottom_up(augmented))
        expected = expected + router_contrast(logit_a, logit_b, reach_a, reach_b)
    loss, leaf_log_proba = contrast(*arguments)
    torch.testing.assert_close(loss, 3.0 * expected)
    assert torch.equal(leaf_log_proba, model.leaf_log_proba(augmented).T)


def at_splits(model, embeddings):
    """Return log-odds at the splits, and the probabilities to get there."""
    routing = model.route(embeddings)
    reached = routing.node_log_proba[list(model.topology.splits)]
    return routing.q_logit, reached.exp()


@pytest.mark.parametrize("tree", ["stump", "pruned"])
def test_all_that_embeds_and_routes_learns_from_the_contrast(tree):
    contrast, arguments, _ = make_contrast(TREES[tree])
    model = arguments[0]
    contrast(*arguments)[0].backward()
    learning = [contrast, model.bottom_up, model.top_down.q_routers]
    for module in learning:
        for name, p in module.named_parameters():
            assert p.grad.any(), name
    learned = {id(p) for module in learning for p in module.parameters()}
    for name, p in model.named_parameters():
        assert id(p) in learned or p.grad is None, name
