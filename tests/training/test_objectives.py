import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from sktreevae.training.objectives import routing_loss

seeds = st.integers(0, 999)


def probabilities(seed, n=20, n_leaves=5):
    """Return probabilities of leaves, (n, n_leaves)."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.dirichlet(np.ones(n_leaves), size=n))


@given(seeds)
def test_the_loss_is_the_divergence_of_torch(seed):
    log_proba, target = probabilities(seed).log(), probabilities(seed + 1000)
    expected = F.kl_div(log_proba, target, reduction="batchmean")
    torch.testing.assert_close(routing_loss(log_proba.T, target), expected)


def test_zeros_in_targets_have_finite_gradients():
    logits = torch.tensor([[0.0, 2.0, -80.0]], requires_grad=True)
    target = torch.tensor([[0.25, 0.75, 0.0]])
    routing_loss(logits.log_softmax(1).T, target).backward()
    # The gradient of a softmax with cross-entropy.
    expected = logits.detach().softmax(1) - target
    torch.testing.assert_close(logits.grad, expected)


def test_the_gradient_does_not_vanish_at_confident_wrong_probabilities():
    logits = torch.tensor([[30.0, -30.0]], requires_grad=True)
    loss = routing_loss(logits.log_softmax(1).T, torch.tensor([[0.5, 0.5]]))
    loss.backward()
    assert loss.item() == pytest.approx(30.0 - math.log(2.0), rel=1e-5)
    assert logits.grad.abs().min() > 0.4
