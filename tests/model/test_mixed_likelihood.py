import pytest
import torch
from torch import distributions

from sktreevae.model.likelihoods import (
    BernoulliLikelihood,
    GaussianLikelihood,
    MixedLikelihood,
)

DISCRETE = ((1,), (2, 3, 4), (6,))
REAL, BINARY, GROUP = [0, 5], [1, 6], [2, 3, 4]


@pytest.fixture
def likelihood(generator):
    likelihood = MixedLikelihood(3, 7, DISCRETE)
    with torch.no_grad():
        likelihood.raw_variance.uniform_(-0.1, 0.1, generator=generator)
    return likelihood


@pytest.fixture
def x(generator):
    x = torch.randn(5, 7, generator=generator)
    x[:, BINARY] = (x[:, BINARY] > 0).float()
    x[:, GROUP] = torch.eye(3)[[0, 2, 1, 1, 0]]
    return x


@pytest.fixture
def output(generator):
    return torch.randn(3, 5, 7, generator=generator)


def test_log_probability_is_the_sum_over_the_columns(likelihood, output, x):
    deviation = likelihood.variance.sqrt()
    real = distributions.Normal(output[..., REAL], deviation)
    binary = distributions.Bernoulli(logits=output[..., BINARY])
    group = distributions.OneHotCategorical(logits=output[..., GROUP])
    expected = (
        real.log_prob(x[:, REAL]).sum(-1)
        + binary.log_prob(x[:, BINARY]).sum(-1)
        + group.log_prob(x[:, GROUP])
    )
    torch.testing.assert_close(likelihood.log_prob(output, x), expected)


def test_unknown_categories_count_as_the_least_probable_one(likelihood, output, x):
    known = torch.stack(
        [
            likelihood.log_prob(output, x.index_copy(1, torch.tensor(GROUP), one_hot))
            for one_hot in torch.eye(3)[:, None].expand(3, 5, 3)
        ]
    )
    x[:, GROUP] = 0.0
    torch.testing.assert_close(likelihood.log_prob(output, x), known.amin(0))


def test_without_discrete_columns_it_is_gaussian(output, x):
    mixed, gaussian = MixedLikelihood(3, 7), GaussianLikelihood(3, 7)
    assert torch.equal(mixed.log_prob(output, x), gaussian.log_prob(output, x))
    assert mixed.state_dict().keys() == gaussian.state_dict().keys()


def test_samples_have_the_mean_and_the_conditional_variance(likelihood, generator):
    output = torch.randn(3, 1, 7, generator=generator).expand(-1, 20_000, -1)
    x = likelihood.sample(output, generator)
    assert ((x[..., BINARY] == 0) | (x[..., BINARY] == 1)).all()
    assert (x[..., GROUP].sum(-1) == 1).all()
    mean = likelihood.mean(output[:, :1])
    torch.testing.assert_close(x.mean(1), mean[:, 0], atol=0.04, rtol=0.0)
    variance = likelihood.conditional_variance(mean)[:, 0].detach()
    torch.testing.assert_close(x.var(1), variance, rtol=0.06, atol=0.01)


def test_each_row_is_drawn_by_its_leaf(likelihood, generator):
    output = torch.randn(20_000, 7, generator=generator)
    leaf = torch.arange(20_000) % 3
    residual = (likelihood.sample(output, generator, leaf) - output)[:, REAL]
    for k in range(3):
        torch.testing.assert_close(
            residual[leaf == k].var(0), likelihood.variance[k, 0], atol=0.0, rtol=0.06
        )


def test_discrete_columns_have_their_own_variance(likelihood, x):
    mean = torch.rand(7)
    error = torch.full((7,), 9.0)
    variance = likelihood.noise_variance(mean, error)
    assert (variance[REAL] == 9.0).all()
    binary = BernoulliLikelihood(3, 7).noise_variance(mean, error)
    torch.testing.assert_close(variance[BINARY + GROUP], binary[BINARY + GROUP])


def test_steps_agree_with_the_likelihoods_of_the_columns(likelihood, x):
    mean = torch.rand(5, 7)
    step = likelihood.newton_step(x, mean)
    assert torch.equal(step[:, REAL], (x - mean)[:, REAL])
    binary = BernoulliLikelihood(3, 7).newton_step(x, mean)
    torch.testing.assert_close(step[:, BINARY], binary[:, BINARY])


def test_no_value_starts_certain(likelihood):
    mean = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    probability = likelihood.mean(likelihood.link(mean))
    discrete = probability[BINARY + GROUP]
    assert (discrete > 0.009).all()
    assert (discrete < 0.991).all()
