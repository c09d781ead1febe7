import math

import pytest
import torch
from torch import nn

from sktreevae.model import ElboTerms
from sktreevae.training.loop import (
    Descent,
    Evaluation,
    History,
    LoopOptions,
    Phase,
    run_phase,
)

PHASE = Phase("refresh", (0.0, 1.0), 0.0)


class Parabola:
    """The bound of a sample is -(w - target) ** 2; targets can differ by sample."""

    n_leaves = 3

    def __init__(self, targets, distance=0.0, contrast=None):
        self.weight = nn.Parameter(torch.tensor(5.0))
        self.targets = targets
        self.distance = distance
        self.contrast = contrast
        self.n_steps = 0
        self.seen = []

    def parameters(self):
        return [self.weight]

    def evaluate(self, index):
        if torch.is_grad_enabled():
            self.n_steps += 1
            self.seen += index.tolist()
        bound = -((self.weight - self.targets[index]) ** 2)
        zero = torch.zeros_like(bound)
        terms = ElboTerms(bound, zero, zero, zero)
        contrast = None
        if self.contrast is not None:
            contrast = self.contrast[index].mean() * self.weight
        return Evaluation(terms, self.distance * self.weight, contrast)


def run(part, *, phase=PHASE, train=None, validation=None, **changes):
    options = {
        "max_iter": 10,
        "batch_size": 8,
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "n_iter_no_change": 10,
        "tol": 0.0,
    }
    history = History()
    run_phase(
        phase,
        part,
        torch.arange(len(part.targets)) if train is None else train,
        torch.arange(0) if validation is None else validation,
        options=LoopOptions(**{**options, **changes}),
        generator=torch.Generator().manual_seed(0),
        history=history,
    )
    return history


def test_finds_the_maximum():
    part = Parabola(torch.full((64,), 2.0))
    history = run(part, max_iter=40)
    assert part.weight.item() == pytest.approx(2.0, abs=0.05)
    assert history.records[-1]["elbo"] > history.records[0]["elbo"]


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
    descent = Descent([weight], LoopOptions(1, 1, 0.1, 0.5, 1, 0.0))
    descent.step(0.0 * weight.sum(), progress=0.5)
    assert torch.allclose(weight, torch.tensor(0.95 if decays else 1.0))


def test_every_sample_is_seen_once_an_epoch():
    part = Parabola(torch.zeros(20))
    run(part, max_iter=10)
    assert sorted(part.seen) == sorted(list(range(20)) * 10)


def test_few_samples_still_get_the_least_number_of_steps():
    part = Parabola(torch.zeros(3))
    run(part, max_iter=1)
    assert part.n_steps == 20


def test_learning_rate_rises_and_falls():
    history = run(Parabola(torch.zeros(80)), max_iter=40)
    rates = [record["learning_rate"] for record in history.records]
    assert rates[0] < rates[10] == rates[15] == 0.1
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[-1] < 0.01


def test_weights_of_the_terms_follow_the_phase():
    phase = Phase("split", (0.1, 0.5), 8.0)
    assert phase.kl_weight(0.0) == 0.1
    assert phase.kl_weight(0.25) == pytest.approx(0.3)
    assert phase.kl_weight(0.5) == phase.kl_weight(1.0) == 0.5
    assert phase.guidance(0.0) == phase.guidance(0.5) == 8.0
    assert phase.guidance(0.75) == 4.0
    assert phase.guidance(1.0) == 0.0


def test_guidance_pulls_towards_the_targets():
    free, guided = (
        Parabola(torch.zeros(64), distance=distance) for distance in (0.0, 1.0)
    )
    for part in (free, guided):
        run(part, phase=Phase("split", (0.0, 0.0), 50.0), max_iter=4)
    assert guided.weight < free.weight


def test_contrast_is_part_of_the_loss():
    free, contrasted = (
        Parabola(torch.zeros(64), contrast=contrast)
        for contrast in (None, torch.full((64,), 20.0))
    )
    for part in (free, contrasted):
        run(part, max_iter=20)
    assert contrasted.weight < free.weight - 1  # -10 is the best


def test_history_has_the_mean_contrast_of_the_samples():
    # Batches of 7 and 6, and a weight that stays where it is.
    contrast = torch.arange(20.0)
    settings = {"max_iter": 7, "learning_rate": 1e-9}
    history = run(Parabola(torch.zeros(20), contrast=contrast), **settings)
    for record in history.records:
        assert record["contrast"] == pytest.approx(5 * contrast.mean().item())


def test_history_has_no_contrast_without_views():
    history = run(Parabola(torch.zeros(20)))
    assert all(math.isnan(record["contrast"]) for record in history.records)


def test_stops_where_nothing_improves():
    part = Parabola(torch.full((64,), 5.0))
    history = run(part, max_iter=40, n_iter_no_change=3)
    # From the middle on, and after one epoch that sets the mark.
    assert len(history.records) == 20 + 1 + 3


def test_does_not_stop_while_it_improves():
    history = run(
        Parabola(torch.zeros(64)), max_iter=20, n_iter_no_change=1, learning_rate=1e-3
    )
    assert len(history.records) == 20


def test_validation_decides_and_the_best_is_restored():
    # The training samples pull away from where the validation samples are best.
    targets = torch.cat([torch.full((64,), -10.0), torch.full((8,), 5.0)])
    part = Parabola(targets)
    history = run(
        part,
        train=torch.arange(64),
        validation=torch.arange(64, 72),
        max_iter=20,
        n_iter_no_change=3,
    )
    bounds = [record["validation_elbo"] for record in history.records]
    assert len(bounds) < 20
    final = -((part.weight.item() - 5.0) ** 2)
    assert final == pytest.approx(max(bounds[10:]), rel=1e-5)


def test_records_are_complete():
    seen = []
    history = History(on_epoch=seen.append)
    history.append({"a": 1})
    history.append({"a": 2})
    assert history.as_lists() == {"a": [1, 2]}
    assert seen == history.records
    record = run(Parabola(torch.zeros(8))).records[0]
    assert record["phase"] == "refresh"
    assert record["n_leaves"] == 3
    assert math.isnan(record["validation_elbo"])


def test_divergence_is_an_error():
    part = Parabola(torch.full((8,), torch.inf))
    with pytest.raises(FloatingPointError, match="learning_rate below 0.1"):
        run(part)


def test_bounds_are_compared_at_the_same_weight_of_the_divergences():
    class Diverging(Parabola):
        """A bound that falls with the weight of the divergences alone."""

        def evaluate(self, index):
            flat = 0.0 * self.weight + torch.zeros(len(index))
            one = torch.ones(len(index))
            return Evaluation(ElboTerms(flat, one, one, one), 0.0 * self.weight)

    history = run(
        Diverging(torch.zeros(64)),
        validation=torch.arange(8),
        phase=Phase("finetune", (0.0, 1.0), 0.0),
        max_iter=10,
        n_iter_no_change=2,
    )
    # An epoch of the annealing would have been the best.
    assert len(history.records) == 5 + 1 + 2
