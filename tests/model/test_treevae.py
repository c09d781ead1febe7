from collections import Counter
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from sktreevae.model import (
    FeatureMap,
    Gaussian,
    TopDown,
    Topology,
    TreeVAE,
    decoder_factory,
    encoder_factory,
    topdown,
)
from sktreevae.model.layers import StackedMLP

from . import oracle
from .strategies import balanced, caterpillar, make_model, topologies

LIKELIHOODS = ["bernoulli", "gaussian"]
TERMS = ["reconstruction", "kl_root", "kl_nodes", "kl_decisions"]
IMAGE = (16, 17)
CHERRY = Topology((-1, 0, 0))


class WithBuffer(torch.nn.Linear):
    """A user's decoder or encoder, with numbers that aren't trained."""

    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.register_buffer("shift", torch.randn(n_out))

    def forward(self, x):
        return super().forward(x) + self.shift


NETWORKS = ["cnn", "resnet", WithBuffer]


def make_image_model(tree, kind, **config):
    """Return a model of images of 16 times 17 pixels."""
    n_features = 16 * 17
    return make_model(
        tree,
        n_features,
        encoder=encoder_factory(kind, IMAGE, n_features, 6),
        decoder=decoder_factory(kind, IMAGE, n_features, 6, 3),
        **config,
    )


def make_data(n, generator, n_features=5):
    return torch.rand(n, n_features, generator=generator, dtype=torch.float64)


@given(
    topologies(), st.sampled_from(LIKELIHOODS), st.integers(0, 3), st.integers(0, 99)
)
def test_elbo_terms_are_those_of_the_oracle(tree, likelihood, n_steps, seed):
    model = make_model(tree, seed=seed, likelihood=likelihood, n_steps=n_steps)
    generator = torch.Generator().manual_seed(seed)
    x = make_data(3, generator)
    noise = model.draw_noise(3, generator)
    terms = model.elbo(x, noise)
    for row in range(3):
        expected = oracle.elbo_terms(model, x[row].numpy(), noise[:, row].numpy())
        for name in TERMS:
            actual = getattr(terms, name)[row].item()
            assert actual == pytest.approx(expected[name], rel=1e-10, abs=1e-10)


def sparse_terms(model, x, n_leaves, generator=None):
    embeddings = model.bottom_up(model.feature_map(x))
    evidence = model.evidence(embeddings, x)
    routing = model.route_with(embeddings)
    return model.sparse_elbo(routing, evidence, x, n_leaves, generator)


def gradients(model, loss):
    """Return the gradient of every parameter; zeros where there is none."""
    parameters = list(model.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(p) if g is None else g
        for p, g in zip(parameters, found, strict=True)
    ]


@given(topologies(), st.sampled_from(LIKELIHOODS), st.integers(0, 99))
def test_a_sparse_bound_of_all_leaves_is_the_bound(tree, likelihood, seed):
    model = make_model(tree, seed=seed, likelihood=likelihood)
    x = make_data(6, torch.Generator().manual_seed(seed))
    exact = model.elbo(x)
    with mock.patch.object(topdown, "NEGLIGIBLE", 1e-300):
        sparse = sparse_terms(model, x, len(tree.leaves))
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
    posterior = model.infer(x)
    path = posterior.leaf_log_path.exp()
    ranks = path.argsort(0, descending=True).argsort(0)
    kept = path * (path > topdown.NEGLIGIBLE * path.max(0).values) * (ranks < n)
    kept = kept / kept.sum(0)
    log_prob = model.top_down.leaf_log_prob(posterior, x)
    torch.testing.assert_close(sparse.reconstruction, (kept * log_prob).sum(0))
    for node, depth in enumerate(tree.node_depths):
        below = [node in tree.path(leaf) for leaf in tree.leaves]
        level = posterior.levels[depth]
        position = tree.levels[depth].index(node)
        kl = level.q.kl(level.p)[position] * kept[below].sum(0)
        term = "kl_nodes" if node else "kl_root"
        found = getattr(sparse, term) - kl
        sparse = replace(sparse, **{term: found})
    zero = torch.zeros(6).double()
    torch.testing.assert_close(sparse.kl_root, zero)
    torch.testing.assert_close(sparse.kl_nodes, zero)


