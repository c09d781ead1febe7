import io

import numpy as np
import pytest

from sktreevae import TreeVAEClustering
from sktreevae.training import GuidedGrowth, ProgressLine


class Terminal(io.StringIO):
    def isatty(self):
        return True


def records():
    for phase, n_leaves in (("initial", 2), ("split", 3)):
        for epoch in range(3):
            yield {"phase": phase, "n_leaves": n_leaves, "epoch": epoch, "elbo": -1.25}


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_each_phase_ends_with_a_line(stream, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream)
    line = ProgressLine(n_clusters=3)
    for record in records():
        line.on_epoch_end(record, None)
    line.close()
    lines = stream.getvalue().strip().split("\n")
    assert len(lines) == 2
    last = lines[1].split("\r")[-1]
    assert "split        leaves   3/3  epoch   3  elbo -1.25" in last
    updates = lines[1].count("\r")
    assert updates == (3 if stream.isatty() else 0)


def test_an_unknown_number_of_clusters_is_not_shown(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    line = ProgressLine()
    line.on_epoch_end(next(records()), None)
    line.close()
    assert "leaves   2  epoch   1" in stream.getvalue()


def test_nothing_is_shown_where_nothing_happens(capsys):
    ProgressLine(n_clusters=3).close()
    assert capsys.readouterr().err == ""


def test_the_line_is_finished_where_a_fit_fails(monkeypatch, capsys):
    def fail(self, proposal):
        record = {"phase": "joint", "n_leaves": 2, "epoch": 0, "elbo": 1.0}
        for callback in self.trainer.callbacks:
            callback.on_epoch_end(record, self.trainer)
        raise FloatingPointError("diverged")

    monkeypatch.setattr(GuidedGrowth, "grow", fail)
    X = np.random.default_rng(0).standard_normal((20, 3))
    with pytest.raises(FloatingPointError, match="diverged"):
        TreeVAEClustering(2, verbose=1, random_state=0).fit(X)
    assert capsys.readouterr().err.endswith("elbo 1.00\n")


CHOICES = {"features": "plain", "n_features": 5, "n_clusters": 3}
COSTS = {"modularity": -3.0, "edge density": -3.25, "restart 1": -3.25 + 1e-12}
GUIDED = {"n_neighbors": 8, "partition": "edge density", "partition_costs": COSTS}


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        (CHOICES, "features: plain (5)"),
        (
            CHOICES | GUIDED,
            "features: plain (5), 8 neighbors, "
            "partition: edge density (0.25 bits below the next)",
        ),
        (
            CHOICES | GUIDED | {"partition_costs": {"edge density": 1.0}},
            "features: plain (5), 8 neighbors, partition: edge density",
        ),
    ],
)
def test_choices_are_one_line(capsys, choices, expected):
    ProgressLine().on_choices(choices)
    line = capsys.readouterr().err
    assert line.endswith(f" s  {expected}\n")
    assert line.startswith("[TreeVAE]")
