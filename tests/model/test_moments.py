import pytest
import torch

from sktreevae.model import leaf_moments

from .strategies import balanced, caterpillar, make_model

LIKELIHOODS = ["gaussian", "poisson", "negative_binomial"]


@pytest.mark.parametrize("likelihood", [*LIKELIHOODS, "bernoulli"])
def test_moments_are_those_of_generated_samples(likelihood):
    model = make_model(caterpillar(3), likelihood=likelihood, scale=0.5)
    moments = leaf_moments(model, n_draws=10_000)
    x, leaf = model.sample(40_000, torch.Generator().manual_seed(1))
    for i in range(3):
        rows = x[leaf == i]
        error = (moments.variance[i] / len(rows)).sqrt()
        assert ((moments.mean[i] - rows.mean(0)).abs() < 5 * error + 0.01).all()
        if likelihood != "bernoulli":  # which generates probabilities
            torch.testing.assert_close(
                moments.variance[i], rows.var(0), rtol=0.1, atol=0
            )


def test_few_draws_are_enough():
    model = make_model(balanced(2), scale=0.5)
    few, many = leaf_moments(model), leaf_moments(model, n_draws=20_000)
    error = (few.mean - many.mean) / many.variance.sqrt()
    assert error.abs().max() < 0.1