def flat_gradient(model, value):
    return torch.cat([g.flatten() for g in gradients(model, value)])


@given(
    topologies().filter(lambda tree: tree.branchings),
    st.sampled_from([1.0, 3.0]),
    st.integers(0, 99),
)
@settings(max_examples=25)
def test_what_is_dropped_bounds_the_error_and_that_of_the_gradient(tree, scale, seed):
    model = make_model(tree, seed=seed, likelihood="bernoulli", scale=scale)
    x = make_data(1, torch.Generator().manual_seed(seed))
    log_path = model.route(x)[:, 0]
    log_prob = model.top_down.leaf_log_prob(model.infer(x), x)[:, 0]
    kept = log_path.exp().topk(min(2, len(log_path))).values
    dropped = 1.0 - kept[kept > topdown.NEGLIGIBLE * kept[0]].sum().item()
    exact, sparse = model.elbo(x), sparse_terms(model, x, 2)
    exact, sparse = exact.reconstruction[0], sparse.reconstruction[0]
    largest = log_prob.abs().max().item()
    assert abs(sparse - exact) <= 2.0 * dropped * largest + 1e-9
    # The gradient of sum_l P_l f_l is sum_l P_l (f_l grad log P_l + grad f_l).
    of_path = [flat_gradient(model, value) for value in log_path]
    terms = [
        value.detach() * path + flat_gradient(model, value)
        for value, path in zip(log_prob, of_path, strict=True)
    ]
    error = flat_gradient(model, sparse) - flat_gradient(model, exact)
    bound = 2.0 * dropped * max(map(torch.linalg.norm, terms))
    # Scaled probabilities change less than they do, by the mean over those kept.
    scaling = dropped / (1.0 - dropped)
    bound = bound + scaling * largest * max(map(torch.linalg.norm, of_path))
    assert torch.linalg.norm(error) <= bound + 1e-9


def test_routers_hear_of_leaves_that_decode_nothing(generator):
    model = make_model(balanced(2), likelihood="bernoulli")
    with torch.no_grad():  # nobody goes right
        model.top_down.q_routers.biases[-1].fill_(30.0)
    x = make_data(20, generator)
    embeddings = model.bottom_up(x)
    routing = model.route_with(embeddings)
    assert routing.leaf_log_path[1:].max() < np.log(topdown.NEGLIGIBLE)
    loss = -routing.leaf_log_path[3].mean()
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


def test_a_model_infers_from_its_feature_map(generator):
    feature_map = FeatureMap(5, 3).double()
    feature_map.projection.normal_(generator=generator)
    model = TreeVAE(balanced(1), 5, feature_map=feature_map, generator=generator)
    model.double()
    x = make_data(4, generator)
    actual = model.infer(x).leaf_log_path
    embeddings = model.bottom_up(feature_map(x))
    evidence = model.evidence(embeddings, x)
    expected = model.infer_with(embeddings, evidence).leaf_log_path
    assert torch.equal(actual, expected)


@given(topologies(), st.integers(0, 3), st.integers(0, 99))
def test_routes_need_no_latents(tree, n_steps, seed):
    model = make_model(tree, seed=seed, n_steps=n_steps)
    x = make_data(6, torch.Generator().manual_seed(seed))
    assert torch.equal(model.route(x), model.infer(x).leaf_log_path)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_one_leaf_is_a_plain_vae(likelihood, generator):
    model = make_model(Topology.single_leaf(), likelihood=likelihood)
    x = make_data(4, generator)
    noise = model.draw_noise(4, generator)
    terms = model.elbo(x, noise)
    q = Gaussian.from_raw(model.root_head(model.bottom_up(x)[0]))
    output = model.top_down.decoders(q.sample(noise[0]))
    log_prob = model.top_down.likelihood.log_prob(output, x)[0]
    prior = torch.distributions.Normal(0.0, 1.0)
    posterior = torch.distributions.Normal(q.mean, q.variance.sqrt())
    kl = torch.distributions.kl_divergence(posterior, prior).sum(1)
    torch.testing.assert_close(terms.elbo(), log_prob - kl)
    assert not terms.kl_nodes.any()
    assert not terms.kl_decisions.any()


