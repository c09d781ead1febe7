import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.func import functional_call

from sktreevae.model.likelihoods import (
    LIKELIHOODS,
    MAX_COUNT,
    NORMAL_KURTOSIS,
    BernoulliLikelihood,
    GaussianLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
)

COUNTS = (PoissonLikelihood, NegativeBinomialLikelihood)


def numpy_log_prob(likelihood, log_rate, x):
    """Log-probabilities of single counts by scipy, in double precision."""
    x, rate = x.double().numpy(), np.exp(log_rate.double().numpy())
    if not isinstance(likelihood, NegativeBinomialLikelihood):
        return stats.poisson.logpmf(x, rate)
    size = 1 / likelihood.dispersion.detach().double().numpy()
    return stats.nbinom.logpmf(x, size, size / (size + rate))


def make_likelihood(kind, like, *, seed=0):
    """Return a likelihood in float64, with random parameters, for some outputs."""
    likelihood = kind(len(like), like.shape[-1]).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in likelihood.parameters():
        torch.nn.init.uniform_(parameter, -0.9, 0.4, generator=generator)
    return likelihood


@st.composite
def batches(draw):
    """Draw sparse, dense, all-zero and huge counts, and log-rates near or far."""
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    largest = draw(st.sampled_from([1, 7, 8, 100, 10_000, MAX_COUNT]))
    x = rng.integers(1, largest + 1, size=shape)
    x *= rng.random(shape) < draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    noise = rng.normal(0.0, draw(st.sampled_from([0.01, 1.0])), size=(2, *shape))
    log_rate = np.clip(np.log(x + 0.1) + noise, *PoissonLikelihood.LOG_RATE_RANGE)
    return torch.from_numpy(x.astype(np.float64)), torch.from_numpy(log_rate)


def test_bernoulli_keeps_the_gradient_of_saturated_pixels():
    logits = torch.full((1, 1, 1), -200.0, requires_grad=True)
    BernoulliLikelihood(1, 1).log_prob(logits, torch.ones(1, 1)).sum().backward()
    assert logits.grad.item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("likelihood", "name", "start", "floor"),
    [
        (GaussianLikelihood(2, 3), "variance", 1.001, 0.001),
        (NegativeBinomialLikelihood(2, 3), "dispersion", 0.3001, 0.0001),
    ],
)
def test_scales_start_moderate_and_have_a_floor(likelihood, name, start, floor):
    scale = getattr(likelihood, name)
    torch.testing.assert_close(scale, torch.full((2, 1, 3), start))
    for parameter in likelihood.parameters():
        torch.nn.init.constant_(parameter, -1e6)
    scale = getattr(likelihood, name)
    torch.testing.assert_close(scale, torch.full((2, 1, 3), floor))


def test_bernoulli_values_outside_count_as_the_nearest_inside():
    output = torch.tensor([[-3.0, 3.0]])
    likelihood = BernoulliLikelihood(1, 2)
    outside, inside = torch.tensor([[-5.0, 7.0]]), torch.tensor([[0.0, 1.0]])
    assert likelihood.log_prob(output, outside) == likelihood.log_prob(output, inside)
    assert likelihood.log_prob(output, outside) <= 0


def test_bernoulli_samples_are_gray_levels(generator):
    x = BernoulliLikelihood(1, 1).sample(torch.zeros(1, 5, 1), generator)
    assert (x == 0.5).all()


@pytest.mark.parametrize("likelihood", [kind(2, 3) for kind in LIKELIHOODS.values()])
def test_outputs_can_be_given_by_their_means(likelihood):
    mean = torch.tensor([0.2, 0.5, 0.9])
    torch.testing.assert_close(likelihood.mean(likelihood.link(mean)), mean)


def test_no_pixel_starts_certain():
    assert BernoulliLikelihood(1, 2).link(torch.tensor([0.0, 1.0])).abs().max() < 5.0


def make_data(likelihood, generator):
    """Return data for the likelihood, and outputs of all leaves, in float64."""
    shape = likelihood.n_leaves, 5, likelihood.n_features
    options = {"generator": generator, "dtype": torch.float64}
    output = torch.randn(shape, **options)
    if likelihood.is_count:
        x = torch.poisson(2 * torch.rand(shape[1:], **options), generator=generator)
    else:
        x = torch.rand(shape[1:], **options)
    return output, x


