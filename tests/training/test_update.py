import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from sktreevae.training.guided import GuidedGrowth
from sktreevae.training.objectives import RoutingObjective, routing_loss
from sktreevae.training.optimizer import AdamW
from sktreevae.training.update import Update
from sktreevae.utils.devices import static_shapes

from ..model.strategies import balanced, caterpillar
from .cases import make_blobs_growth

READS = "_local_scalar_dense", "nonzero", "masked_select", "equal"
"""Operations that read values of tensors, for which the host of a GPU waits."""

WRITES = ("lift_fresh",)
"""Operations that copy values from the host, which a CUDA graph can't capture."""


class Recorder(TorchDispatchMode):
    """Records the names of operations."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def make_objective(tree, kind="tree"):
    growth = make_blobs_growth(GuidedGrowth, len(tree.leaves))
    growth.build_model(tree)
    growth.keep_routing()
    if kind == "routers":
        return RoutingObjective(growth.data, growth.state)
    return growth.tree_objective()


def make_update(objective):
    generator = objective.state.generators.rows
    optimizer = AdamW(objective.parameters(), 1e-5)
    return Update(objective, optimizer, torch.autocast("cpu", enabled=False), generator)


def record(objective):
    """Return the operations of an update step with static shapes."""
    update = make_update(objective)
    with static_shapes(), Recorder() as recorder:
        update(torch.arange(32), 1.0, 1.0, 1e-3)
    return recorder.names


@pytest.mark.parametrize("kind", ["routers", "tree"])
def test_steps_exchange_no_values_with_the_host(kind):
    objective = make_objective(caterpillar(5), kind)
    assert objective.is_static
    assert not {*READS, *WRITES} & set(record(objective))


@pytest.mark.parametrize(
    ("kind", "tree", "limit"),
    [("routers", balanced(3), 300), ("tree", balanced(3), 1000)],
)
def test_operations_of_a_step_are_few(kind, tree, limit):
    assert len(record(make_objective(tree, kind))) <= limit


def test_operations_grow_with_the_depth_and_not_with_the_leaves():
    few, many = caterpillar(6), balanced(5)  # 6 leaves and 32
    n_few, n_many = (len(record(make_objective(tree))) for tree in (few, many))
    assert n_many <= 1.01 * n_few


def test_a_captured_step_computes_that_of_other_rows():
    objective = make_objective(balanced(2))
    model, data = objective.model, objective.data
    parameters = [p for p in objective.parameters() if p.numel()]

    def gradients(x, features, target, noise):
        posterior = model.posterior(model.encode(x, features), noise)
        bound = model.sparse_elbo(posterior, x, 2).elbo().mean()
        loss = routing_loss(posterior.routing.leaf_log_proba, target) - bound
        return torch.autograd.grad(loss, parameters)

    def inputs(rows):
        tables = data.samples, data.features, objective.state.target
        noise = model.sample_noise(len(rows), torch.Generator().manual_seed(0))
        return *(table[rows] for table in tables), noise

    with static_shapes():
        step = make_fx(gradients)(*inputs(torch.arange(16)))
    others = inputs(torch.arange(60, 76))
    torch.testing.assert_close(step(*others), gradients(*others))


@pytest.mark.parametrize("name", ["is_count", "has_discrete"])
def test_steps_of_likelihoods_that_read_values_are_not_captured(name, monkeypatch):
    objective = make_objective(balanced(2))
    monkeypatch.setattr(objective.model.top_down.likelihood, name, True)
    assert not objective.is_static
