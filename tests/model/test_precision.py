import pytest
import torch
from sktreevae.training.contrast import nt_xent

from sktreevae.model.gaussians import Gaussian
from sktreevae.model.likelihoods import LIKELIHOODS
from sktreevae.model.precision import full


def assert_exact(function, *arguments):
    expected = function(*arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = function(*arguments)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
def test_likelihoods_are_exact_within_automatic_casts(name, generator):
    likelihood = LIKELIHOODS[name](3, 50)
    output = torch.randn(3, 7, 50, generator=generator)
    x = torch.rand(7, 50, generator=generator).round()
    assert_exact(likelihood.log_prob, output, x)


def test_divergences_are_exact_within_automatic_casts(generator):
    q, p = (
        Gaussian.from_raw(torch.randn(5, 16, generator=generator)) for _ in range(2)
    )
    assert_exact(q.kl, p)


def test_contrast_is_exact_within_automatic_casts(generator):
    a, b = torch.randn(2, 20, 8, generator=generator)
    assert_exact(lambda a, b: nt_xent(a, b, 0.5), a, b)


def test_latents_are_read_in_full():
    raw = torch.zeros(2, 6, dtype=torch.bfloat16)
    assert Gaussian.from_raw(raw).variance.dtype == torch.float32


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_full_is_float32_at_least(given, expected):
    assert full(torch.zeros(2, dtype=given)).dtype == expected
