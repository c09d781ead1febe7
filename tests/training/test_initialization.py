from dataclasses import replace

import numpy as np
import pytest
import torch

from sktreevae.model import Topology, TreeVAE
from sktreevae.training import initialization
from sktreevae.training.initialization import ROWS_PER_LEAF, Initializer, update_scale
from sktreevae.training.state import FitState, Generators, History

from ..graph.cases import nested_gaussians
from ..model.strategies import balanced
from .cases import CONFIG, make_data


def factors(n_factors=2, n_samples=600, n_features=20, scale=3.0):
    """Return two distant clusters that vary along a few directions, and noise."""
    rng = np.random.default_rng(0)
    y = np.arange(n_samples) % 2
    z = scale * rng.standard_normal((n_samples, n_factors))
    loadings = rng.standard_normal((n_factors, n_features))
    noise = rng.standard_normal((n_samples, n_features))
    return z @ loadings + noise + 30.0 * y[:, None], y


def start(X, y, tree=None, **config):
    """Return a model whose leaves have constants, data, and initializer of a start."""
    data = make_data(X)
    generator = torch.Generator().manual_seed(0)
    config = replace(CONFIG, n_features=X.shape[1], hidden_dim=32, **config)
    model = TreeVAE(tree or Topology.stump(), config, generator=generator)
    model.bottom_up.standardize(data.features[:])
    target = torch.tensor(y)
    for leaf in range(len(model.topology.leaves)):
        model.top_down.init_leaf(leaf, data.samples[:][target == leaf].mean(0))
    state = FitState(Generators(generator), History(), model=model, leaf=target)
    return Initializer(data, state)


def parts(initializer):
    return initializer.model, initializer.data, initializer.state.leaf


@torch.no_grad()
def make_certain(model):
    """Make routers certain: each sample reaches its own leaf only."""
    for parameter in model.top_down.q_routers.parameters():
        parameter *= 100.0


def initialized(X, y, is_certain=False):
    """Return an initializer that has set the routers and the latents."""
    initializer = start(X, y)
    initializer.init_routers()
    if is_certain:
        make_certain(initializer.model)
    initializer.init_latents()
    return initializer


def mean_elbo(model, data):
    generator = torch.Generator().manual_seed(1)
    noises = [model.sample_noise(1, generator) for _ in range(4)]
    with torch.no_grad():
        return model.mean_elbo(data.samples[:], noises).mean().item()


def test_routers_reach_separated_targets_without_training():
    X, y = factors()
    initializer = start(X, y)
    initializer.init_routers()
    model, data, target = parts(initializer)
    assert (model.assign_leaves(data.features[:]) == target).all()


def test_the_elbo_of_the_start_is_above_that_of_any_model_without_latents():
    initializer = initialized(*factors(), is_certain=True)
    model, data, target = parts(initializer)
    leaves = [data.samples[:][target == k] for k in (0, 1)]
    # Features of a leaf are then independent, with at best the moments of its samples.
    bounds = [
        torch.distributions.Normal(x.mean(0), x.std(0, correction=0)).log_prob(x)
        for x in leaves
    ]
    assert mean_elbo(model, data) > torch.cat(bounds).sum(1).mean()


@torch.no_grad()
def test_latents_of_the_start_have_the_moments_of_their_prior():
    X, y = factors(n_features=6, scale=0.7)
    initializer = start(X[y == 0], y[y == 0], Topology.single_leaf())
    initializer.init_latents()
    model, data, _ = parts(initializer)
    q = model.posterior(model.encode(data.samples[:])).q
    moment = (q.mean.square() + q.variance).mean((0, 1))
    torch.testing.assert_close(moment, torch.ones(2), atol=0.1, rtol=0.0)


def test_noise_gives_no_latents():
    # Without factors, no component exceeds what noise alone has.
    model, data, _ = parts(initialized(*factors(scale=0.0), is_certain=True))
    with torch.no_grad():
        terms = model.elbo(data.samples[:])
    assert (terms.kl_root + terms.kl_nodes).mean() < 0.2


def test_variances_of_leaves_are_those_of_their_samples():
    y = np.arange(2000) % 2
    noise = np.random.default_rng(0).standard_normal((2000, 20))
    X = noise * (1 + y[:, None]) + 6.0 * y[:, None]
    model, data, target = parts(initialized(X, y, is_certain=True))
    variance = model.top_down.likelihood.variance.mean((1, 2)).tolist()
    x = data.samples[:]
    expected = [x[target == k].var(0).mean().item() for k in (0, 1)]
    # Shrinkage makes them larger.
    assert variance == pytest.approx(expected, abs=0.06)
    assert variance[1] > 1.5 * variance[0]