def test_identical_children_gain_nothing(generator):
    model = make_model(Topology((-1, 0, 0)), likelihood="gaussian")
    with torch.no_grad():
        for name, parameter in model.top_down.named_parameters():
            if not name.startswith(("q_routers", "p_routers", topdown.SHARED)):
                parameter[1] = parameter[0]
        for routers in (model.top_down.q_routers, model.top_down.p_routers):
            for parameter in routers.parameters():
                parameter.zero_()
    x = make_data(4, generator)
    noise = model.draw_noise(4, generator)
    noise[2] = noise[1]
    undecided = model.elbo(x, noise)
    with torch.no_grad():
        for routers in (model.top_down.q_routers, model.top_down.p_routers):
            routers.biases[-1].fill_(3.0)
    decided = model.elbo(x, noise)
    torch.testing.assert_close(decided.elbo(), undecided.elbo())
    assert not decided.kl_decisions.abs().gt(1e-12).any()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("tree", [Topology.single_leaf(), balanced(2), caterpillar(5)])
def test_gradients_reach_every_parameter(likelihood, tree, generator):
    model = make_model(tree, likelihood=likelihood)
    x = make_data(6, generator)
    model.elbo(x, model.draw_noise(6, generator)).elbo().mean().backward()
    for name, parameter in model.named_parameters():
        if parameter.numel():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leaf_probabilities_sum_to_one_at_depth_30(dtype, generator):
    # Far from zero: as products, the deepest probabilities would underflow.
    model = make_model(caterpillar(31), scale=20.0).to(dtype)
    log_path = model.infer(make_data(8, generator).to(dtype)).leaf_log_path
    assert log_path.shape == (31, 8)
    assert log_path.isfinite().all()
    assert log_path.min() < np.log(np.finfo(np.float32).tiny)
    total = log_path.logsumexp(0)
    torch.testing.assert_close(total, torch.zeros_like(total), atol=1e-4, rtol=0)


class _CountOperations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def count_operations(tree, n_steps):
    model = make_model(tree, n_steps=n_steps)
    generator = torch.Generator().manual_seed(0)
    x = make_data(4, generator)
    noise = model.draw_noise(4, generator)
    with _CountOperations() as counter:
        model.elbo(x, noise).elbo()
    return counter.counts.total()


def test_operations_do_not_grow_with_the_nodes_of_a_level():
    # Depth 7 both, with 8 and with 64 leaves.
    wide = balanced(6)
    wide = wide.split(wide.leaves[0]).topology.prune(wide.leaves[-1] + 2).topology
    assert len(wide.leaves) == 64
    assert wide.depth == caterpillar(8).depth == 7
    # But for copies of a few views.
    expected = count_operations(caterpillar(8), 4)
    assert count_operations(wide, 4) == pytest.approx(expected, rel=0.01)


def test_operations_per_level_are_as_many_for_8_as_for_64_leaves():
    # One step of the chain for each level, as an estimator makes it.
    counts = [count_operations(balanced(depth), depth) for depth in range(1, 7)]
    assert len(set(np.diff(counts))) == 1  # each level costs the same
    per_level = [count / (depth + 1) for depth, count in enumerate(counts, start=1)]
    assert per_level[5] == pytest.approx(per_level[2], rel=0.1)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_elbo_is_below_the_importance_weighted_estimate(likelihood, generator):
    model = make_model(balanced(2), likelihood=likelihood)
    x = make_data(5, generator)
    with torch.no_grad():
        elbos = [
            model.elbo(x, model.draw_noise(5, generator)).elbo() for _ in range(1000)
        ]
        one = [model.log_likelihood(x, 1, generator) for _ in range(1000)]
        many = model.log_likelihood(x, 1000, generator)
    assert (torch.stack(elbos).mean(0) < torch.stack(one).mean(0)).all()
    assert (torch.stack(one).mean(0) < many).all()


@torch.no_grad()
def set_posterior(model, root_mean=0.0, root_variance=1.0):
    """Make q(z_0) a given normal distribution, and q(z_i) that of p."""
    latent_dim = model.top_down.config["latent_dim"]
    model.root_head.weight.zero_()
    model.root_head.bias[:latent_dim] = root_mean
    model.root_head.bias[latent_dim:] = np.log(np.expm1(root_variance - 1e-4))
    # A head that is sure of nothing leaves the merge to the transformation.
    model.top_down.heads.weights[-1].zero_()
    model.top_down.heads.biases[-1][..., :latent_dim] = 0.0
    model.top_down.heads.biases[-1][..., latent_dim:] = 1e9


