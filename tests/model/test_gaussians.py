import torch
from torch.distributions import Normal, kl_divergence

from sktreevae.model import DiagonalGaussian


def random_gaussian(generator):
    mean, raw = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    return DiagonalGaussian(mean, raw.exp())


def test_densities_and_divergences_are_those_of_torch(generator):
    q, p = random_gaussian(generator), random_gaussian(generator)
    normal, other = (Normal(g.mean, g.variance.sqrt()) for g in (q, p))
    torch.testing.assert_close(q.kl(p), kl_divergence(normal, other).sum(-1))
    assert not q.kl(q).any()
    torch.testing.assert_close(q.log_prob(p.mean), normal.log_prob(p.mean).sum(-1))


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
