"""Base class of the growths: building, training and pruning a model."""

from __future__ import annotations

import copy
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from numbers import Integral
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..data import TrainingData
from ..graph import GraphOptions
from ..model import ModelConfig, TopDown, Topology, TreeVAE, new_split, prune
from ..utils.limits import BLOCK_ROWS, MAX_MODEL_ROWS, MAX_STATISTICS_ROWS, ROUNDING
from ..utils.validation import COUNT, Number, check_argument
from .contrastive import Contrast, ContrastOptions
from .objectives import MAX_ACTIVE_LEAVES, Objective, TreeObjective
from .state import TENSORS, VALUES, FitState, Split, StateDict, split_parts
from .trainer import Phase, Trainer

MIN_ROUTING_WEIGHT = 20.0
"""Minimum weight of the routing loss relative to the ELBO, for few features."""

MIN_SHARE_OF_MEAN = 0.05
"""Default minimum size of a leaf, relative to the mean over leaves."""

MAX_DEFAULT_FRACTION = 0.01
"""Maximum of the default minimum size, as a fraction of the samples: the paper's."""


@dataclass(frozen=True)
class GrowthOptions:
    """Options that shape the tree; see `TreeVAEClustering`.

    Parameters
    ----------
    n_clusters : int or None
        Number of leaves; None lets the neighbor graph choose.
    max_depth : int, default=None
        Maximum depth of a leaf.
    min_cluster_size : int or float, default=None
        Minimum number, or fraction, of the samples of a leaf.
    growth : {"guided", "iterative", "published"}, default="guided"
        How the tree is found.
    split_criterion : {"n_samples", "reconstruction", "elbo"}, default="n_samples"
        Criterion by which the other growths choose the next leaf.
    graph : GraphOptions
        Sizes of the neighbor graph.
    """

    n_clusters: int | None
    max_depth: int | None = None
    min_cluster_size: int | float | None = None
    growth: str = "guided"
    split_criterion: str = "n_samples"
    graph: GraphOptions = GraphOptions()

    def min_samples(self, n_samples: int) -> int:
        """Return the minimum number of samples of a leaf.

        By default a twentieth of the mean over leaves, and no more than the 1% of the
        paper.
        """
        size = self.min_cluster_size
        if size is None:
            size = min(MIN_SHARE_OF_MEAN / self.n_clusters, MAX_DEFAULT_FRACTION)
        count = size if isinstance(size, Integral) else round(size * n_samples)
        return max(1, int(count))


@dataclass(frozen=True)
class Stage:
    """A part of a growth, which may train what it begins with.

    All callables read and set the state of the fit, and nothing else. So a stage can go
    on from the end of any epoch.

    Parameters
    ----------
    name : {"initialization", "routers", "joint", "initial", "split", "refresh", \
            "finetune", "partial_fit"}
        Name in the history.
    begin : callable, optional
        Sets initial values and targets.
    phase : callable, default=None
        Returns the schedules.
    objective : callable, default=None
        Returns what is minimized; nothing by default.
    end : callable, optional
        Completes the tree; returns whether the stage was of use.
    """

    name: str
    begin: Callable[[], None] = lambda: None
    phase: Callable[[], Phase] | None = None
    objective: Callable[[], Objective] | None = None
    end: Callable[[], bool] = lambda: True

    def run(self, trainer: Trainer) -> None:
        """Run the stage, or what is left of it."""
        state = trainer.state
        if state.stage is None:
            self.begin()
            state.stage = self.name
        if self.objective is not None:
            trainer.train(self.phase(), self.objective())
        if self.end():
            state.done = [*state.done, self.name]
        trainer.end_stage()


