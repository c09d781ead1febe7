import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.model import Topology
from sktreevae.utils.devices import static_shapes

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


def sparse_terms(model, x, max_leaves, generator=None):
    noise = None if generator is None else model.sample_noise(len(x), generator)
    return model.sparse_elbo(infer(model, x, noise), x, max_leaves)


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
    posterior = infer(model, x)
    exact = model.top_down.elbo(posterior, x)
    weight = posterior.routing.leaf_log_proba.exp()
    leaf = torch.arange(len(weight))[:, None].expand_as(weight)
    sparse = model.top_down.sparse_elbo(posterior, x, leaf, weight)
    for term in TERMS:
        torch.testing.assert_close(getattr(sparse, term), getattr(exact, term))
    assert_same_gradients(model, sparse.elbo(), exact.elbo())


@given(topologies(), st.sampled_from(LIKELIHOODS), st.integers(1, 4), st.integers(0, 9))
def test_a_sparse_bound_has_the_terms_of_the_leaves_kept(tree, likelihood, n, seed):
    model = make_model(tree, seed=seed, likelihood=likelihood)
    x = make_data(6, torch.Generator().manual_seed(seed))
    posterior = infer(model, x)
    sparse = model.sparse_elbo(posterior, x, n)
    proba = posterior.routing.leaf_log_proba.exp()
    ranks = proba.argsort(0, descending=True).argsort(0)
    kept = proba * (proba > 0.01 * proba.max(0).values) * (ranks < n)
    kept = kept / kept.sum(0)
    log_prob = model.top_down.leaf_log_prob(posterior, x)
    expected = (kept * log_prob).sum(0)
    torch.testing.assert_close(sparse.reconstruction, expected)
    assert_same_gradients(model, sparse.reconstruction, expected)
    below = torch.tensor(
        [
            [node in tree.path(leaf) for leaf in tree.leaves]
            for node in range(tree.n_nodes)
        ]
    )
    kl = (below.double() @ kept) * posterior.q.kl(posterior.p)
    torch.testing.assert_close(sparse.kl_root, kl[0])
    torch.testing.assert_close(sparse.kl_nodes, kl[1:].sum(0))


@given(topologies(), st.sampled_from(LIKELIHOODS), st.integers(0, 9))
def test_a_bound_of_static_shapes_is_the_same(tree, likelihood, seed):
    model = make_model(tree, seed=seed, likelihood=likelihood)
    x = make_data(6, torch.Generator().manual_seed(seed))
    sparse = sparse_terms(model, x, 2)
    with static_shapes():
        static = sparse_terms(model, x, 2)
    for term in TERMS:
        torch.testing.assert_close(getattr(static, term), getattr(sparse, term))
    assert_same_gradients(model, static.elbo(), sparse.elbo())


def test_leaves_that_no_sample_reaches_cost_nothing(generator):
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


@pytest.mark.parametrize("kind", ["mlp", "table", *NETWORKS])
@pytest.mark.parametrize("tree", [Topology.single_leaf(), balanced(2), caterpillar(5)])
def test_gradients_reach_every_parameter_of_every_network(kind, tree, generator):
    if kind == "table":
        model, n_features = make_model(tree, likelihood="gaussian"), 5
    else:
        model, n_features = make_image_model(tree, kind), 16 * 17
    x = make_data(50, generator, n_features)
    sparse_terms(model, x, 5, generator).elbo().sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.numel():
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