def test_log_likelihood_of_a_mixture_is_exact(generator):
    # Decoders and routers that ignore z make p(x) a mixture of four known densities.
    model = make_model(balanced(2), likelihood="gaussian")
    set_posterior(model)
    with torch.no_grad():
        model.top_down.decoders.readout.weight.zero_()
        model.top_down.p_routers.weights[-1].zero_()
    left = model.top_down.p_routers.biases[-1][:, 0, 0].sigmoid()
    weights = torch.stack(
        [
            left[0] * left[1],
            left[0] * (1 - left[1]),
            (1 - left[0]) * left[2],
            (1 - left[0]) * (1 - left[2]),
        ]
    )
    x = make_data(3, generator)
    components = torch.distributions.Normal(
        model.top_down.decoders.constant + model.top_down.decoders.readout.bias,
        model.top_down.likelihood.variance.sqrt(),
    )
    expected = (weights.log()[:, None] + components.log_prob(x).sum(-1)).logsumexp(0)
    torch.testing.assert_close(
        model.log_likelihood(x, 2, generator), expected, atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_likelihood_estimate_does_not_depend_on_the_posterior(generator):
    # It is unbiased, so a q that is the prior and one that isn't agree in the end.
    model = make_model(balanced(1), likelihood="gaussian", scale=0.3)
    x = make_data(3, generator)
    set_posterior(model)
    from_prior = model.log_likelihood(x, 4000, generator)
    set_posterior(model, root_mean=0.3, root_variance=1.5)
    from_elsewhere = model.log_likelihood(x, 4000, generator)
    torch.testing.assert_close(from_elsewhere, from_prior, atol=0.05, rtol=0)


@torch.no_grad()
def make_linear_model(tree, generator):
    """Return a model, and the mixture of normals that its p(x) is.

    Decoders are linear, transformations add normals that don't depend on z, and the
    p-router of the root, if it has one, is constant.
    """
    model = make_model(tree, likelihood="gaussian", scale=0.1)
    top_down = model.top_down
    n_leaves = len(tree.leaves)
    # Without hidden layers, perceptrons are linear.
    decoders = StackedMLP(n_leaves, (3, 5), generator=generator).double()
    top_down.decoders = decoders
    for weight in (
        top_down.transformations.weights[-1],
        top_down.p_routers.weights[-1],
    ):
        weight.zero_()
    for networks in (decoders, top_down.transformations, top_down.p_routers):
        networks.biases[-1].normal_(generator=generator)
    mean, variance = torch.zeros(1, 3).double(), torch.ones(1, 3).double()
    weights = torch.ones(1).double()
    if n_leaves == 2:
        step = Gaussian.from_raw(top_down.transformations.biases[-1].squeeze(1))
        mean, variance = step.mean, 1.0 + step.variance
        left = top_down.p_routers.biases[-1].sigmoid().squeeze()
        weights = torch.stack([left, 1.0 - left])
    matrix, shift = decoders.weights[0], decoders.biases[0].squeeze(1)
    noise = torch.diag_embed(top_down.likelihood.variance.squeeze(1))
    components = torch.distributions.MultivariateNormal(
        shift + torch.einsum("li,lij->lj", mean, matrix),
        matrix.mT @ torch.diag_embed(variance) @ matrix + noise,
    )
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(weights), components
    )
    # Unlike the prior and wider, so that weights differ but are bounded.
    set_posterior(model, root_mean=0.3, root_variance=1.3)
    return model, mixture


@pytest.mark.parametrize("tree", [Topology.single_leaf(), balanced(1)])
def test_likelihood_estimate_is_unbiased(tree, generator):
    model, truth = make_linear_model(tree, generator)
    x = make_data(4, generator)
    estimates = [model.log_likelihood(x, 3, generator) for _ in range(1000)]
    ratio = (torch.stack(estimates) - truth.log_prob(x)).exp()
    standard_error = ratio.std(0) / 1000**0.5
    assert (standard_error < 0.06).all()  # or the next line would say little
    assert ((ratio.mean(0) - 1.0).abs() < 3.0 * standard_error).all()