@dataclass(eq=False)
class TreeGrowth(ABC):
    """What all growths share: stages, and the steps that they consist of.

    Parameters
    ----------
    data : TrainingData
        Samples and features.
    config : ModelConfig
        Sizes and networks of the model.
    options : GrowthOptions
        Size and shape of the tree.
    trainer : Trainer
        Runs the stages.
    contrast_options : ContrastOptions, default=None
        Contrastive losses; None without augmentations.

    Attributes
    ----------
    state : FitState
        The state of the trainer.
    """

    data: TrainingData
    config: ModelConfig
    options: GrowthOptions
    trainer: Trainer
    contrast_options: ContrastOptions | None = None

    learning_rate: ClassVar[float] = 2e-3
    """Maximum learning rate with ``learning_rate="auto"``."""

    router_dims: ClassVar[tuple[int, ...]] = ()
    """Widths of the hidden layers of the routers. Linear routers are enough where the
    encoder is trained with them."""

    perceptron_depth: ClassVar[int] = 3
    """Number of layers between the features and the bottom-up chain."""

    linear_routing_factor: ClassVar[float] = 10.0
    """Factor on the routing weight of a model with linear paths. Its densities are
    sharper, so that the ELBO would move more samples to other leaves. Its posterior
    heads don't depend on the encoder, so the encoder may serve the routers."""

    max_active_leaves: ClassVar[int] = MAX_ACTIVE_LEAVES
    """Maximum number of leaves that decode a sample in training."""

    stage_names: ClassVar[str] = ""
    """Regular expression of the stages, with a space after each, that may have begun.
    """

    fields: ClassVar[tuple[str, ...]] = ("target",)
    """Tensors that a state has from the first stage on."""

    def __post_init__(self) -> None:
        self.config = replace(
            self.config,
            router_dims=self.router_dims,
            perceptron_depth=self.perceptron_depth,
        )
        self.state = self.trainer.state
        self.generators = self.trainer.generators
        self.min_samples = self.options.min_samples(self.data.n_samples)

    @property
    def model(self) -> TreeVAE:
        """The model."""
        return self.state.model

    @property
    def routing_weight(self) -> float:
        """Weight of the routing loss relative to the ELBO.

        The ELBO grows with the number of features, and the weight with it. Without the
        routing loss, the leaf with the currently best decoder receives all samples: a
        good split improves the ELBO only after the decoders have specialized.
        """
        factor = self.linear_routing_factor if self.config.has_linear_paths else 1.0
        return factor * max(MIN_ROUTING_WEIGHT, self.config.n_features)

    # Stages

    @abstractmethod
    def stages(self) -> Iterator[Stage]:
        """Yield one stage after the other, from the present state on.

        Which one comes next depends on the state alone.
        """

    def load_state_dict(self, stored: StateDict) -> None:
        """Set a new state to a stored one.

        Parameters
        ----------
        stored : dict
            Result of `FitState.state_dict`, in the same or in another process, of a
            fit with the same data and options.

        Raises
        ------
        ValueError, LookupError, TypeError, ...
            If a stage of the state has begun, or the other isn't one of this growth
            and data.
        """
        state, values, tensors = self.state, stored["values"], stored["tensors"]
        if state.stage is not None or state.done:
            raise ValueError("Only a new state can be loaded.")
        parts = split_parts(tensors)
        for name in VALUES:
            setattr(state, name, values[name])
        for name in TENSORS:
            setattr(state, name, tensors.get(name))
        if values["parent"] is not None:
            state.model = self.new_model(Topology(tuple(values["parent"])))
            state.model.load_state_dict(parts["model"])
            state.contrast = self.new_contrast()
        if values["split"] is not None:
            state.split = Split(self.new_split(), **values["split"])
            state.split.top_down.load_state_dict(parts["split"])
            n_leaves = len(self.model.topology.leaves)
            check_argument("leaf", state.split.leaf, Number(Integral, 0, n_leaves))
            check_argument("seed", state.split.seed, Number(Integral, 0, 2**63))
        if state.contrast is not None:
            state.contrast.load_state_dict(parts["contrast"])
        if state.stage is not None:
            state.loaded = {name: parts[name] for name in ("optimizer", "rule")}
        for record in values["records"]:
            state.history.append(record)
        # Last: new modules draw weights.
        self.generators.load_state_dict(parts["generators"])
        self.generators.rng.bit_generator.state = values["rng"]
        self.check_state()

    def check_state(self) -> None:
        """Check that a loaded state is one of this growth and data.

        Raises
        ------
        ValueError
            If it isn't.
        """
        state = self.state
        stages = [*state.done, *([] if state.stage is None else [state.stage])]
        checks = {
            "stages": isinstance(state.done, list)
            and re.fullmatch(self.stage_names, "".join(f"{s} " for s in stages)),
            "epoch": COUNT.accepts(state.epoch) if state.stage else state.epoch == 0,
            "records": all(
                {"phase", "epoch"} <= record.keys() for record in state.history.records
            ),
            "model": bool(stages) == (state.model is not None),
            "split": (state.stage == "split") == (state.split is not None),
            "unsplittable leaves": set(map(type, state.unsplittable)) <= {int},
        }
        if stages:
            checks |= self._tensor_checks()
        wrong = [name for name, is_right in checks.items() if not is_right]
        if wrong:
            raise ValueError(f"its {wrong[0]} can't be of this fit")

    def _tensor_checks(self) -> dict[str, bool]:
        """Return whether each tensor of the state has its type, shape and values."""
        state, n_samples = self.state, len(self.data.samples)
        trained = self.model if state.split is None else state.split.top_down
        n_leaves = len(trained.topology.leaves)
        expected = {
            "target": (torch.float32, (n_samples, n_leaves), math.inf),
            "leaf": (torch.int64, (n_samples,), n_leaves),
            "noise_scale": (torch.float32, (n_samples, 1), math.inf),
            "group": (torch.int32, (n_samples,), self.data.n_samples),
            "height": (torch.float64, (self.model.topology.n_nodes,), math.inf),
            "excess_cost": (torch.float64, (self.model.topology.n_nodes,), math.inf),
            "members": (torch.bool, (n_samples,), 2),
        }
        if state.stage is None and "leaf" not in self.fields:
            del expected["target"]  # that of the last stage
        checks = {}
        for name, (dtype, shape, end) in expected.items():
            tensor = getattr(state, name)
            if tensor is None:
                checks[name] = name not in self.fields
            else:
                checks[name] = (tensor.dtype, tensor.shape) == (dtype, shape) and bool(
                    ((tensor >= 0) & (tensor < end)).all()
                )
        return checks

    def run(self) -> None:
        """Run all stages, or those that come after the present state."""
        with closing(self.stages()) as stages:
            for stage in stages:
                stage.run(self.trainer)

    def result(self) -> FitState:
        """Return the state with a complete tree, as if training had stopped now.

        Raises
        ------
        FloatingPointError
            If the ELBO of the training samples isn't finite.
        """
        state = self.finished().state
        model = state.model.eval()

        def elbo(index: Tensor) -> Tensor:
            return self.data.samples.map(
                lambda x: model.mean_elbo(x, model.row_noise(x, 1)), index
            )

        with self.generators.preserved():
            rows = self.draw(BLOCK_ROWS, self.data.train)
        # The last update of a phase comes after its last loss.
        if not self.data.mean(elbo, rows).isfinite():
            raise self.trainer.divergence("at the end")
        return state

    def finished(self) -> Self:
        """Return a copy that is complete, as if training had stopped now."""
        other = copy.copy(self)
        self.state.synchronize()
        other.state = self.state.copy()
        other.finish()
        return other

    @abstractmethod
    def finish(self) -> None:
        """Complete the model of a copy of the state, and set the heights."""

    # Modules

    def new_model(self, topology: Topology) -> TreeVAE:
        """Return a model with random weights."""
        model = TreeVAE(
            topology,
            self.config,
            feature_map=self.data.feature_map,
            generator=self.generators.shared,
        )
        return model.to(self.data.train.device)

    def new_split(self) -> TopDown:
        """Return a root and two leaves with random weights, for a leaf."""
        return new_split(self.model.top_down, self.generators.shared)

    def new_contrast(self) -> Contrast | None:
        """Return contrastive losses with random weights; None without augmentations."""
        if self.contrast_options is None:
            return None
        return Contrast(
            self.contrast_options,
            self.model,
            weights=self.generators.shared,
            rows=self.generators.rows,
        )

    def build_model(self, topology: Topology, cluster: Tensor | None = None) -> None:
        """Set a model with random weights, and standardize its input.

        Parameters
        ----------
        topology : Topology
            The tree.
        cluster : Tensor of int of shape (n_samples,), default=None
            Cluster of each sample, if known; see `BottomUp.standardize`.
        """
        self.state.model = self.new_model(topology)
        rows = self.draw(MAX_STATISTICS_ROWS, self.data.train)
        gather = self.data.gather
        self.model.bottom_up.standardize(
            gather(self.data.features[rows]),
            None if cluster is None else gather(cluster[rows]),
        )
        self.state.contrast = self.new_contrast()

    # Steps

    def draw(self, n: int, index: Tensor) -> Tensor:
        """Return up to n random samples of some; see `TrainingData.draw`."""
        return self.data.draw(n, index, self.generators.rows)

    def mean_of(self, index: Tensor) -> Tensor:
        """Return the mean of some samples, (n_features,)."""
        rows = self.draw(MAX_STATISTICS_ROWS, index)
        return self.data.mean(self.data.samples.__getitem__, rows)

    def keep_routing(self) -> None:
        """Make the present routing the target."""
        self.state.target = self.data.features.map(self.model.leaf_proba)

    def tree_objective(self) -> TreeObjective:
        """Return the objective of the whole model."""
        return TreeObjective(self.data, self.state, self.max_active_leaves)

    @torch.no_grad()
    def fit_prior_odds(self, n_steps: int = 20) -> None:
        """Set the biases of the prior routers so that leaves have their shares.

        Generated samples then reach each node as often as the training samples. Routers
        trained by the ELBO see latent variables of the posterior alone, from which
        draws of the prior differ the more, the deeper the tree. Newton's method takes
        steps of at most one nat.
        """
        if not self.model.topology.splits:
            return
        model = self.model
        rows = self.draw(MAX_MODEL_ROWS, self.data.train)
        share = self.data.mean(lambda i: model.leaf_proba(self.data.features[i]), rows)
        noise = model.sample_noise(MAX_MODEL_ROWS, self.generators.rows)
        blocks = noise.split(BLOCK_ROWS, dim=1)
        logit = torch.cat([model.top_down.prior_logits(block) for block in blocks], 1)
        shift = self.data.decide(lambda: self._odds_shift(share, logit, n_steps))
        model.top_down.p_routers.biases[-1] += shift

    def _odds_shift(self, share: Tensor, logit: Tensor, n_steps: int) -> Tensor:
        """Return changes of prior logits that give leaves their shares.

        Parameters
        ----------
        share : Tensor of shape (n_leaves,)
            Share of the samples of each leaf.
        logit : Tensor of shape (n_splits, n_draws)
            Logits of "left" of generated samples.
        n_steps : int
            Number of Newton steps.

        Returns
        -------
        shift : Tensor of shape (n_splits, 1, 1)
            The changes.
        """
        topology, index = self.model.topology, self.model.top_down.index
        reached = index.ancestry @ share
        left = reached[[topology.children[split][0] for split in topology.splits]]
        target = left / reached[index.splits].clamp(min=ROUNDING)
        shift, zeros = torch.zeros_like(target), logit.new_zeros(logit.shape[1])
        for _ in range(n_steps):
            shifted = logit + shift[:, None]
            weight = index.path_log_probs(shifted, zeros)[index.splits].softmax(1)
            p = shifted.sigmoid()
            slope = target - (weight * p).sum(1)
            curvature = (weight * p * (1.0 - p)).sum(1)
            shift += (slope / curvature.clamp(min=ROUNDING)).clamp(-1.0, 1.0)
        return shift[:, None, None]

    def leaf_counts(self) -> Tensor:
        """Return the number of samples assigned to each leaf, (n_leaves,)."""
        return self.data.count(
            self.data.assign(self.model), len(self.model.topology.leaves)
        )

    def prune(self) -> bool:
        """Prune leaves with too few samples, the smallest first.

        Returns
        -------
        pruned : bool
            Whether any leaf was pruned.
        """
        pruned = False
        while len(self.model.topology.leaves) > 1:
            count, leaf = self.leaf_counts().min(0)
            if count >= self.min_samples:
                break
            self._prune_leaf(int(leaf))
            pruned = True
        return pruned

    def _prune_leaf(self, leaf: int) -> None:
        """Prune the leaf at a position in `topology.leaves`.

        Heights and costs of other nodes stay.
        """
        source = self.model.topology.prune(leaf).source
        self.model.top_down = prune(self.model.top_down, leaf)
        for name in ("height", "excess_cost"):
            values = getattr(self.state, name)
            if values is not None:
                setattr(self.state, name, values[list(source)])
