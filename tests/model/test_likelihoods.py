import pytest
import torch
from torch import distributions

from sktreevae.model.likelihoods import Bernoulli, Gaussian


def test_bernoulli_is_that_of_torch(generator):
    logits = torch.randn(3, 5, 4, generator=generator)
    x = torch.bernoulli(torch.full((5, 4), 0.5), generator=generator)
    expected = distributions.Bernoulli(logits=logits).log_prob(x).sum(-1)
    torch.testing.assert_close(Bernoulli(3, 4).log_prob(logits, x), expected)


def test_bernoulli_keeps_the_gradient_of_saturated_pixels():
    logits = torch.full((1, 1, 1), -200.0, requires_grad=True)
    Bernoulli(1, 1).log_prob(logits, torch.ones(1, 1)).sum().backward()
    assert logits.grad.item() == pytest.approx(1.0)


def test_gaussian_is_that_of_torch(generator):
    likelihood = Gaussian(3, 4)
    with torch.no_grad():
        likelihood.raw_variance.normal_(generator=generator)
    mean = torch.randn(3, 5, 4, generator=generator)
    x = torch.randn(5, 4, generator=generator)
    expected = distributions.Normal(mean, likelihood.variance.sqrt()).log_prob(x)
    torch.testing.assert_close(likelihood.log_prob(mean, x), expected.sum(-1))


def test_gaussian_variance_starts_at_one_and_has_a_floor():
    likelihood = Gaussian(2, 3)
    torch.testing.assert_close(likelihood.variance, torch.full((2, 1, 3), 1.01))
    with torch.no_grad():
        likelihood.raw_variance.fill_(-1e6)
    assert (likelihood.variance >= 0.01).all()


def test_gaussian_samples_have_the_variance(generator):
    likelihood = Gaussian(1, 1)
    x = likelihood.sample(torch.full((1, 20_000, 1), 3.0), generator)
    assert abs(x.mean() - 3.0) < 0.05
    assert abs(x.var() - 1.0) < 0.05


def test_bernoulli_samples_are_grey_levels(generator):
    x = Bernoulli(1, 1).sample(torch.zeros(1, 5, 1), generator)
    assert (x == 0.5).all()


@pytest.mark.parametrize("likelihood", [Bernoulli(2, 3), Gaussian(2, 3)])
def test_outputs_can_be_given_by_their_means(likelihood):
    mean = torch.tensor([0.2, 0.5, 0.9])
    torch.testing.assert_close(likelihood.mean(likelihood.output(mean)), mean)


def test_no_pixel_starts_certain():
    assert Bernoulli(1, 2).output(torch.tensor([0.0, 1.0])).abs().max() < 5.0
