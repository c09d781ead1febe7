"""State of a fit: all that it goes on from at the end of any epoch."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..data import TrainingData
from ..graph import ClusterTree, Proposal
from ..model import TopDown, TreeVAE
from ..utils.processes import ONE_PROCESS, Processes
from ..utils.random import draw_seed
from ..utils.validation import COUNT, check_argument
from .contrastive import Contrast
from .optimizer import AdamW, StoppingRule

TENSORS = "target", "leaf", "noise_scale", "group", "height", "excess_cost", "members"
"""Fields of a state that are tensors."""

OF_SAMPLES = "target", "leaf", "noise_scale", "group", "members"
"""Tensors of a state that have a row for each sample."""

OF_TRAINING_SAMPLES = "proposal.cluster", "proposal.proba", "proposal.spacing"
"""Tensors of a state that have a row for each training sample."""

VALUES = "stage", "done", "epoch", "unsplittable"
"""Fields of a state that are JSON values."""

Remembered = tuple[dict[str, object], TopDown, list[Tensor]]
"""Fields of a state, the tree of its model, and the trained parameters."""

StateDict = dict[str, dict[str, object]]
"""The tensors of a state by name, and the rest as JSON values."""


class GrowingLists(dict):
    """Lists of a history that grow during a fit, unlike those of a fitted estimator."""


class History:
    """Records of the epochs of a fit.

    Parameters
    ----------
    before : dict of lists, default=None
        Records of earlier fits, which come first in the lists.

    Attributes
    ----------
    records : list of dict
        Records of this fit.
    lists : GrowingLists
        One list for each entry of the records of epochs that have an ELBO; they grow
        with each such epoch.
    """

    def __init__(self, before: Mapping[str, list] | None = None) -> None:
        self._before = before or {}
        self.records: list[dict[str, object]] = []
        self.lists = GrowingLists(
            {name: list(values) for name, values in self._before.items()}
        )

    @property
    def elbo_records(self) -> list[dict[str, object]]:
        """Records of the epochs that have an ELBO."""
        return [record for record in self.records if "elbo" in record]

    def append(self, record: dict[str, object]) -> None:
        """Add the record of an epoch."""
        self.records.append(record)
        if "elbo" in record:
            for name, value in record.items():
                self.lists.setdefault(name, []).append(value)

    def as_lists(self) -> dict[str, list]:
        """Return copies of the lists; complete even if `append` was interrupted."""
        records = self.elbo_records
        names = records[0] if records else ()
        return {
            name: [*self._before.get(name, ()), *(r[name] for r in records)]
            for name in names
        }


class Generators:
    """Sources of randomness of a fit, all derived from one seed.

    Parameters
    ----------
    shared : torch.Generator
        Draws what all processes of a fit have in common: weights, splits, decisions.
    rank : int, default=0
        Number of the process.

    Attributes
    ----------
    shared : torch.Generator
        The same.
    rng : numpy.random.Generator
        Draws what is in common, too, where it is computed by numpy.
    rows : torch.Generator
        Draws what a process needs for its own rows: batches, noise, augmentations.
    """

    def __init__(self, shared: torch.Generator, rank: int = 0) -> None:
        sequence = np.random.SeedSequence(shared.initial_seed(), spawn_key=(rank,))
        seed = int(sequence.generate_state(1)[0])
        self.shared, self.rank = shared, rank
        self.rng = np.random.default_rng(draw_seed(shared))
        self.rows = torch.Generator(shared.device).manual_seed(seed)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the states of the torch generators.

        The state of `rows` may be stored together with the states of other processes.
        """
        return {"shared": self.shared.get_state(), "rows": self.rows.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Set the states of the torch generators."""
        self.shared.set_state(state["shared"].cpu())
        states = state["rows"].cpu().view(-1, len(self.rows.get_state()))
        self.rows.set_state(states[self.rank % len(states)].clone())

    @contextmanager
    def preserved(self) -> Iterator[None]:
        """Give the states back, whatever is drawn meanwhile."""
        state, rng_state = self.state_dict(), self.rng.bit_generator.state
        try:
            yield
        finally:
            self.load_state_dict(state)
            self.rng.bit_generator.state = rng_state


@dataclass(frozen=True, eq=False)
class Split:
    """A split of a leaf that is trained alone.

    Parameters
    ----------
    top_down : TopDown
        A root and two leaves.
    leaf : int
        The leaf that they will be attached to, a position in `topology.leaves`.
    seed : int
        Seed of the draw of the latents above it.
    """

    top_down: TopDown
    leaf: int
    seed: int


@dataclass(frozen=True, eq=False)
class Plan:
    """What is known of a tree before its growth.

    Parameters
    ----------
    n_clusters : int
        Number of clusters, asked for or estimated.
    choices : dict
        What was chosen; see `TreeVAEClustering.choices_`.
    proposal : Proposal or None
        Tree of the guided growth; None after its initialization.
    """

    n_clusters: int
    choices: dict[str, object]
    proposal: Proposal | None = None

    @classmethod
    def from_state_dict(cls, state: StateDict) -> Plan:
        """Return the plan in a state that `FitState.state_dict` has returned."""
        parts, values = split_parts(state["tensors"]), state["values"]["plan"]
        arrays, proposal = parts["proposal"], None
        if arrays:
            tree = [arrays.pop(name).numpy() for name in ClusterTree._fields]
            proposal = Proposal(**arrays, tree=ClusterTree(*tree), costs={})
        n_clusters = values["n_clusters"]
        check_argument("n_clusters", n_clusters, COUNT)
        return cls(n_clusters, dict(values["choices"]), proposal)

    def tensors(self) -> dict[str, Tensor]:
        """Return the arrays of the proposal as tensors by name."""
        if self.proposal is None:
            return {}
        arrays = {**vars(self.proposal), **self.proposal.tree._asdict()}
        return {
            f"proposal.{name}": torch.as_tensor(array)
            for name, array in arrays.items()
            if name not in ("tree", "costs")
        }


@dataclass(eq=False)
class FitState:
    """All that a fit goes on from at the end of any epoch, besides data and options.

    In place, training changes the trained parameters and the tree of the model only.
    All other fields are set anew.

    Parameters
    ----------
    generators : Generators
        Sources of randomness.
    history : History
        Records of the epochs.
    plan : Plan or None
        What the growth begins with; None for a given model.
    stage : str or None
        Stage in progress; None between two stages.
    done : list of str
        Stages that have ended. A split that was refused is none of them.
    epoch : int
        Epochs of the stage in progress.
    model : TreeVAE or None
        The model, with its topology.
    split : Split or None
        The split in training; None while the whole tree is trained.
    members : Tensor of bool of shape (n_samples,), default=None
        Samples that the split is trained on.
    contrast : Contrast or None
        Contrastive losses, with their projections; None without augmentations.
    target : Tensor of shape (n_samples, n_leaves), default=None
        Target probability of each leaf of what is trained; 0 for held-out samples.
    leaf : Tensor of int of shape (n_samples,), default=None
        Proposed leaf of each sample.
    noise_scale : Tensor of shape (n_samples, 1), default=None
        Noise on the features; see `noisy_features`.
    group : Tensor of int of shape (n_samples,), default=None
        Group of each sample, among those that stand apart, if known.
    height : Tensor of shape (n_nodes,), default=None
        Height in nats of each node, if known.
    excess_cost : Tensor of shape (n_nodes,), default=None
        Excess cost of the cut of each node, if known; see `ClusterTree`.
    unsplittable : list of int
        Leaves whose split was refused.
    optimizer : AdamW or None
        Optimizer of the stage in progress, with its moments.
    rule : StoppingRule or None
        Rule that ends the stage in progress, with the best parameters.
    loaded : dict
        Stored optimizer and rule, which `begin_training` reads.
    processes : Processes
        Processes that share the fit. Fields with a value for each sample have the
        samples of this process.
    """

    generators: Generators
    history: History
    plan: Plan | None = None
    stage: str | None = None
    done: list[str] = field(default_factory=list)
    epoch: int = 0
    model: TreeVAE | None = None
    split: Split | None = None
    members: Tensor | None = None
    contrast: Contrast | None = None
    target: Tensor | None = None
    leaf: Tensor | None = None
    noise_scale: Tensor | None = None
    group: Tensor | None = None
    height: Tensor | None = None
    excess_cost: Tensor | None = None
    unsplittable: list[int] = field(default_factory=list)
    optimizer: AdamW | None = None
    rule: StoppingRule | None = None
    loaded: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    processes: Processes = ONE_PROCESS

    def begin_training(
        self, optimizer: AdamW, rule: StoppingRule, n_epochs: int
    ) -> None:
        """Set the optimizer and the stopping rule, or go on with loaded ones.

        Raises
        ------
        ValueError, LookupError, TypeError
            If the loaded ones are not those of a phase of `n_epochs` epochs.
        """
        self.optimizer, self.rule = optimizer, rule
        if self.loaded:
            if self.epoch > n_epochs:
                raise ValueError(f"epoch must be at most {n_epochs}, got {self.epoch}")
            optimizer.load_state_dict(self.loaded["optimizer"])
            rule.load_state_dict(self.loaded["rule"])
            self.loaded = {}

    def synchronize(self) -> None:
        """Copy all networks from the first process."""
        split = self.split and self.split.top_down
        for part in (self.model, split, self.contrast):
            if part is not None:
                self.processes.synchronize(part)

    def end_stage(self) -> None:
        """Forget what only the stage in progress needs."""
        self.stage, self.epoch = None, 0
        self.split = self.members = self.optimizer = self.rule = None

    def copy(self) -> FitState:
        """Return a copy with a model of its own, as if the stage ended now.

        It has the parameters that the stage would end with.
        """
        other = copy.copy(self)
        # The features are the same for all models of a fit.
        memo = {id(self.model.feature_map): self.model.feature_map}
        other.model = copy.deepcopy(self.model, memo)
        other.split = copy.deepcopy(self.split, memo)
        if self.rule is not None:
            self.rule.restore_best(memo)
        return other

    def remember(self) -> Remembered:
        """Return what `rewind` goes back to.

        Only what training changes in place is copied.
        """
        parameters = [] if self.optimizer is None else self.optimizer.parameters
        values = [p.detach().clone() for p in parameters]
        return dict(vars(self)), self.model.top_down, values

    @torch.no_grad()
    def rewind(self, remembered: Remembered) -> None:
        """Go back to a state that `remember` has returned."""
        fields, top_down, values = remembered
        vars(self).update(fields)
        self.model.top_down = top_down
        if self.optimizer is not None:
            for parameter, value in zip(self.optimizer.parameters, values, strict=True):
                parameter.copy_(value)

    def state_dict(self) -> StateDict:
        """Return the state at the end of an epoch as tensors and JSON values.

        It has the samples of all processes. Tensors of one process aren't copied.
        """
        split = self.split
        parts = {
            "model": self.model,
            "split": split and split.top_down,
            "contrast": self.contrast,
            "optimizer": self.optimizer,
            "rule": self.rule,
            "generators": self.generators,
        }
        tensors = {
            f"{name}.{key}": tensor
            for name, part in parts.items()
            if part is not None
            for key, tensor in part.state_dict().items()
        }
        fields = {name: getattr(self, name) for name in TENSORS}
        tensors |= {name: t for name, t in fields.items() if t is not None}
        plan = self.plan
        if plan is not None and not self.done:
            tensors |= plan.tensors()
        for name in (*OF_SAMPLES, *OF_TRAINING_SAMPLES, "generators.rows"):
            if name in tensors:
                tensors[name] = self.processes.concatenate(tensors[name])
        values = {
            "plan": plan and {"n_clusters": plan.n_clusters, "choices": plan.choices},
            **{name: getattr(self, name) for name in VALUES},
            "parent": self.model and list(self.model.topology.parent),
            "split": split and {"leaf": split.leaf, "seed": split.seed},
            "records": list(self.history.records),
            "rng": self.generators.rng.bit_generator.state,
        }
        return {"tensors": tensors, "values": values}


def split_parts(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each part of a state, such as the model, by name."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        if tensor.isnan().any():
            raise ValueError(f"{name} has NaN")
        part, _, key = name.partition(".")
        parts[part][key] = tensor
    return parts


def own_samples(state: StateDict, data: TrainingData) -> StateDict:
    """Return a state that was stored for all processes with the samples of this one."""
    tensors = dict(state["tensors"])
    for names, index in (
        (OF_SAMPLES, data.all_rows),
        (OF_TRAINING_SAMPLES, data.train),
    ):
        start, _ = data.processes.locate(len(index))
        rows = slice(start, start + len(index))
        tensors |= {
            name: tensors[name][rows].to(index.device)
            for name in names
            if name in tensors
        }
    return {**state, "tensors": tensors}