@pytest.mark.parametrize("kind", LIKELIHOODS.values())
@given(leaf=st.lists(st.integers(0, 2), min_size=5, max_size=5))
def test_rows_with_a_leaf_each_agree_with_all_leaves(kind, leaf):
    generator = torch.Generator().manual_seed(0)
    likelihood = make_likelihood(kind, torch.empty(3, 5, 4))
    output, x = make_data(likelihood, generator)
    leaf, row = torch.tensor(leaf), torch.arange(5)
    parameters = [output.requires_grad_(), *likelihood.parameters()]
    of_all = likelihood.log_prob(output, x)[leaf, row]
    of_rows = likelihood.log_prob(output[leaf, row], x, leaf)
    torch.testing.assert_close(of_rows, of_all)
    weight = torch.arange(1.0, 6.0, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(of_rows @ weight, parameters),
        torch.autograd.grad(of_all @ weight, parameters),
    )


@pytest.mark.parametrize("kind", LIKELIHOODS.values())
@pytest.mark.parametrize("by_row", [False, True])
def test_gradients_are_those_of_finite_differences(kind, by_row, generator):
    likelihood = make_likelihood(kind, torch.empty(3, 5, 4))
    output, x = make_data(likelihood, generator)
    leaf = torch.tensor([0, 0, 2, 2, 2]) if by_row else None
    parameters = dict(likelihood.named_parameters())

    def log_prob(output, *values):
        state = dict(zip(parameters, values, strict=True))
        return functional_call(likelihood, state, (output, x, leaf))

    likelihood.forward = likelihood.log_prob
    output = output[0] if by_row else output
    inputs = output.requires_grad_(), *parameters.values()
    assert torch.autograd.gradcheck(log_prob, inputs)


# The Gaussian density can't diverge, since variances have a floor
LARGEST = -1.5 * math.log(2 * math.pi * GaussianLikelihood.MIN_VARIANCE)


@pytest.mark.parametrize(
    ("kind", "scale", "largest_x", "bound"),
    [
        (GaussianLikelihood, 1e16, 1e16, LARGEST + 1e-5),
        (PoissonLikelihood, 1e30, MAX_COUNT, 0.1),
        (NegativeBinomialLikelihood, 1e30, MAX_COUNT, 0.1),
    ],
)
@given(
    output=st.floats(-1, 1, allow_subnormal=False),
    x=st.floats(0, 1),
    raw=st.floats(-1e6, 1e6, allow_subnormal=False),
)
def test_extremes_have_finite_densities(kind, scale, largest_x, bound, output, x, raw):
    likelihood = kind(2, 3)
    for parameter in likelihood.parameters():
        torch.nn.init.constant_(parameter, raw)
    output = torch.full((2, 1, 3), scale * output, requires_grad=True)
    x = torch.full((1, 3), float(round(largest_x * x)))
    log_prob = likelihood.log_prob(output, x)
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert (log_prob <= bound).all()
    for parameter in (output, *likelihood.parameters()):
        assert parameter.grad.isfinite().all()


# Counts


@pytest.mark.parametrize(
    "likelihood", [PoissonLikelihood(1, 9), NegativeBinomialLikelihood(1, 9)]
)
def test_sums_over_huge_counts_are_precise(likelihood, generator):
    # The terms of the plain form are 1e7 each, and known to within one.
    x = torch.randint(900_000, 1_100_000, (50, 9), generator=generator).float()
    log_rate = (x * 1.001).log()[None]
    expected = numpy_log_prob(likelihood, log_rate, x).sum(-1)
    actual = likelihood.log_prob(log_rate, x).detach().numpy()
    np.testing.assert_allclose(actual, expected, atol=0.5)


@given(batches())
@pytest.mark.parametrize("kind", COUNTS)
def test_sums_over_features_are_those_of_scipy(kind, batch):
    x, log_rate = batch
    likelihood = make_likelihood(kind, log_rate)
    expected = numpy_log_prob(likelihood, log_rate, x).sum(-1)
    actual = likelihood.log_prob(log_rate, x).detach()
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)
    likelihood, log_rate = likelihood.float(), log_rate.float()
    expected = numpy_log_prob(likelihood, log_rate, x).sum(-1)
    actual = likelihood.log_prob(log_rate, x.float()).detach().numpy()
    # A logarithm of a rate is rounded, which counts as often as there are counts.
    tolerance = 1e-3 + 1e-4 * np.abs(expected) + 2e-6 * x.sum(-1).numpy()
    assert (np.abs(actual - expected) <= tolerance).all()


def test_rates_start_above_zero():
    for kind in COUNTS:
        likelihood = kind(1, 1)
        output = likelihood.link(torch.zeros(1)).requires_grad_()
        likelihood.log_prob(output[None], torch.ones(1, 1)).backward()
        assert output.grad > 0.5


@pytest.mark.parametrize("kind", COUNTS)
@pytest.mark.parametrize("log_rate", [-1e30, 1e30])
def test_extreme_rates_can_be_sampled(kind, log_rate, generator):
    x = kind(1, 2).sample(torch.full((1, 3, 2), log_rate), generator)
    assert x.isfinite().all()