@torch.no_grad()
def test_log_likelihood_rises_from_the_elbo_to_the_truth(generator):
    model, truth = make_linear_model(balanced(1), generator)
    x = make_data(4, generator)
    noises = [model.draw_noise(1, generator) for _ in range(300)]
    means = [torch.stack([model.elbo(x, noise).elbo() for noise in noises]).mean(0)]
    for n, n_repeats in [(1, 300), (10, 50), (100, 10)]:
        estimates = [model.log_likelihood(x, n, generator) for _ in range(n_repeats)]
        means.append(torch.stack(estimates).mean(0))
    assert (torch.stack(means).diff(dim=0) > 0).all()
    many = model.log_likelihood(x, 2000, generator)
    torch.testing.assert_close(many, truth.log_prob(x), atol=0.2, rtol=0.0)


def test_log_likelihood_is_the_log_of_the_mean_weight(generator):
    # By a sum that runs, in float32, where weights span hundreds of nats.
    model = make_model(balanced(2), likelihood="gaussian", scale=3.0).float()
    x = 20.0 * make_data(4, generator).float()
    state = generator.get_state()
    weights = torch.stack([model.log_likelihood(x, 1, generator) for _ in range(200)])
    assert weights.std(0).min() > 10.0
    expected = weights.double().logsumexp(0) - np.log(200)
    actual = model.log_likelihood(x, 200, generator.set_state(state))
    torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=0.0)


def test_impossible_data_has_no_likelihood(generator):
    model = make_model(balanced(1), likelihood="gaussian").float()
    x = torch.full((1, 5), 2e19)  # whose square overflows
    assert model.log_likelihood(x, 2, generator).item() == -np.inf


def test_leaf_elbo_and_paths_make_up_the_elbo(generator):
    model = make_model(caterpillar(5), likelihood="gaussian")
    x = make_data(4, generator)
    posterior = model.infer(x)
    terms = model.elbo(x)
    path = posterior.leaf_log_path.exp()
    expected = (path * model.leaf_elbo(x)).sum(0)
    torch.testing.assert_close(expected, terms.elbo() + terms.kl_decisions)


def test_grafting_changes_nothing_above(generator):
    model = make_model(caterpillar(3))
    x = make_data(4, generator)
    before = model.infer(x)
    children = TopDown(
        Topology((-1, 0, 0)), **model.top_down.config, generator=generator
    ).double()
    leaf = model.topology.leaves[1]
    position = model.topology.leaves.index(leaf)
    change = model.topology.split(leaf)
    model.top_down = model.top_down.graft(leaf, children)
    after = model.infer(x)
    assert model.topology == change.topology
    new = [
        change.topology.leaves.index(i) for i, s in enumerate(change.source) if s < 0
    ]
    joined = after.leaf_log_path[new].logsumexp(0)
    torch.testing.assert_close(joined, before.leaf_log_path[position])
    old = [i for i in range(len(model.topology.leaves)) if i not in new]
    kept = [i for i in range(3) if i != position]
    torch.testing.assert_close(after.leaf_log_path[old], before.leaf_log_path[kept])
    torch.testing.assert_close(after.leaf_z[old], before.leaf_z[kept])


def test_grafted_children_compute_what_they_did_alone(generator):
    model = make_model(Topology((-1, 0, 0)))
    children = model.top_down.sprout(generator)
    x = make_data(4, generator)
    embeddings = model.bottom_up(x)
    posterior = model.infer(x)
    level = posterior.levels[1]
    parent = Gaussian(level.q.mean[1], level.q.variance[1])
    alone = children.infer(
        embeddings[1:],
        embeddings[1:],
        parent,
        root_prior=parent,
        root_log_path=posterior.routing.log_paths[1][1],
    )
    model.top_down = model.top_down.graft(2, children)
    whole = model.infer(x)
    torch.testing.assert_close(whole.leaf_log_path[1:], alone.leaf_log_path)
    torch.testing.assert_close(whole.leaf_z[1:], alone.leaf_z)
    alone_log_prob = children.leaf_log_prob(alone, x)
    whole_log_prob = model.top_down.leaf_log_prob(whole, x)
    torch.testing.assert_close(whole_log_prob[1:], alone_log_prob)


