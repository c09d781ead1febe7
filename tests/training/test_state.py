"""A fit goes on from its state at the end of any epoch, to the same bits."""

import functools
import json

import pytest
import torch
from sklearn.datasets import make_blobs

from sktreevae.graph import GraphOptions, NeighborGraph
from sktreevae.model import Topology
from sktreevae.training.contrastive import ContrastOptions
from sktreevae.training.growth import GrowthOptions
from sktreevae.training.guided import GuidedGrowth
from sktreevae.training.iterative import IterativeGrowth
from sktreevae.training.optimizer import AdamW
from sktreevae.training.published import PublishedGrowth
from sktreevae.training.state import Generators, Plan
from sktreevae.training.trainer import Trainer, TrainingOptions
from sktreevae.utils.archive import read_archive, write_archive

from .cases import CONFIG, make_data

GRAPH = GraphOptions(n_micro_clusters=50, n_restarts=1)
GROWTHS = {
    "guided": GuidedGrowth,
    "iterative": IterativeGrowth,
    "published": PublishedGrowth,
}
X, _ = make_blobs(160, 3, centers=5, cluster_std=0.3, random_state=1)
DATA = make_data(X, n_validation=40)


class StoppedError(Exception):
    """The end of a process."""


class Worker(Trainer):
    """Keeps the state of each epoch, and stops after some of them."""

    def __init__(self, *args, n_epochs=None):
        super().__init__(*args)
        self.n_epochs = n_epochs
        self.names = []

    def _end_epoch(self, record):
        super()._end_epoch(record)
        self.names.append(record["phase"])
        if len(self.names) == self.n_epochs:
            raise StoppedError


@functools.cache
def propose():
    features = DATA.features.subset(DATA.train)
    graph = NeighborGraph(features, torch.Generator().manual_seed(0), options=GRAPH)
    return graph.propose(4)


def make_growth(name, *, n_epochs=None, views=False, seed=0):
    generators = Generators(torch.Generator().manual_seed(seed))
    options = TrainingOptions(max_iter=2, batch_size=40, n_iter_no_change=1)
    trainer = Worker(options, generators, n_epochs=n_epochs)
    contrast = (
        ContrastOptions(lambda index, _: -DATA.features[index]) if views else None
    )
    options = GrowthOptions(4, growth=name, graph=GRAPH)
    trainer.state.plan = Plan(4, {}, propose() if name == "guided" else None)
    return GROWTHS[name](DATA, CONFIG, options, trainer, contrast)


def through_a_file(state, path):
    """Write a state, and read it."""
    arrays = {name: t.numpy(force=True) for name, t in state["tensors"].items()}
    write_archive(path, state["values"], arrays)
    values, arrays = read_archive(path)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return {"tensors": tensors, "values": values}


def assert_same(one, two):
    torch.testing.assert_close(
        one["tensors"], two["tensors"], rtol=0, atol=0, equal_nan=True
    )
    assert json.dumps(one["values"]) == json.dumps(two["values"])


@pytest.mark.parametrize(
    ("name", "views"),
    [
        ("guided", False),
        ("iterative", True),
        pytest.param("guided", True, marks=pytest.mark.nightly),
        pytest.param("iterative", False, marks=pytest.mark.nightly),
        pytest.param("published", False, marks=pytest.mark.nightly),
    ],
)
def test_a_fit_that_is_stopped_after_each_epoch_goes_on_to_the_same_bits(
    name, views, monkeypatch, tmp_path
):
    monkeypatch.setattr(IterativeGrowth, "splits_per_refresh", 1)
    whole = make_growth(name, views=views)
    whole.run()
    n_epochs = len(whole.trainer.names)
    stages = {"routers", "joint"}
    if name != "guided":
        stages = {"initial", "split", "refresh", "finetune"}
    assert set(whole.trainer.names) == stages
    state, n_runs = None, 0
    while n_runs <= n_epochs:
        # Another seed: all that is drawn comes from the state.
        growth = make_growth(name, n_epochs=1, views=views, seed=n_runs)
        if state is not None:
            growth.load_state_dict(state)
        try:
            growth.run()
            break
        except StoppedError:
            state = through_a_file(growth.state.state_dict(), tmp_path / "state")
            n_runs += 1
    assert n_runs == n_epochs
    assert_same(growth.state.state_dict(), whole.state.state_dict())
    one, two = growth.result(), whole.result()
    assert torch.equal(one.height, two.height)
    for p, q in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(p, q)


def parameters(growth):
    return [p.detach().clone() for p in growth.model.parameters()]


@pytest.mark.parametrize("n_steps", [4, 5, 6])
def test_an_interrupt_goes_back_to_the_last_epoch(n_steps, monkeypatch):
    # An epoch has three steps.
    growth = make_growth("iterative")
    growth.trainer.keeps_interrupted = True
    at_ends, step = [], AdamW.step

    def interrupted(self, *args):
        step(self, *args)
        if len(at_ends) == 1 and self._moments[0][2] == n_steps:
            raise KeyboardInterrupt

    def end_epoch(record):
        type(growth.trainer)._end_epoch(growth.trainer, record)
        at_ends.append(parameters(growth))

    monkeypatch.setattr(AdamW, "step", interrupted)
    monkeypatch.setattr(growth.trainer, "_end_epoch", end_epoch)
    with pytest.raises(KeyboardInterrupt):
        growth.run()
    assert not all(map(torch.equal, parameters(growth), at_ends[0]))
    growth.trainer._rewind()
    assert all(map(torch.equal, parameters(growth), at_ends[0]))
    assert growth.state.epoch == len(growth.trainer.history.records) == 1


def test_a_copy_has_the_best_parameters_and_is_independent():
    growth = make_growth("iterative")
    growth.build_model(Topology.stump())
    growth.keep_routing()
    objective, state = growth.tree_objective(), growth.state
    optimizer = AdamW(objective.parameters(), 0.0)
    phase = growth._phase("initial")
    rule = phase.stopping_rule(growth.trainer.options, optimizer.parameters, True)
    state.begin_training(optimizer, rule, n_epochs=1)
    best = parameters(growth)
    rule.update(-1.0)
    with torch.no_grad():
        for p in growth.model.parameters():
            p.add_(1.0)
    rule.update(-2.0)
    present = parameters(growth)
    other = state.copy()
    assert all(map(torch.equal, other.model.parameters(), best))
    assert all(map(torch.equal, growth.model.parameters(), present))
    assert other.model.feature_map is growth.model.feature_map