ERROR = torch.tensor([[0.5, 1.0, 2.0], [0.1, 1.0, 4.0]])
"""Mean squared errors of two leaves."""


def scaled(error, n_samples, kurtosis=NORMAL_KURTOSIS):
    """Return the variances of leaves with such errors."""
    likelihood = GaussianLikelihood(*error.shape)
    likelihood.set_scale(error, torch.tensor(n_samples)[:, None], kurtosis)
    return likelihood.variance[:, 0].detach()


@pytest.mark.parametrize("factor", [1.0, 1e5])
@pytest.mark.parametrize("n_samples", [(90.0, 10.0), (1e7, 1e7), (100.0, 0.0)])
def test_gaussian_variances_are_shrunk_as_by_two_samples_of_the_mean_error(
    n_samples, factor
):
    error, n = factor * ERROR, torch.tensor(n_samples)[:, None]
    mean = (n * error).sum(0) / n.sum()
    torch.testing.assert_close(
        scaled(error, n_samples), (n * error + 2 * mean) / (n + 2)
    )


@given(st.floats(1.5, 100.0), st.floats(1.1, 10.0), st.integers(3, 10_000))
def test_gaussian_variances_are_shrunk_more_for_heavier_tails(
    kurtosis, factor, n_samples
):
    sizes = [float(n_samples)] * 2
    some, more = (
        scaled(ERROR, sizes, torch.full((3,), k)) for k in (kurtosis, factor * kurtosis)
    )
    mean = ERROR.mean(0)
    gap, smaller_gap = ((v - mean).abs()[:, [0, 2]] for v in (some, more))
    assert (smaller_gap < gap).all()
    assert (gap < (ERROR - mean).abs()[:, [0, 2]]).all()


def test_the_kurtosis_is_that_of_each_feature():
    error = torch.tensor([[1.0, 1.0], [3.0, 3.0]])
    normal, heavy = scaled(error, [20.0, 20.0], torch.tensor([3.0, 30.0])).T
    assert heavy.diff().item() < normal.diff().item() - 0.5


def test_gaussian_variances_of_constant_features_have_a_floor():
    variance = scaled(torch.zeros(2, 3), [50.0, 1e6])
    assert (variance >= GaussianLikelihood.MIN_VARIANCE).all()
    assert (variance <= 2.001 * GaussianLikelihood.MIN_VARIANCE).all()


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_only_likelihoods_with_a_scale_set_it(kind):
    likelihood = LIKELIHOODS[kind](2, 3)
    before = [p.clone() for p in likelihood.parameters()]
    likelihood.set_scale(ERROR, torch.full((2, 1), 50.0), NORMAL_KURTOSIS)
    changed = [
        not torch.equal(p, q)
        for p, q in zip(likelihood.parameters(), before, strict=True)
    ]
    assert any(changed) == likelihood.has_scale


@pytest.mark.parametrize("kind", [BernoulliLikelihood, GaussianLikelihood])
def test_newton_steps_never_overshoot(kind, generator):
    likelihood = kind(1, 4)
    x = torch.rand(50, 4, generator=generator)
    mean = torch.rand(50, 4, generator=generator).clamp(0.05, 0.95)
    output = likelihood.link(mean)
    better = output + 0.5 * likelihood.newton_step(x, mean)
    before, after = (likelihood.log_prob(o[None], x)[0] for o in (output, better))
    assert (after >= before - 1e-5).all()


@pytest.mark.parametrize(
    "kind", [GaussianLikelihood, PoissonLikelihood, NegativeBinomialLikelihood]
)
def test_samples_have_the_mean_and_the_conditional_variance(kind, generator):
    output = torch.randn(2, 1, 3, generator=generator, dtype=torch.float64)
    likelihood = make_likelihood(kind, output)
    rows = likelihood.sample(output.expand(2, 40_000, 3), generator)
    assert rows.dtype == output.dtype
    if likelihood.is_count:
        assert ((rows >= 0) & (rows == rows.floor())).all()
    mean = likelihood.mean(output)
    torch.testing.assert_close(rows.mean(1), mean[:, 0], rtol=0.05, atol=0.02)
    variance = likelihood.conditional_variance(mean).detach()
    torch.testing.assert_close(variance[:, 0], rows.var(1), rtol=0.1, atol=0)


def test_the_conditional_variance_of_probabilities():
    mean = torch.tensor([[[0.0, 0.25, 0.5, 1.0]]])
    variance = BernoulliLikelihood(1, 4).conditional_variance(mean)
    torch.testing.assert_close(variance, torch.tensor([[[0.0, 0.1875, 0.25, 0.0]]]))