def test_pruning_sends_samples_to_the_sibling(generator):
    model = make_model(balanced(2))
    x = make_data(4, generator)
    before = model.infer(x).leaf_log_path
    model.top_down = model.top_down.prune(model.topology.leaves[0])
    after = model.infer(x).leaf_log_path
    torch.testing.assert_close(after[0], before[:2].logsumexp(0))
    torch.testing.assert_close(after[1:], before[2:])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("leaves", [None, [2], [2, 3]])
def test_samples_come_from_the_leaves_asked_for(likelihood, leaves, generator):
    model = make_model(balanced(2), likelihood=likelihood)
    x, positions = model.sample(50, generator, leaves)
    assert x.shape == (50, 5)
    assert set(positions.tolist()) == set(leaves or range(4))


def set_p_routers(model, *left):
    with torch.no_grad():
        model.top_down.p_routers.weights[-1].zero_()
        model.top_down.p_routers.biases[-1][:, 0, 0] = torch.tensor(left).logit()


def test_prior_samples_visit_leaves_as_the_generative_routers_say(generator):
    model = make_model(balanced(2))
    set_p_routers(model, 0.75, 0.4, 0.1)
    _, positions = model.sample(4000, generator)
    share = positions.bincount() / 4000
    expected = torch.tensor([0.75 * 0.4, 0.75 * 0.6, 0.25 * 0.1, 0.25 * 0.9])
    torch.testing.assert_close(share, expected, atol=0.03, rtol=0.0)


@pytest.mark.parametrize("above", [0.75, 1e-30])
def test_decisions_above_a_subtree_are_forced(above, generator):
    # However improbable they are.
    model = make_model(balanced(2))
    set_p_routers(model, above, 0.4, 0.1)
    _, positions = model.sample(4000, generator, leaves=[0, 1])
    share = positions.bincount() / 4000
    torch.testing.assert_close(share, torch.tensor([0.4, 0.6]), atol=0.03, rtol=0.0)


def test_more_samples_than_a_block(generator, monkeypatch):
    monkeypatch.setattr("sktreevae.model.treevae.SAMPLE_BLOCK", 7)
    x, positions = make_model(balanced(1)).sample(20, generator)
    assert x.shape == (20, 5)
    assert x.unique(dim=0).shape == x.shape
    assert positions.shape == (20,)


def test_embedding_is_what_the_root_reads(generator):
    model = make_model(caterpillar(4))
    x = make_data(4, generator)
    q = Gaussian.from_raw(model.root_head(model.embed(x)))
    torch.testing.assert_close(q.mean, model.infer(x).levels[0].z[0])


def test_reconstruction_is_the_mean_over_the_leaves(generator):
    model = make_model(balanced(1), likelihood="gaussian")
    x = make_data(4, generator)
    posterior = model.infer(x)
    output = model.top_down.decoders(posterior.leaf_z)
    path = posterior.leaf_log_path.exp()
    expected = path[0, :, None] * output[0] + path[1, :, None] * output[1]
    torch.testing.assert_close(model.reconstruct(x), expected)


def test_construction_leaves_the_global_generator_alone(generator):
    before = torch.random.get_rng_state()
    model = TreeVAE(balanced(2), 5, generator=generator)
    model.sample(3, generator)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_config_makes_a_model_of_the_same_shape(generator):
    model = make_model(caterpillar(4), likelihood="bernoulli")
    twin = TreeVAE(generator=generator, **model.config).double()
    twin.load_state_dict(model.state_dict())
    x = make_data(3, generator)
    torch.testing.assert_close(twin.elbo(x).elbo(), model.elbo(x).elbo())


# Networks for images, and users' own


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
    posterior = model.infer(x)
    leaf = posterior.leaf_log_path.argmax(0)
    assert leaf.unique().numel() < 4  # some leaves have no rows
    sparse = sparse_terms(model, x, 1).reconstruction
    log_prob = model.top_down.leaf_log_prob(posterior, x)
    torch.testing.assert_close(sparse, log_prob[leaf, torch.arange(6)])


@torch.no_grad()
def test_latents_see_the_image_and_routers_the_features(generator):
    model = make_image_model(balanced(2), "cnn")
    x = make_data(4, generator, 16 * 17)
    features = model.feature_map(x)
    embeddings = model.bottom_up(features)
    before, after = (
        model.infer_with(embeddings, model.evidence(embeddings, rows))
        for rows in (x, x.flip(1))
    )
    assert torch.equal(after.leaf_log_path, before.leaf_log_path)
    for one, two in zip(before.levels, after.levels, strict=True):
        assert not torch.isclose(one.q.mean, two.q.mean).all(-1).any()


