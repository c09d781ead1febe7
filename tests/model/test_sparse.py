from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sktreevae.model import Topology
from sktreevae.model.sparse import MIN_LEAF_PROB, plan, select_leaves
from sktreevae.model.tree_index import TreeIndex

from .strategies import (
    NETWORKS,
    balanced,
    caterpillar,
    infer,
    leaf_log_proba,
    make_data,
    make_image_model,
    make_model,
    topologies,
)

LIKELIHOODS = ["bernoulli", "gaussian"]
TERMS = ["reconstruction", "kl_root", "kl_nodes", "kl_decisions"]


def sparse_terms(model, x, max_leaves, generator=None, **options):
    encoding = model.encode(x)
    routing = model.route(encoding.embeddings)
    return model.sparse_elbo(encoding, routing, x, max_leaves, generator, **options)


def gradients(model, loss):
    """Return the gradient of every parameter; zeros where there is none."""
    parameters = list(model.parameters())
    result = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(p) if g is None else g
        for p, g in zip(parameters, result, strict=True)
    ]


@given(topologies(), st.sampled_from(LIKELIHOODS), st.integers(0, 99))
def test_a_sparse_bound_of_all_leaves_is_the_bound(tree, likelihood, seed):
    model = make_model(tree, seed=seed, likelihood=likelihood)
    x = make_data(6, torch.Generator().manual_seed(seed))
    exact = model.elbo(x)
    sparse = sparse_terms(model, x, len(tree.leaves), min_leaf_prob=1e-300)
    for term in TERMS:
        torch.testing.assert_close(getattr(sparse, term), getattr(exact, term))
    for a, b in zip(
        gradients(model, sparse.elbo().sum()),
        gradients(model, exact.elbo().sum()),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-6)


@given(topologies(), st.sampled_from(LIKELIHOODS), st.integers(1, 4), st.integers(0, 9))
def test_a_sparse_bound_has_the_terms_of_the_leaves_kept(tree, likelihood, n, seed):
    model = make_model(tree, seed=seed, likelihood=likelihood)
    x = make_data(6, torch.Generator().manual_seed(seed))
    sparse = sparse_terms(model, x, n)
    posterior = infer(model, x)
    proba = posterior.routing.leaf_log_proba.exp()
    ranks = proba.argsort(0, descending=True).argsort(0)
    kept = proba * (proba > MIN_LEAF_PROB * proba.max(0).values) * (ranks < n)
    kept = kept / kept.sum(0)
    log_prob = model.top_down.leaf_log_prob(posterior, x)
    torch.testing.assert_close(sparse.reconstruction, (kept * log_prob).sum(0))
    for node, depth in enumerate(tree.node_depths):
        below = [node in tree.path(leaf) for leaf in tree.leaves]
        level = posterior.levels[depth]
        position = tree.levels[depth].index(node)
        kl = level.q.kl(level.p)[position] * kept[below].sum(0)
        term = "kl_nodes" if node else "kl_root"
        result = getattr(sparse, term) - kl
        sparse = replace(sparse, **{term: result})
    zero = torch.zeros(6).double()
    torch.testing.assert_close(sparse.kl_root, zero)
    torch.testing.assert_close(sparse.kl_nodes, zero)


def flat_gradient(model, value):
    return torch.cat([g.flatten() for g in gradients(model, value)])


@given(
    topologies().filter(lambda tree: tree.splits),
    st.sampled_from([1.0, 3.0]),
    st.integers(0, 99),
)
@settings(max_examples=25)
def test_what_is_dropped_bounds_the_error_and_that_of_the_gradient(tree, scale, seed):
    model = make_model(tree, seed=seed, likelihood="bernoulli", scale=scale)
    x = make_data(1, torch.Generator().manual_seed(seed))
    log_proba = leaf_log_proba(model, x)[:, 0]
    log_prob = model.top_down.leaf_log_prob(infer(model, x), x)[:, 0]
    kept = log_proba.exp().topk(min(2, len(log_proba))).values
    dropped = 1.0 - kept[kept > MIN_LEAF_PROB * kept[0]].sum().item()
    exact, sparse = model.elbo(x), sparse_terms(model, x, 2)
    exact, sparse = exact.reconstruction[0], sparse.reconstruction[0]
    largest = log_prob.abs().max().item()
    assert abs(sparse - exact) <= 2.0 * dropped * largest + 1e-9
    # The gradient of sum_l P_l f_l is sum_l P_l (f_l grad log P_l + grad f_l).
    of_proba = [flat_gradient(model, value) for value in log_proba]
    terms = [
        value.detach() * gradient + flat_gradient(model, value)
        for value, gradient in zip(log_prob, of_proba, strict=True)
    ]
    error = flat_gradient(model, sparse) - flat_gradient(model, exact)
    bound = 2.0 * dropped * max(map(torch.linalg.norm, terms))
    # Scaled probabilities change less than they do, by the mean over those kept.
    scaling = dropped / (1.0 - dropped)
    bound = bound + scaling * largest * max(map(torch.linalg.norm, of_proba))
    assert torch.linalg.norm(error) <= bound + 1e-9


