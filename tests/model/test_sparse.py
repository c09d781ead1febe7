from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.model.sparse import MIN_LEAF_PROB, plan, select_leaves
from sktreevae.model.tree_index import TreeIndex

from .strategies import (
    NETWORKS,
    balanced,
    caterpillar,
    infer,
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


def assert_same_gradients(model, *losses):
    """Compare the gradients of two losses, (batch,), by every parameter."""
    parameters = list(model.parameters())
    one, two = (
        torch.autograd.grad(
            loss.sum(), parameters, retain_graph=True, materialize_grads=True
        )
        for loss in losses
    )
    torch.testing.assert_close(one, two, atol=1e-9, rtol=1e-6)


@given(topologies(), st.sampled_from(LIKELIHOODS), st.integers(0, 99))
def test_a_sparse_bound_of_all_leaves_is_the_bound(tree, likelihood, seed):
    model = make_model(tree, seed=seed, likelihood=likelihood)
    x = make_data(6, torch.Generator().manual_seed(seed))
    exact = model.elbo(x)
    sparse = sparse_terms(model, x, len(tree.leaves), min_leaf_prob=1e-300)
    for term in TERMS:
        torch.testing.assert_close(getattr(sparse, term), getattr(exact, term))
    assert_same_gradients(model, sparse.elbo(), exact.elbo())


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
    expected = (kept * log_prob).sum(0)
    torch.testing.assert_close(sparse.reconstruction, expected)
    assert_same_gradients(model, sparse.reconstruction, expected)
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
        assert level.sample.shape[1] == n_used.max()