@pytest.mark.parametrize("n_samples", [8, 9, 20])
def test_leaves_of_one_or_two_samples_are_finite(n_samples):
    X, _ = nested_gaussians(n_samples)
    initializer = start(X, np.arange(n_samples) % 8, balanced(3))
    initializer.init_routers()
    initializer.init_latents()
    assert all(p.isfinite().all() for p in initializer.model.parameters())


@pytest.mark.parametrize("n_samples", [200, 1400])
def test_drawn_samples_are_sorted_and_limited(n_samples):
    y = np.arange(n_samples) % 2
    initializer = start(np.random.default_rng(0).standard_normal((n_samples, 3)), y)
    leaf, x, features = initializer._draw_samples()
    assert leaf.bincount().tolist() == [min(n_samples // 2, max(ROWS_PER_LEAF))] * 2
    assert (leaf.diff() >= 0).all()
    assert len(x.unique(dim=0)) == len(x) == len(features)


# Loadings


def test_loadings_predict_the_samples_better_than_their_mean():
    model, data, target = parts(initialized(*factors()))
    decoders = model.top_down.decoders
    assert not decoders.readout.weight.any()
    assert decoders.loadings.flatten(1).any(1).all()
    x = data.samples[:]
    with torch.no_grad():
        z = model.posterior(model.encode(x)).leaf_z[target, torch.arange(len(x))]
        linear = torch.einsum("bi,bif->bf", z, decoders.loadings[target])
    residual = torch.stack([x[target == k].mean(0) for k in (0, 1)])[target] - x
    error = (residual + linear).square().mean()
    assert error < 0.4 * residual.square().mean()


def test_one_component_at_least_is_noise():
    # Two latent variables explain two features without an error.
    X, y = factors(n_features=2)
    residual = torch.tensor(X[y == 0] - X[y == 0].mean(axis=0), dtype=torch.float32)
    model = start(X, y).model
    latents = initialization._latents(residual, torch.zeros(2), model)
    assert latents[:, 0].any()
    assert not latents[:, 1].any()


# Scales after training


@torch.no_grad()
def test_the_scale_is_that_of_the_squared_errors_of_all_samples(monkeypatch):
    X, y = factors(n_samples=3000)
    X[::100] *= 3.0  # outliers
    model, data, _ = parts(initialized(X, y))
    likelihood = model.top_down.likelihood
    likelihood.raw_variance.zero_()
    kurtoses, set_scale = [], likelihood.set_scale
    monkeypatch.setattr(
        likelihood, "set_scale", lambda *a: kurtoses.append(a[2]) or set_scale(*a)
    )
    update_scale(model, data, torch.Generator().manual_seed(0))
    x = data.samples[:]
    noise = model.sample_noise(len(x), torch.Generator().manual_seed(3))
    posterior = model.posterior(model.encode(x), noise)
    weight = posterior.routing.leaf_log_proba.exp()[..., None]
    error = (model.top_down.decoders(posterior.leaf_z) - x).square()
    expected = (weight * error).sum(1) / weight.sum(1)
    ratio = likelihood.variance[:, 0] / expected
    assert ratio.log().abs().mean() < 0.05
    square, fourth = ((weight * e).sum((0, 1)) / len(x) for e in (error, error**2))
    expected = fourth / square**2
    assert expected.min() > 3.5
    assert (kurtoses[0] / expected).log().abs().mean() < 0.1


def test_an_update_of_the_scale_changes_nothing_else(generator):
    initializer = start(*factors())
    initializer.init_routers()
    before = {name: p.clone() for name, p in initializer.model.named_parameters()}
    update_scale(initializer.model, initializer.data, generator)
    for name, parameter in initializer.model.named_parameters():
        changed = not torch.equal(parameter, before[name])
        assert changed == (name == "top_down.likelihood.raw_variance"), name


def test_a_leaf_that_no_sample_reaches_has_a_finite_scale(generator):
    initializer = start(*factors())
    with torch.no_grad():
        initializer.model.top_down.q_routers.biases[-1].fill_(1e4)
    update_scale(initializer.model, initializer.data, generator)
    variance = initializer.model.top_down.likelihood.variance
    assert variance.isfinite().all()
    torch.testing.assert_close(variance[1], variance[0], rtol=1e-2, atol=0.0)
