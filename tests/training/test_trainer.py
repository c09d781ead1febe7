import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_blobs
from torch import nn

from sktreevae import TreeVAEClustering
from sktreevae.model import ElboTerms
from sktreevae.training.guided import RouterPhase
from sktreevae.training.objectives import LossTerms
from sktreevae.training.optimizer import AdamW
from sktreevae.training.state import Generators, History
from sktreevae.training.trainer import Phase, Trainer, TrainingOptions

PHASE = Phase("refresh", (0.0, 1.0), (0.0, 0.0))


class Parabola:
    """The ELBO of a sample is -(w - target) ** 2; targets can differ by sample."""

    n_leaves = 3
    has_elbo = True
    data = SimpleNamespace(standardizer=SimpleNamespace(log_det=0.0), size=len)

    def __init__(self, targets, routing_loss=0.0, contrast=None, train=None):
        self.weight = nn.Parameter(torch.tensor(5.0))
        self.targets = targets
        self.routing_loss = routing_loss
        self.contrast = contrast
        self.has_contrast = contrast is not None
        self.train_rows = torch.arange(len(targets)) if train is None else train
        self.validation_rows = torch.arange(len(targets))[len(self.train_rows) :]
        self.training = None
        self.n_steps = 0
        self.seen = []

    def parameters(self):
        return [self.weight]

    def train(self, mode):
        self.training = mode

    def evaluate(self, index):
        assert self.training == torch.is_grad_enabled()
        if self.training:
            self.n_steps += 1
            self.seen += index.tolist()
        bound = -((self.weight - self.targets[index]) ** 2)
        zero = torch.zeros_like(bound)
        elbo = ElboTerms(bound, zero, zero, zero)
        contrast = None
        if self.contrast is not None:
            contrast = self.contrast[index].mean() * self.weight
        return LossTerms(elbo, self.routing_loss * self.weight, contrast)


class Recorder:
    """Records the tasks; asks to skip the later siblings of some."""

    def __init__(self, stops=()):
        self.begun = []
        self.ended = []
        self.records = []
        self.stops = stops
        self.is_closed = False

    def on_task_begin(self, task, trainer):
        assert trainer.task is task
        self.begun.append(task.name)

    def on_task_end(self, task, trainer):
        assert trainer.task is task
        self.ended.append(task.name)
        if task.name == "epoch":
            assert trainer.history.records[-1] is task.info
            self.records.append(task.info)
        return task.name in self.stops

    def close(self):
        self.is_closed = True


def run(objective, *, phase=PHASE, callbacks=(), **changes):
    options = {
        "max_iter": 10,
        "batch_size": 8,
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "n_iter_no_change": 10,
        "tol": 0.0,
    }
    generators = Generators(torch.Generator().manual_seed(0))
    options = TrainingOptions(**{**options, **changes})
    with Trainer(options, generators, callbacks) as trainer:
        trainer.state.contrast = objective.contrast
        trainer.train(phase, objective)
    return trainer.history


def test_every_sample_is_seen_once_an_epoch():
    objective = Parabola(torch.zeros(20))
    run(objective, max_iter=10)
    assert sorted(objective.seen) == sorted(list(range(20)) * 10)


@pytest.mark.parametrize(
    ("max_iter", "n_samples", "min_steps", "n_epochs"),
    [(None, 3, 20, 20), (None, 3, 2, 6), (None, 80, 95, 10), (1, 3, 20, 1)],
)
def test_automatic_epochs_have_a_minimum_of_steps(
    max_iter, n_samples, min_steps, n_epochs
):
    objective = Parabola(torch.zeros(n_samples))
    phase = Phase("refresh", (0.0, 1.0), (0.0, 0.0), min_steps=min_steps)
    history = run(objective, phase=phase, max_iter=max_iter)
    assert len(history.records) == n_epochs
    assert objective.n_steps >= (min_steps if max_iter is None else 1)


def test_learning_rate_rises_and_falls():
    history = run(Parabola(torch.zeros(80)), max_iter=40)
    rates = [record["learning_rate"] for record in history.records]
    assert rates[0] < rates[10] == rates[15] == 0.1
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[-1] < 0.01


