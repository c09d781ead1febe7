import io
import time

import numpy as np
import pytest

from sktreevae import TreeVAEClustering
from sktreevae.estimator.callbacks import ProgressLine
from sktreevae.training.guided import GuidedGrowth
from sktreevae.training.trainer import Task


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Replaces the time: each epoch takes two seconds."""

    def __init__(self, monkeypatch):
        self.seconds = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.seconds)


def record(phase, epoch, n_leaves=3):
    return {"phase": phase, "n_leaves": n_leaves, "epoch": epoch, "elbo": -1.25}


def run_phase(line, clock, parent, name, n_leaves, n_epochs=3):
    phase = Task(name, n_epochs, parent)
    line.on_task_begin(phase, None)
    for epoch in range(n_epochs):
        task = Task("epoch", 0, phase)
        line.on_task_begin(task, None)
        clock.seconds += 2.0
        task.info = record(name, epoch, n_leaves)
        line.on_task_end(task, None)
    line.on_task_end(phase, None)


def run_stage(line, clock, parent, name, **info):
    task = Task(name, 0, parent)
    line.on_task_begin(task, None)
    clock.seconds += 1.5
    task.info = info
    line.on_task_end(task, None)


def shown(monkeypatch, stream, steps, n_clusters=3):
    """Return what a progress line writes during some steps."""
    monkeypatch.setattr("sys.stderr", stream)
    clock = Clock(monkeypatch)
    line, fit = ProgressLine(n_clusters), Task("fit", 5)
    line.on_task_begin(fit, None)
    steps(line, clock, fit)
    line.on_task_end(fit, None)
    line.close()
    return stream.getvalue()


def stage_and_phase(line, clock, fit):
    run_stage(line, clock, fit, "graph")
    run_phase(line, clock, fit, "joint", 3)


def test_a_file_gets_a_line_for_each_stage_and_epoch(monkeypatch):
    text = shown(monkeypatch, io.StringIO(), stage_and_phase)
    assert text.splitlines() == [
        "[TreeVAE]    1.5 s  graph           1.5 s",
        "[TreeVAE]    3.5 s  joint     leaves  3/3  epoch   1/3  4 s left  elbo -1.25",
        "[TreeVAE]    5.5 s  joint     leaves  3/3  epoch   2/3  2 s left  elbo -1.25",
        "[TreeVAE]    7.5 s  joint     leaves  3/3  epoch   3/3  0 s left  elbo -1.25",
    ]


def test_a_terminal_shows_one_line(monkeypatch):
    text = shown(monkeypatch, Terminal(), stage_and_phase)
    assert text.count("\n") == 1
    assert text.endswith("\n")
    updates = [update.rstrip() for update in text.split("\r")[1:]]
    assert updates[0] == "[TreeVAE]    0.0 s  graph ..."
    assert updates[1] == "[TreeVAE]    1.5 s  graph           1.5 s"
    assert updates[2] == "[TreeVAE]    1.5 s  joint ..."
    assert len(updates) == 6


def test_the_line_fits_into_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = shown(monkeypatch, Terminal(), stage_and_phase)
    assert max(map(len, text.rstrip("\n").split("\r"))) == 39


def test_the_number_of_clusters_is_shown_once_it_is_known(monkeypatch):
    def steps(line, clock, fit):
        run_phase(line, clock, fit, "joint", 3)
        run_stage(line, clock, fit, "n_clusters", n_clusters=7)
        run_phase(line, clock, fit, "joint", 7)

    text = shown(monkeypatch, io.StringIO(), steps, n_clusters=None)
    assert "leaves  3  epoch   1/3" in text
    assert "n_clusters      1.5 s  7\n" in text
    assert "leaves  7/7" in text


def test_the_time_left_in_a_growth_includes_the_splits_to_come(monkeypatch):
    def steps(line, clock, fit):
        growth = Task("growth", None, fit)
        for name, n_leaves in (("initial", 2), ("split", 3), ("split", 4)):
            run_phase(line, clock, growth, name, n_leaves)
        run_phase(line, clock, fit, "finetune", 4)

    lines = shown(monkeypatch, io.StringIO(), steps, n_clusters=4).splitlines()
    # A split takes 6 seconds.
    left = [line.partition("/3  ")[2].partition("  elbo")[0] for line in lines]
    assert left[:3] == [f"{n} s left in growth" for n in (16, 14, 12)]
    assert left[8:10] == ["0 s left in growth", "4 s left"]


def test_the_line_is_finished_where_a_fit_fails(monkeypatch):
    def fail(self):
        with self.trainer.subtask("joint", 1), self.trainer.subtask("epoch") as task:
            task.info = record("joint", 0)
        raise FloatingPointError("diverged")

    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(GuidedGrowth, "run", fail)
    X = np.random.default_rng(0).standard_normal((20, 3))
    with pytest.raises(FloatingPointError, match="diverged"):
        TreeVAEClustering(2, verbose=1, random_state=0).fit(X)
    assert stream.getvalue().endswith("\n")


def test_all_stages_of_a_fit_are_shown(capsys):
    X = np.random.default_rng(0).standard_normal((40, 3))
    TreeVAEClustering(
        None, verbose=1, hidden_dim=8, max_iter=1, random_state=0, n_jobs=1
    ).fit(X)
    names = [line.split()[3] for line in capsys.readouterr().err.splitlines()]
    stages = ["features", "graph", "n_clusters", "proposal", "initialization"]
    assert names == [*stages, "routers", "joint"]


PARTITION = {"n_neighbors": 8, "partition": "edge density", "partition_costs": {}}


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"features": "plain", "n_features": 5}, "plain (5)"),
        (PARTITION, "8 neighbors, partition: edge density"),
    ],
)
def test_choices_of_a_stage_are_shown(monkeypatch, choices, expected):
    def steps(line, clock, fit):
        run_stage(line, clock, fit, "proposal", **choices)

    text = shown(monkeypatch, io.StringIO(), steps)
    assert text.endswith(f"1.5 s  {expected}\n")
