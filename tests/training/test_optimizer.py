import subprocess
import sys

import pytest
import torch

from sktreevae.training.optimizer import AdamW

FIT = """
import sys
from sklearn.datasets import load_digits
from sktreevae import TreeVAEClustering

X = load_digits().data[:100]
TreeVAEClustering(3, max_iter=1, random_state=0).fit(X)
TreeVAEClustering(3, max_iter=1, image_shape=(8, 8), random_state=0).fit(X)
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("shape", "decays"),
    [
        ((), False),
        ((5,), False),
        ((3, 1, 5), False),  # biases of a stack
        ((4, 5), True),
        ((3, 4, 5), True),
        ((8, 1, 4, 4), True),
    ],
)
def test_matrices_decay_and_vectors_do_not(shape, decays):
    weight = torch.nn.Parameter(torch.ones(shape))
    AdamW([weight], weight_decay=0.5).step(0.0 * weight.sum(), learning_rate=0.1)
    assert torch.allclose(weight, torch.tensor(0.95 if decays else 1.0))


def test_steps_are_those_of_torch():
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(shape, generator=generator) for shape in [(4, 3), (3,)]]
    ours = [torch.nn.Parameter(v.clone()) for v in values]
    theirs = [torch.nn.Parameter(v.clone()) for v in values]
    groups = [
        {"params": theirs[:1], "weight_decay": 0.2},
        {"params": theirs[1:], "weight_decay": 0.0},
    ]
    optimizer, reference = AdamW(ours, 0.2), torch.optim.AdamW(groups, fused=True)
    for i, rate in enumerate([0.1, 0.05, 0.2, 0.01]):
        x = torch.randn(5, 4, generator=generator)

        def loss(parameters, i=i, x=x):
            # The bias has no gradient in the second step.
            weight, bias = parameters
            return (x @ weight + (bias if i != 1 else 0.0)).square().sum()

        optimizer.step(loss(ours), rate)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.zero_grad()
        loss(theirs).backward()
        reference.step()
        for parameter, expected in zip(ours, theirs, strict=True):
            assert torch.equal(parameter, expected)


def test_empty_parameters_are_left_out():
    weight, empty = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(0))
    assert AdamW([weight, empty], 0.0).parameters == [weight]


@pytest.mark.nightly
def test_fits_do_not_import_the_compiler_of_torch():
    # It takes a second or two of the first fit.
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIT],
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.strip() == "[]"
