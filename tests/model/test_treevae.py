from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from sktreevae.model import FeatureMap, ModelConfig, TreeVAE

from . import oracle
from .strategies import (
    IMAGE,
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


@given(
    topologies(), st.sampled_from(LIKELIHOODS), st.integers(0, 3), st.integers(0, 99)
)
def test_elbo_terms_are_those_of_the_oracle(tree, likelihood, n_layers, seed):
    model = make_model(tree, seed=seed, likelihood=likelihood, bottom_up_depth=n_layers)
    generator = torch.Generator().manual_seed(seed)
    x = make_data(3, generator)
    noise = model.sample_noise(3, generator)
    terms = model.elbo(x, noise)
    for row in range(3):
        expected = oracle.elbo_terms(model, x[row].numpy(), noise[:, row].numpy())
        for name in TERMS:
            actual = getattr(terms, name)[row].item()
            assert actual == pytest.approx(expected[name], rel=1e-10, abs=1e-10)


def test_a_model_infers_from_its_feature_map(generator):
    feature_map = FeatureMap(5, 3).double()
    feature_map.projection.normal_(generator=generator)
    model = TreeVAE(
        balanced(1), ModelConfig(5), feature_map=feature_map, generator=generator
    ).double()
    x = make_data(4, generator)
    features = feature_map(x)
    expected = infer(model, x).routing.leaf_log_proba
    for encoding in (model.encode(x), model.encode(x, features)):
        assert torch.equal(model.route(encoding.embeddings).leaf_log_proba, expected)
    assert torch.equal(model.leaf_log_proba(features), expected.T)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leaf_probabilities_sum_to_one_at_depth_30(dtype, generator):
    # Far from zero: as products, the deepest probabilities would underflow.
    model = make_model(caterpillar(31), scale=20.0).to(dtype)
    log_proba = leaf_log_proba(model, make_data(8, generator).to(dtype))
    assert log_proba.shape == (31, 8)
    assert log_proba.isfinite().all()
    assert log_proba.min() < np.log(np.finfo(np.float32).tiny)
    total = log_proba.logsumexp(0)
    torch.testing.assert_close(total, torch.zeros_like(total), atol=1e-4, rtol=0)


class _CountOperations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def count_operations(tree, n_layers):
    model = make_model(tree, bottom_up_depth=n_layers)
    generator = torch.Generator().manual_seed(0)
    x = make_data(4, generator)
    noise = model.sample_noise(4, generator)
    with _CountOperations() as counter:
        model.elbo(x, noise).elbo()
    return counter.counts.total()


def test_operations_do_not_grow_with_the_nodes_of_a_level():
    # Depth 7 both, with 8 and with 64 leaves.
    wide = balanced(6)
    wide = wide.split_leaf(0).topology
    wide = wide.prune(wide.leaves.index(wide.levels[6][-1])).topology
    assert len(wide.leaves) == 64
    assert wide.depth == caterpillar(8).depth == 7
    # But for copies of a few views.
    expected = count_operations(caterpillar(8), 4)
    assert count_operations(wide, 4) == pytest.approx(expected, rel=0.01)


def test_leaf_elbo_and_routing_make_up_the_elbo(generator):
    model = make_model(caterpillar(5), likelihood="gaussian")
    x = make_data(4, generator)
    posterior = infer(model, x)
    terms = model.elbo(x)
    proba = posterior.routing.leaf_log_proba.exp()
    expected = (proba.T * model.leaf_elbo(x)).sum(1)
    torch.testing.assert_close(expected, terms.elbo() + terms.kl_decisions)


def set_p_routers(model, *left):
    with torch.no_grad():
        model.top_down.p_routers.weights[-1].zero_()
        model.top_down.p_routers.biases[-1][:, 0, 0] = torch.tensor(left).logit()


@pytest.mark.parametrize(
    ("above", "leaves", "expected"),
    [
        (0.75, None, [0.75 * 0.4, 0.75 * 0.6, 0.25 * 0.1, 0.25 * 0.9]),
        # Decisions above a subtree are forced, however improbable they are.
        (0.75, [0, 1], [0.4, 0.6]),
        (1e-30, [0, 1], [0.4, 0.6]),
    ],
)
def test_samples_visit_leaves_as_the_generative_routers_say(
    above, leaves, expected, generator
):
    model = make_model(balanced(2))
    set_p_routers(model, above, 0.4, 0.1)
    _, leaf = model.sample(4000, generator, leaves)
    share = leaf.bincount() / 4000
    torch.testing.assert_close(share, torch.tensor(expected), atol=0.03, rtol=0.0)


def test_more_samples_than_a_block(generator):
    x, leaf = make_model(balanced(1)).sample(20, generator, block_size=7)
    assert x.shape == (20, 5)
    assert x.unique(dim=0).shape == x.shape
    assert leaf.shape == (20,)


def test_embedding_is_what_the_router_of_the_root_reads(generator):
    model = make_model(caterpillar(4))
    x = make_data(4, generator)
    routing = model.route(model.encode(x).embeddings)
    logit = model.top_down.q_routers(model.embed(x))[0, :, 0]
    torch.testing.assert_close(routing.q_logit[0], logit)


def test_reconstruction_is_the_mean_over_the_leaves(generator):
    model = make_model(balanced(1), likelihood="gaussian")
    x = make_data(4, generator)
    posterior = infer(model, x)
    output = model.top_down.decoders(posterior.leaf_z)
    proba = posterior.routing.leaf_log_proba.exp()
    expected = proba[0, :, None] * output[0] + proba[1, :, None] * output[1]
    torch.testing.assert_close(model.reconstruct(x), expected)


@torch.no_grad()
def test_latents_see_the_image_and_routers_the_features(generator):
    model = make_image_model(balanced(2), "cnn")
    x = make_data(4, generator, 16 * 17)
    features = model.feature_map(x)
    before, after = (
        model.posterior(model.encode(rows, features)) for rows in (x, x.flip(1))
    )
    log_before, log_after = (
        posterior.routing.leaf_log_proba for posterior in (before, after)
    )
    assert torch.equal(log_after, log_before)
    assert not torch.isclose(before.q.mean, after.q.mean).all(-1).any()


@torch.no_grad()
def test_posterior_inputs_are_the_embeddings_plus_the_code(generator):
    model = make_image_model(balanced(1), "cnn")
    x = make_data(4, generator, 16 * 17)
    encoding = model.encode(x)
    pairs = zip(encoding.embeddings, encoding.posterior_inputs, strict=True)
    for embedding, posterior_input in pairs:
        torch.testing.assert_close(posterior_input, embedding + model.encoder(x))
    features = model.feature_map(x)
    posterior = model.posterior(model.encode(x, features))
    assert torch.equal(posterior.leaf_z, infer(model, x).leaf_z)


@torch.no_grad()
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_leaf_begins_with_its_mean(kind, generator):
    n_features = 16 * 17
    config = ModelConfig.create(
        n_features=n_features,
        latent_dim=3,
        likelihood="bernoulli",
        decoder=kind,
        image_shape=IMAGE,
    )
    model = TreeVAE(balanced(1), config, generator=generator)
    z = torch.randn(2, 40, 3, generator=generator)
    mean = torch.rand(n_features, generator=generator)
    before = model.top_down.decoders(z)
    model.top_down.init_leaf(1, mean)
    after = model.top_down.decoders(z)
    assert torch.equal(after[0], before[0])
    expected = before[1] + mean.clamp(0.01, 0.99).logit()
    torch.testing.assert_close(after[1], expected)


@torch.no_grad()
def test_leaf_reconstructions_are_log_densities_at_posterior_means(generator):
    model = make_model(balanced(2), likelihood="gaussian")
    x = make_data(4, generator)
    output = model.top_down.decoders(infer(model, x).leaf_z)
    expected = model.top_down.likelihood.log_prob(output, x)
    torch.testing.assert_close(model.leaf_reconstruction(x), expected.T)


# Data types


@torch.no_grad()
def test_noise_of_rows_gives_the_mean_elbo(generator):
    # With shared noise, the mean over many draws is that of independent noise.
    model = make_model(balanced(2), likelihood="gaussian")
    x = make_data(4, generator)
    noise = model.sample_noise(4000, generator)
    elbo = model.mean_elbo(x.repeat(1000, 1), [noise]).view(1000, 4)
    actual = model.mean_elbo(x, model.row_noise(x, 100))
    # Draws of a row are no less precise than as many independent ones.
    error = elbo.std(0) * (1 / 1000 + 1 / 100) ** 0.5
    assert ((actual - elbo.mean(0)).abs() < 5 * error).all()