def test_weights_of_the_terms_follow_the_phase():
    phase = Phase("split", (0.1, 0.5), (8.0, 0.0))
    assert phase.kl_weight_at(0.0) == 0.1
    assert phase.kl_weight_at(0.25) == pytest.approx(0.3)
    assert phase.kl_weight_at(0.5) == phase.kl_weight_at(1.0) == 0.5
    assert phase.routing_weight_at(0.0) == phase.routing_weight_at(0.5) == 8.0
    assert phase.routing_weight_at(0.75) == 4.0
    assert phase.routing_weight_at(1.0) == 0.0


@pytest.mark.parametrize("weight", [0.0, 1.0, 4.0])
def test_the_routing_loss_is_part_of_the_loss_by_its_weight(weight):
    objective = Parabola(torch.full((64,), 5.0), routing_loss=1.0)
    run(objective, phase=Phase("joint", (0.0, 0.0), (weight, weight)), max_iter=60)
    # Where the slope of the parabola is the weight.
    assert objective.weight.item() == pytest.approx(5.0 - weight / 2, abs=0.05)


def test_contrast_is_part_of_the_loss():
    free, contrasted = (
        Parabola(torch.zeros(64), contrast=contrast)
        for contrast in (None, torch.full((64,), 20.0))
    )
    for objective in (free, contrasted):
        run(objective, max_iter=20)
    assert contrasted.weight < free.weight - 1  # -10 is the best


def test_history_has_the_mean_contrast_of_the_samples():
    # Batches of 7 and 6, and a weight that stays where it is.
    contrast = torch.arange(20.0)
    settings = {"max_iter": 7, "learning_rate": 1e-9}
    history = run(Parabola(torch.zeros(20), contrast=contrast), **settings)
    for record in history.records:
        assert record["contrast"] == pytest.approx(5 * contrast.mean().item())


def test_stops_where_nothing_improves():
    objective = Parabola(torch.full((64,), 5.0))
    history = run(objective, max_iter=40, n_iter_no_change=3)
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
    objective = Parabola(targets, train=torch.arange(64))
    history = run(objective, max_iter=20, n_iter_no_change=3)
    bounds = [record["validation_elbo"] for record in history.records]
    assert len(bounds) < 20
    final = -((objective.weight.item() - 5.0) ** 2)
    assert final == pytest.approx(max(bounds[10:]), rel=1e-5)


def test_callbacks_receive_every_task_and_record():
    recorder = Recorder()
    history = run(Parabola(torch.zeros(8)), callbacks=[recorder], max_iter=2)
    assert recorder.begun == ["fit", "refresh", "epoch", "epoch"]
    assert recorder.ended == ["epoch", "epoch", "refresh", "fit"]
    assert recorder.records == history.records
    assert history.as_lists()["epoch"] == [0, 1]
    assert history.lists == history.as_lists()
    assert recorder.is_closed


def test_a_callback_ends_the_phase_of_an_epoch():
    recorders = [Recorder(stops=["epoch"]), Recorder()]
    history = run(Parabola(torch.zeros(8)), callbacks=recorders)
    assert len(history.records) == 1
    for recorder in recorders:
        assert recorder.ended == ["epoch", "refresh", "fit"]


def test_callbacks_are_closed_if_the_first_one_fails():
    class Failing(Recorder):
        def on_task_begin(self, task, trainer):
            raise RuntimeError("failed")

    recorders = [Failing(), Recorder()]
    with pytest.raises(RuntimeError, match="failed"):
        run(Parabola(torch.zeros(8)), callbacks=recorders)
    assert all(recorder.is_closed for recorder in recorders)


def interrupt():
    raise KeyboardInterrupt


def test_the_first_interrupt_is_kept_and_the_second_raised(monkeypatch):
    trainer = Trainer(TrainingOptions(), None, keeps_interrupted=True)
    monkeypatch.setattr(trainer.state, "remember", lambda: "the state")
    trainer.remember()
    with pytest.raises(KeyboardInterrupt):
        trainer.interruptible(interrupt, lambda: "no epoch yet")
    assert not trainer.is_interrupted
    trainer.history.append({"epoch": 0, "elbo": -1.0})
    trainer.remember()
    assert trainer.interruptible(lambda: "done", interrupt) == "done"
    assert trainer.interruptible(interrupt, lambda: "kept") == "kept"
    assert trainer.is_interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.interruptible(interrupt, lambda: "kept")


