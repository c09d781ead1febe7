import pytest
import torch

from sktreevae.model.gaussians import DiagonalGaussian
from sktreevae.model.likelihoods import LIKELIHOODS
from sktreevae.model.precision import to_float32


def assert_exact(function, *arguments):
    expected = function(*arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = function(*arguments)
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
def test_likelihoods_are_exact_within_automatic_casts(name, generator):
    likelihood = LIKELIHOODS[name](3, 50)
    output = torch.randn(3, 7, 50, generator=generator)
    x = torch.rand(7, 50, generator=generator).round()
    assert_exact(likelihood.log_prob, output, x)


def test_divergences_are_exact_within_automatic_casts(generator):
    q, p = (
        DiagonalGaussian.from_raw(torch.randn(5, 16, generator=generator))
        for _ in range(2)
    )
    assert_exact(q.kl, p)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_casts_are_to_float32_at_least(given, expected):
    assert to_float32(torch.zeros(2, dtype=given)).dtype == expected
