import numpy as np
import pytest
import torch

from sktreevae.model import DiagonalGaussian, Topology
from sktreevae.model.layers import StackedMLP

from .strategies import balanced, make_data, make_model


def draws(model, n_draws, n_rows, generator):
    return (model.sample_noise(n_rows, generator) for _ in range(n_draws))


@torch.no_grad()
def independent_estimates(model, x, n_importance_samples, n_repeats, generator):
    """Return independent estimates of log p(x), (n_repeats, batch), by one call."""
    rows = x.repeat(n_repeats, 1)
    noises = draws(model, n_importance_samples, len(rows), generator)
    return model.log_likelihood(rows, noises).reshape(n_repeats, len(x))


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