@torch.no_grad()
def test_evidence_is_the_embedding_plus_the_code(generator):
    model = make_image_model(balanced(1), "cnn")
    x = make_data(4, generator, 16 * 17)
    embeddings = model.bottom_up(x)
    for d, evidence in zip(embeddings, model.evidence(embeddings, x), strict=True):
        torch.testing.assert_close(evidence, d + model.encoder(x))
    posterior = model.infer_with(embeddings, model.evidence(embeddings, x))
    assert torch.equal(posterior.leaf_z, model.infer(x).leaf_z)


@torch.no_grad()
@pytest.mark.parametrize("kind", NETWORKS)
def test_rows_do_not_depend_on_the_others(kind, generator):
    model = make_image_model(balanced(2), kind).float()
    x = make_data(8, generator, 16 * 17).float()
    others = torch.cat([x[:2], make_data(6, generator, 16 * 17).float()])
    for method in (model.leaf_elbo, model.route):
        assert torch.equal(method(x)[:, :2], method(others)[:, :2])
    assert torch.equal(model.reconstruct(x)[:2], model.reconstruct(others)[:2])


@torch.no_grad()
@pytest.mark.parametrize("kind", NETWORKS)
def test_decoders_of_leaves_survive_pruning_and_grafting(kind, generator):
    model = make_image_model(caterpillar(3), kind)
    old, leaf = model.top_down, model.topology.leaves[1]
    cherry = old.sprout(generator)
    z = torch.randn(1, 4, 3, generator=generator).double()

    def decode(top_down):
        return top_down.decoders(z.expand(len(top_down.topology.leaves), -1, -1))

    before = decode(old)
    torch.testing.assert_close(decode(old.prune(leaf)), before[[0, 2]])
    change = model.topology.split(leaf)
    sources = [change.source[i] for i in change.topology.leaves]
    new = iter(decode(cherry))
    expected = [
        next(new) if i < 0 else before[model.topology.leaves.index(i)] for i in sources
    ]
    torch.testing.assert_close(decode(old.graft(leaf, cherry)), torch.stack(expected))


@pytest.mark.parametrize("kind", ["mlp", *NETWORKS])
def test_what_leaves_share_is_frozen_in_a_sprout_alone(kind, generator):
    model = make_image_model(caterpillar(3), kind)
    cherry = model.top_down.sprout(generator)
    grafted = model.top_down.graft(model.topology.leaves[1], cherry)
    for name, parameter in cherry.named_parameters():
        shared = name.startswith(topdown.SHARED)
        assert parameter.requires_grad == (not shared), name
        if shared:
            for tree in (model.top_down, grafted):
                assert torch.equal(tree.get_parameter(name), parameter)
                assert tree.get_parameter(name) is not parameter
    assert all(p.requires_grad for p in grafted.parameters())


@torch.no_grad()
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_leaf_begins_with_its_mean(kind, generator):
    n_features = 16 * 17
    model = TreeVAE(
        balanced(1),
        n_features,
        latent_dim=3,
        likelihood="bernoulli",
        decoder=decoder_factory(kind, IMAGE, n_features, 128, 3),
        generator=generator,
    )
    z = torch.randn(2, 40, 3, generator=generator)
    mean = torch.rand(n_features, generator=generator)
    before = model.top_down.decoders(z)
    model.top_down.start_leaf(1, mean)
    after = model.top_down.decoders(z)
    assert torch.equal(after[0], before[0])
    expected = before[1] + mean.clamp(0.01, 0.99).logit()
    torch.testing.assert_close(after[1], expected)


@torch.no_grad()
@pytest.mark.parametrize("kind", NETWORKS)
def test_config_makes_networks_of_the_same_shape(kind, generator):
    model = make_image_model(caterpillar(3), kind)
    twin = TreeVAE(generator=generator, **model.config).double()
    twin.load_state_dict(model.state_dict())
    x = make_data(3, generator, 16 * 17)
    torch.testing.assert_close(twin.elbo(x).elbo(), model.elbo(x).elbo())
