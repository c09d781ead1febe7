import torch
from torch.distributions import Normal, kl_divergence

from sktreevae.model import DiagonalGaussian


def random_gaussian(generator):
    mean, raw = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    return DiagonalGaussian(mean, raw.exp())


def test_kl_is_that_of_torch(generator):
    q, p = random_gaussian(generator), random_gaussian(generator)
    expected = kl_divergence(
        Normal(q.mean, q.variance.sqrt()), Normal(p.mean, p.variance.sqrt())
    ).sum(-1)
    torch.testing.assert_close(q.kl(p), expected)
    assert not q.kl(q).any()


def test_log_prob_is_that_of_torch(generator):
    q, z = random_gaussian(generator), random_gaussian(generator).mean
    expected = Normal(q.mean, q.variance.sqrt()).log_prob(z).sum(-1)
    torch.testing.assert_close(q.log_prob(z), expected)


def test_merge_adds_precisions(generator):
    a, b = random_gaussian(generator), random_gaussian(generator)
    merged = a.merge(b)
    precision = 1 / a.variance + 1 / b.variance
    torch.testing.assert_close(merged.variance, 1 / precision)
    mean = (a.mean / a.variance + b.mean / b.variance) / precision
    torch.testing.assert_close(merged.mean, mean)


def test_variances_have_a_floor():
    q = DiagonalGaussian.from_raw(torch.full((3, 4), -1e6))
    assert (q.variance >= 1e-4).all()
    assert q.kl(DiagonalGaussian.standard(q.mean)).isfinite().all()


def test_raw_values_give_the_distribution_back(generator):
    mean = torch.randn(5, generator=generator)
    variance = 100.0 * torch.rand(5, generator=generator) + 0.01
    restored = DiagonalGaussian.from_raw(DiagonalGaussian(mean, variance).to_raw())
    torch.testing.assert_close(restored.mean, mean)
    torch.testing.assert_close(restored.variance, variance)


def test_samples_have_the_moments(generator):
    q = DiagonalGaussian(torch.tensor([1.0]), torch.tensor([4.0]))
    z = q.sample(torch.randn(20_000, 1, generator=generator))
    assert abs(z.mean() - 1.0) < 0.05
    assert abs(z.var() - 4.0) < 0.15