def test_routers_get_gradients_of_leaves_that_are_skipped(generator):
    model = make_model(balanced(2), likelihood="bernoulli")
    with torch.no_grad():  # no sample goes right
        model.top_down.q_routers.biases[-1].fill_(30.0)
    x = make_data(20, generator)
    routing = model.route(model.encode(x).embeddings)
    assert routing.leaf_log_proba[1:].max() < np.log(MIN_LEAF_PROB)
    loss = -routing.leaf_log_proba[3].mean()
    (gradient,) = torch.autograd.grad(loss, [model.top_down.q_routers.biases[-1]])
    assert (gradient[[0, 2]].abs() > 0.5).all()


def test_every_leaf_that_decodes_gets_a_gradient(generator):
    model = make_model(balanced(2), likelihood="gaussian")
    x = make_data(50, generator)
    sparse_terms(model, x, 4, generator).elbo().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_levels_that_no_sample_reaches_cost_nothing(generator):
    model = make_model(caterpillar(6), likelihood="gaussian")
    with torch.no_grad():  # all stop at the first leaf
        model.top_down.q_routers.biases[-1].fill_(30.0)
    x = make_data(7, generator)
    terms = sparse_terms(model, x, 2, generator)
    terms.elbo().sum().backward()
    assert terms.elbo().isfinite().all()
    assert all(
        p.grad.isfinite().all() for p in model.parameters() if p.grad is not None
    )


@pytest.mark.parametrize("kind", NETWORKS)
def test_gradients_reach_every_parameter_of_every_network(kind, generator):
    model = make_image_model(balanced(2), kind)
    x = make_data(50, generator, 16 * 17)
    sparse_terms(model, x, 4, generator).elbo().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", NETWORKS)
def test_sparse_decoding_by_other_networks_is_exact(kind, generator):
    model = make_image_model(balanced(2), kind, likelihood="bernoulli")
    x = make_data(6, generator, 16 * 17)
    posterior = infer(model, x)
    leaf = posterior.routing.leaf_log_proba.argmax(0)
    assert leaf.unique().numel() < 4  # some leaves have no rows
    sparse = sparse_terms(model, x, 1).reconstruction
    log_prob = model.top_down.leaf_log_prob(posterior, x)
    torch.testing.assert_close(sparse, log_prob[leaf, torch.arange(6)])


# The plan


def random_leaf_log_proba(n_leaves, seed, batch=7):
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(n_leaves, batch, generator=generator)).log_softmax(0)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_probable_leaves_are_kept_and_sum_to_one(n_leaves, max_leaves, seed):
    log_proba = random_leaf_log_proba(n_leaves, seed)
    weight = select_leaves(log_proba, max_leaves)
    torch.testing.assert_close(weight.sum(0), torch.ones(7))
    kept = weight > 0
    assert (kept.sum(0) <= max_leaves).all()
    proba = log_proba.exp()
    for sample in range(7):
        skipped = proba[~kept[:, sample], sample]
        assert (skipped <= proba[kept[:, sample], sample].min()).all()
        ratio = weight[kept[:, sample], sample] / proba[kept[:, sample], sample]
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


@given(topologies(), st.integers(1, 4), st.integers(0, 99))
def test_a_plan_has_one_slot_for_each_sample_on_a_path(tree, max_leaves, seed):
    index = TreeIndex(tree)
    weight = select_leaves(random_leaf_log_proba(len(tree.leaves), seed), max_leaves)
    slots = plan(weight, index)
    expected = index.ancestry @ weight
    for depth, (nodes, level) in enumerate(zip(tree.levels, slots.levels, strict=True)):
        if depth > 0:  # the slots of a sample at a node and at its parent agree
            at_parent = level.pass_down(slots.levels[depth - 1].sample)
            used = slots.weights[depth] > 0
            assert torch.equal(at_parent[used], level.sample[used])
        total = torch.zeros(len(nodes), 7)
        total.scatter_add_(1, level.sample, slots.weights[depth])
        torch.testing.assert_close(total, expected[list(nodes)])
        n_used = (slots.weights[depth] > 0).sum(1)
        assert torch.equal(n_used, (expected[list(nodes)] > 0).sum(1))


@given(topologies(), st.integers(1, 4), st.integers(0, 99))
def test_the_pairs_of_a_plan_are_sorted_by_leaf(tree, max_leaves, seed):
    weight = select_leaves(random_leaf_log_proba(len(tree.leaves), seed), max_leaves)
    slots = plan(weight, TreeIndex(tree))
    leaf, sample = weight.nonzero(as_tuple=True)
    assert torch.equal(slots.leaf, leaf)
    assert torch.equal(slots.sample, sample)
    samples = torch.cat([level.sample.flatten() for level in slots.levels])
    assert torch.equal(samples[slots.slot], sample)
    weights = torch.cat([values.flatten() for values in slots.weights])
    torch.testing.assert_close(weights[slots.slot], weight[leaf, sample])


def test_a_plan_of_a_single_leaf_has_all_samples():
    slots = plan(torch.ones(1, 7), TreeIndex(Topology.single_leaf()))
    assert torch.equal(slots.sample, torch.arange(7))
    assert not slots.leaf.any()
