import numpy as np
import pytest
import torch

from sktreevae.model import DiagonalGaussian, Topology
from sktreevae.model.layers import StackedMLP

from .strategies import balanced, make_data, make_model

LIKELIHOODS = ["bernoulli", "gaussian"]


def draws(model, n_draws, n_rows, generator):
    return (model.sample_noise(n_rows, generator) for _ in range(n_draws))


@torch.no_grad()
def independent_estimates(model, x, n_importance_samples, n_repeats, generator):
    """Return independent estimates of log p(x), (n_repeats, batch), by one call."""
    rows = x.repeat(n_repeats, 1)
    noises = draws(model, n_importance_samples, len(rows), generator)
    return model.log_likelihood(rows, noises).reshape(n_repeats, len(x))


def log_mean(estimates):
    """Return the log of the mean of estimates whose logs are given, (batch,)."""
    return estimates.logsumexp(0) - np.log(len(estimates))


@torch.no_grad()
def mean_elbo(model, x, n_draws, generator):
    """Return the mean of the ELBO over independent draws, (batch,)."""
    return model.mean_elbo(x, draws(model, n_draws, len(x), generator))


@torch.no_grad()
def set_posterior(model, root_mean=0.0, root_variance=1.0):
    """Make q(z_0) a given normal distribution, and q(z_i) that of p."""
    latent_dim = model.config.latent_dim
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
        model.top_down.decoders.loadings.zero_()
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
        model.log_likelihood(x, draws(model, 2, 3, generator)),
        expected,
        atol=1e-5,
        rtol=0,
    )


@torch.no_grad()
def test_likelihood_estimate_does_not_depend_on_the_posterior(generator):
    # It is unbiased, so a q that is the prior and one that isn't agree in the end.
    model = make_model(balanced(1), likelihood="gaussian", scale=0.3)
    x = make_data(3, generator)
    set_posterior(model)
    from_prior = log_mean(independent_estimates(model, x, 3, 500, generator))
    set_posterior(model, root_mean=0.3, root_variance=1.5)
    from_elsewhere = log_mean(independent_estimates(model, x, 3, 500, generator))
    torch.testing.assert_close(from_elsewhere, from_prior, atol=0.08, rtol=0)


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
        step = DiagonalGaussian.from_raw(top_down.transformations.biases[-1].squeeze(1))
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
    estimates = independent_estimates(model, x, 3, 1000, generator)
    ratio = (estimates - truth.log_prob(x)).exp()
    standard_error = ratio.std(0) / 1000**0.5
    assert (standard_error < 0.06).all()  # or the next line would say little
    assert ((ratio.mean(0) - 1.0).abs() < 3.0 * standard_error).all()


@torch.no_grad()
def test_log_likelihood_rises_from_the_elbo_to_the_truth(generator):
    model, truth = make_linear_model(balanced(1), generator)
    x = make_data(4, generator)
    means = [mean_elbo(model, x, 1000, generator)]
    for n, n_repeats in [(1, 1000), (10, 100), (100, 10)]:
        estimates = independent_estimates(model, x, n, n_repeats, generator)
        means.append(estimates.mean(0))
    assert (torch.stack(means).diff(dim=0) > 0).all()
    many = log_mean(independent_estimates(model, x, 10, 200, generator))
    torch.testing.assert_close(many, truth.log_prob(x), atol=0.2, rtol=0.0)


def test_log_likelihood_is_the_log_of_the_mean_weight(generator):
    # By a sum that runs, in float32, where weights span hundreds of nats.
    model = make_model(balanced(2), likelihood="gaussian", scale=3.0).float()
    x = 20.0 * make_data(4, generator).float()
    noises = list(draws(model, 200, 4, generator))
    weights = torch.stack([model.log_likelihood(x, [noise]) for noise in noises])
    assert weights.std(0).min() > 10.0
    expected = weights.double().logsumexp(0) - np.log(200)
    actual = model.log_likelihood(x, noises)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=0.0)


def test_impossible_data_has_no_likelihood(generator):
    model = make_model(balanced(1), likelihood="gaussian").float()
    model.top_down.likelihood.raw_variance.data.fill_(-0.5)  # a variance below 0.01
    x = torch.full((1, 5), 3e18)  # whose squares overflow if divided by it
    assert model.log_likelihood(x, draws(model, 2, 1, generator)).item() == -np.inf


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_elbo_is_below_the_importance_weighted_estimate(likelihood, generator):
    model = make_model(balanced(2), likelihood=likelihood)
    x = make_data(5, generator)
    elbo = mean_elbo(model, x, 1000, generator)
    one = independent_estimates(model, x, 1, 1000, generator)
    many = log_mean(independent_estimates(model, x, 1, 1000, generator))
    assert (elbo < one.mean(0)).all()
    assert (one.mean(0) < many).all()