def test_no_interrupt_is_kept_unless_asked_for():
    trainer = Trainer(TrainingOptions(), None)
    trainer.history.append({"epoch": 0, "elbo": -1.0})
    trainer.remember()
    with pytest.raises(KeyboardInterrupt):
        trainer.interruptible(interrupt, lambda: "as in partial_fit")


def test_records_follow_those_of_earlier_fits():
    history = History({"epoch": [0, 1], "elbo": [-3.0, -2.0]})
    history.append({"epoch": 0, "elbo": -1.0})
    expected = {"epoch": [0, 1, 0], "elbo": [-3.0, -2.0, -1.0]}
    assert history.lists == history.as_lists() == expected
    history.append({"epoch": 0, "routing_loss": 1.0})
    assert history.lists == history.as_lists() == expected
    assert len(history.records) == 2


class Routers(Parabola):
    """The parabola as a routing loss."""

    has_elbo = False

    def evaluate(self, index):
        terms = super().evaluate(index)
        return LossTerms(None, -terms.elbo.reconstruction.mean())


def test_routers_have_records_and_no_tasks_of_epochs():
    recorder = Recorder()
    phase = RouterPhase("routers", (0, 0), (1, 1), max_steps=5)
    history = run(Routers(torch.zeros(16)), phase=phase, callbacks=[recorder])
    # Two steps an epoch: the last epoch is shorter.
    assert [record["epoch"] for record in history.records] == [0, 1, 2]
    losses = [record["routing_loss"] for record in history.records]
    assert losses == sorted(losses, reverse=True)
    assert history.as_lists() == history.lists == {}
    assert recorder.ended == ["routers", "fit"]


@pytest.mark.parametrize(("tol", "n_epochs"), [(25.1, 1), (0.0, 1 + 15)])
def test_routers_are_trained_until_their_loss_is_small_or_constant(tol, n_epochs):
    objective = Routers(torch.zeros(16))
    phase = RouterPhase("routers", (0, 0), (0, 0), max_steps=40, tol=tol)
    history = run(objective, phase=phase, weight_decay=0.0)
    assert len(history.records) == n_epochs


INFINITE = torch.full((8,), torch.inf)


@pytest.mark.parametrize(
    ("objective", "changes", "message"),
    [
        (Parabola(INFINITE), {}, "learning_rate below 0.1"),
        (
            Parabola(INFINITE),
            {"weight_decay": 200.0},
            r"learning_rate \* weight_decay = 20",
        ),
        (
            Parabola(torch.zeros(8), contrast=INFINITE),
            {},
            "contrastive_weight.*temperature",
        ),
    ],
)
def test_divergence_is_an_error_that_ends_no_task(objective, changes, message):
    recorder = Recorder()
    with pytest.raises(FloatingPointError, match=message):
        run(objective, callbacks=[recorder], **changes)
    assert recorder.begun[:3] == ["fit", "refresh", "epoch"]
    assert len(recorder.ended) == len(recorder.begun) - 3


@settings(max_examples=max(5, settings.default.max_examples // 20))
@given(
    growth=st.sampled_from(["guided", "iterative"]),
    step=st.integers(1, 30),
    value=st.sampled_from([math.nan, math.inf, 1e38]),
    is_gradient=st.booleans(),
)
def test_a_fault_in_any_step_is_an_error_or_leaves_finite_scores(
    growth, step, value, is_gradient
):
    X, _ = make_blobs(40, 3, random_state=0)
    model = TreeVAEClustering(2, growth=growth, max_iter=2, batch_size=16)
    n_steps, take_step = itertools.count(1), AdamW.step

    def faulty(self, loss, *arguments):
        if next(n_steps) == step:
            loss = loss * (1.0 if is_gradient else value)
            if is_gradient:
                parameter = self.parameters[-1]
                loss = loss + (value * (parameter - parameter.detach())).sum()
        take_step(self, loss, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdamW, "step", faulty)
        try:
            model.fit(X)
        except FloatingPointError:
            assert not hasattr(model, "labels_")
        else:
            assert np.isfinite(model.score_samples(X)).all()


def test_a_single_pass_is_one_epoch_at_a_quarter_of_the_rate():
    options = TrainingOptions(max_iter=7, learning_rate=0.1).single_pass()
    assert (options.max_iter, options.learning_rate) == (1, 0.025)
