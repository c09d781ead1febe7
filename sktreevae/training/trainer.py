"""Training loop: options, phases, early stopping and history."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import nn

from ..data import n_batches, shuffled_batches
from ..utils.processes import ONE_PROCESS, Processes
from .checkpoint import Checkpoints
from .objectives import TERMS, Objective
from .optimizer import AdamW, StoppingRule
from .state import FitState, Generators, History, Remembered
from .update import Update

T = TypeVar("T")


@dataclass(frozen=True)
class TrainingOptions:
    """Options common to all phases of a fit.

    Parameters
    ----------
    max_iter : int, default=None
        Maximum number of epochs of a phase. None leaves it to the phase.
    batch_size : int, default=256
        Samples of an update step.
    learning_rate : float, default=2e-3
        Maximum learning rate of AdamW.
    weight_decay : float, default=1e-5
        Weight decay of AdamW.
    n_iter_no_change : int, default=3
        Epochs without improvement after which a phase ends.
    tol : float, default=1e-2
        Minimum improvement of the ELBO, in nats per sample.
    dtype : torch.dtype, default=torch.float32
        Type in which networks are evaluated.
    """

    max_iter: int | None = None
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-5
    n_iter_no_change: int = 3
    tol: float = 1e-2
    dtype: torch.dtype = torch.float32

    def single_pass(self, rate: float = 0.25) -> TrainingOptions:
        """Return the options of `partial_fit`: one epoch at a lower learning rate.

        Each call creates an optimizer: one that is kept, with its momentum, loses
        clusters on many small batches.

        Parameters
        ----------
        rate : float, default=0.25
            Learning rate, relative to the maximum of a fit.
        """
        return replace(self, max_iter=1, learning_rate=rate * self.learning_rate)

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return a context in which networks are evaluated in `dtype`."""
        reduced = self.dtype != torch.float32
        return torch.autocast(device.type, dtype=self.dtype, enabled=reduced)


@dataclass(frozen=True)
class Phase:
    """A phase of training, with its schedules.

    Parameters
    ----------
    name : {"routers", "joint", "initial", "split", "refresh", "finetune", \
            "partial_fit"}
        Name in the history.
    kl_weights : tuple of two floats
        Weight of the divergences in the first step, and from the middle on.
    routing_weights : tuple of two floats
        Weight of the routing loss up to the middle of the phase, and in the last step.
    min_epochs : int, default=6
        Minimum number of epochs with ``max_iter="auto"``.
    min_steps : int, default=60
        Minimum number of update steps with ``max_iter="auto"``. In 20, leaves don't
        become narrow, and the ELBO moves samples between clusters far apart.
    warm_up : float, default=0.05
        Fraction of the phase in which the learning rate rises.
    is_constant : bool, default=False
        Whether the learning rate and the weights are constant, as in `partial_fit`.
    stops_early : bool, default=True
        Whether the phase may end before its last epoch without validation samples.
    """

    name: str
    kl_weights: tuple[float, float]
    routing_weights: tuple[float, float]
    min_epochs: int = 6
    min_steps: int = 60
    warm_up: float = 0.05
    is_constant: bool = False
    stops_early: bool = True

    def progress(self, elapsed: float) -> float:
        """Return the position in the schedules after a fraction of the phase."""
        return 0.5 if self.is_constant else elapsed

    def kl_weight_at(self, progress: float) -> float:
        """Return the weight of the divergences after a fraction of the phase."""
        start, end = self.kl_weights
        return start + (end - start) * min(1.0, 2.0 * progress)

    def routing_weight_at(self, progress: float) -> float:
        """Return the weight of the routing loss after a fraction of the phase."""
        start, end = self.routing_weights
        return start + (end - start) * max(0.0, 2.0 * progress - 1.0)

    def learning_rate_at(self, options: TrainingOptions, progress: float) -> float:
        """Return the learning rate after a fraction of the phase."""
        rise = min(1.0, (progress + 1e-2) / self.warm_up)
        fall = max(0.0, 2.0 * progress - 1.0)
        return options.learning_rate * rise * 0.5 * (1.0 + math.cos(math.pi * fall))

    def n_epochs(self, options: TrainingOptions, n_batches: int) -> int:
        """Return the maximum number of epochs."""
        if options.max_iter is not None:
            return options.max_iter
        return max(self.min_epochs, math.ceil(self.min_steps / n_batches))

    def n_steps(self, options: TrainingOptions, n_batches: int) -> int:
        """Return the maximum number of update steps."""
        return n_batches * self.n_epochs(options, n_batches)

    def may_stop(self, elapsed: float, has_validation: bool) -> bool:
        """Return whether an epoch, after a fraction of the phase, may end it."""
        return elapsed >= 0.5 and (self.stops_early or has_validation)

    def stopping_rule(
        self,
        options: TrainingOptions,
        parameters: list[nn.Parameter],
        has_validation: bool,
    ) -> StoppingRule:
        """Return the rule that ends the phase."""
        patience, tol = options.n_iter_no_change, options.tol
        return StoppingRule(parameters, patience, tol, keep_best=has_validation)


@dataclass(eq=False)
class Task:
    """A task of a fit, which callbacks follow: the fit, a stage, a phase or an epoch.

    Parameters
    ----------
    name : str
        Name of the task.
    max_subtasks : int or None, default=0
        Maximum number of tasks that this one consists of; None if it isn't known.
    parent : Task, default=None
        The task that this one is a part of; None for the fit.

    Attributes
    ----------
    start : float
        Time of the monotonic clock at which the task began, in seconds.
    info : dict
        What is known at the end of the task: the choices of a stage, or the record of
        an epoch in the history.
    is_stopped : bool
        Whether a callback has asked to skip the remaining subtasks.
    """

    name: str
    max_subtasks: int | None = 0
    parent: Task | None = None

    def __post_init__(self) -> None:
        self.start = time.monotonic()
        self.info: dict[str, object] = {}
        self.is_stopped = False


class Callback(Protocol):
    """Follows the tasks of a fit."""

    def on_task_begin(self, task: Task, trainer: Trainer) -> None:
        """Receive a task that begins."""

    def on_task_end(self, task: Task, trainer: Trainer) -> bool | None:
        """Receive a task that has ended; return True to skip its later siblings."""

    def close(self) -> None:
        """Release resources at the end of a fit, also of a failed one."""


class Growth(Protocol):
    """Finds a tree, and trains the model on it."""

    def run(self) -> None:
        """Run all stages, or those that come after the present state."""

    def result(self) -> object:
        """Return what has been found so far, as if training had stopped now."""


@dataclass(eq=False)
class Trainer:
    """Runs the stages of a fit, and tells callbacks of them.

    As a context manager, it begins and ends the task of the fit, and closes the
    callbacks.

    Parameters
    ----------
    options : TrainingOptions
        Optimizer and stopping rule.
    generators : Generators
        The only sources of randomness of the training.
    callbacks : sequence of Callback, default=()
        Receive the tasks of the fit.
    root : Task
        The fit.
    history : History
        Receives the records; an empty one by default.
    keeps_interrupted : bool, default=False
        Whether an interrupt keeps the state of the last epoch.
    checkpoints : Checkpoints, default=None
        Where the state is stored at the end of epochs and stages, if it is.
    processes : Processes, default=ONE_PROCESS
        Processes that share the fit. The first one has the callbacks, and stores the
        state.

    Attributes
    ----------
    state : FitState
        The state of the fit.
    task : Task
        The present task.
    attributes_now : callable or None
        Returns the fitted attributes of the estimator as if training had stopped now,
        or None before the first epoch that has an ELBO. None until there is a growth,
        and if there are several processes.
    is_interrupted : bool
        Whether a KeyboardInterrupt has ended the training.
    """

    options: TrainingOptions
    generators: Generators
    callbacks: Sequence[Callback] = ()
    root: Task = field(default_factory=lambda: Task("fit", None))
    history: History = field(default_factory=History)
    keeps_interrupted: bool = field(default=False, kw_only=True)
    checkpoints: Checkpoints | None = field(default=None, kw_only=True)
    processes: Processes = field(default=ONE_PROCESS, kw_only=True)

    def __post_init__(self) -> None:
        self.state = FitState(self.generators, self.history, processes=self.processes)
        if self.processes.rank > 0:
            self.callbacks = ()
        self.task = self.root
        self.attributes_now: Callable[[], dict[str, object] | None] | None = None
        self.is_interrupted = False
        self._remembered: Remembered | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._close)
            self._begin(self.root)
            stack.pop_all()
        return self

    def __exit__(self, exception_type: type | None, *exception: object) -> None:
        try:
            if exception_type is None:
                self.interruptible(lambda: self._end(self.root), lambda: False)
        finally:
            self._close()

    @contextmanager
    def subtask(self, name: str, max_subtasks: int | None = 0) -> Iterator[Task]:
        """Begin and end a part of the present task."""
        parent = self.task
        self.task = Task(name, max_subtasks, parent)
        try:
            self._begin(self.task)
            yield self.task
            # Before the first ELBO there is no model to stop with.
            parent.is_stopped |= self._end(self.task) and bool(self.history.lists)
        finally:
            self.task = parent

    def _begin(self, task: Task) -> None:
        for callback in self.callbacks:
            callback.on_task_begin(task, self)

    def _end(self, task: Task) -> bool:
        """Tell all callbacks; return whether one asks to skip the later siblings."""
        answers = [callback.on_task_end(task, self) for callback in self.callbacks]
        return self.processes.lead(lambda: any(answers))

    def _close(self) -> None:
        with ExitStack() as stack:
            for callback in self.callbacks:
                stack.callback(callback.close)

    # Interrupts and snapshots

    def fit(self, growth: Growth, complete: Callable[[Any], T]) -> T:
        """Run a growth; an interrupt ends it with the state of the last epoch.

        Parameters
        ----------
        growth : Growth
            The growth.
        complete : callable
            Returns the fitted attributes for a result of the growth.

        Returns
        -------
        attributes : dict
            The fitted attributes.
        """

        def attributes() -> T:
            return complete(growth.result())

        def attributes_now() -> T | None:
            if not self.history.elbo_records:
                return None
            with self.generators.preserved():
                return attributes()

        # Callbacks are called in one process, and attributes need all of them.
        if self.processes.size == 1:
            self.attributes_now = attributes_now
        self.interruptible(growth.run, self._rewind)
        return self.interruptible(attributes)

    def interruptible(
        self, function: Callable[[], T], fallback: Callable[[], T] | None = None
    ) -> T:
        """Call a function; after an interrupt, call the fallback, or it again.

        The exception is raised before the first ELBO, at the second interrupt, and
        without `keeps_interrupted`.
        """
        try:
            return function()
        except KeyboardInterrupt:
            if self.is_interrupted or self._remembered is None:
                raise
            self.is_interrupted = True
            return (fallback or function)()

    def remember(self) -> None:
        """Keep the present state for an interrupt, if there is an ELBO."""
        if self.keeps_interrupted and self.history.elbo_records:
            self._remembered = self.state.remember()

    def end_stage(self) -> None:
        """Complete the state of a stage, and store it."""
        self.state.end_stage()
        self.remember()
        self.store(is_due=True)

    def store(self, *, is_due: bool = False) -> None:
        """Store the present state, if it is due; see `Checkpoints`."""
        checkpoints, lead = self.checkpoints, self.processes.lead
        if checkpoints is not None and lead(lambda: is_due or checkpoints.is_due):
            state = self.state.state_dict()
            lead(lambda: checkpoints.save(state))

    def _rewind(self) -> None:
        """Go back to the state of the last epoch."""
        self.state.rewind(self._remembered)

    # Training

    def train(self, phase: Phase, objective: Objective) -> None:
        """Minimize the loss of an objective until it no longer improves.

        The learning rate rises, stays, and falls along a half cosine from the middle
        on. From the middle on, the phase ends when `n_iter_no_change` epochs in a row
        don't improve the ELBO by `tol` nats: the ELBO of the validation samples, whose
        best parameters are then restored, or of the training samples if there are none.
        Phases may have other schedules; see `Phase`.

        Parameters
        ----------
        phase : Phase
            Schedules.
        objective : Objective
            Loss to minimize.

        Raises
        ------
        FloatingPointError
            If the loss is no longer finite.
        """
        state, options = self.state, self.options
        steps_per_epoch = self._steps_per_epoch(objective)
        n_steps = phase.n_steps(options, steps_per_epoch)
        n_epochs = math.ceil(n_steps / steps_per_epoch)
        optimizer = AdamW(objective.parameters(), options.weight_decay, self.processes)
        has_validation = objective.has_elbo and (
            objective.data.size(objective.validation_rows) > 0
        )
        state.synchronize()
        rule = phase.stopping_rule(options, optimizer.parameters, has_validation)
        checkpoints = self.checkpoints
        with nullcontext() if checkpoints is None else checkpoints.restoring():
            state.begin_training(optimizer, rule, n_epochs)
        self.remember()
        update = Update(
            objective,
            optimizer,
            options.autocast(objective.train_rows.device),
            self.generators.rows,
        )
        # Epochs without an ELBO aren't shown.
        with self.subtask(phase.name, n_epochs if objective.has_elbo else 0) as task:
            while state.epoch < n_epochs and not (
                rule.has_converged or task.is_stopped
            ):
                with self._epoch(objective) as epoch:
                    epoch.info, bound = self._train_epoch(phase, update, n_steps)
                    # ELBOs of training samples are comparable once their weight is
                    # constant.
                    if phase.may_stop(state.epoch / n_epochs, has_validation):
                        rule.update(bound)
                    self._end_epoch(epoch.info)
            rule.restore_best()

    def _steps_per_epoch(self, objective: Objective) -> int:
        n_samples = objective.data.size(objective.train_rows)
        return n_batches(n_samples, self.options.batch_size)

    def _epoch(self, objective: Objective) -> AbstractContextManager[Task]:
        """Return the context of an epoch."""
        if objective.has_elbo:
            return self.subtask("epoch")
        return nullcontext(Task("epoch", 0, self.task))

    def _end_epoch(self, record: dict[str, object]) -> None:
        """Complete the state of an epoch. It may be stored, and trained on from."""
        self.state.epoch += 1
        self.history.append(record)
        self.remember()
        self.store()

    def _train_epoch(
        self, phase: Phase, update: Update, n_steps: int
    ) -> tuple[dict[str, object], float]:
        """Train for one epoch, and evaluate.

        Returns
        -------
        record : dict
            Record of the epoch in the history.
        bound : float
            What the phase is stopped by: an ELBO, or the negative routing loss.
        """
        objective = update.objective
        means, progress = self._run_batches(phase, update, n_steps)
        # The last update comes after the last loss.
        parameters = self.state.optimizer.parameters
        if not nn.utils.get_total_norm(parameters).isfinite():
            raise self.divergence(f"in phase {phase.name!r}")
        record = {
            "phase": phase.name,
            "epoch": self.state.epoch,
            "n_leaves": objective.n_leaves,
            "learning_rate": phase.learning_rate_at(self.options, progress),
        }
        loss = means.pop("routing_loss")
        if not objective.has_elbo:
            return record | {"routing_loss": loss}, -loss
        kl_weight = phase.kl_weight_at(progress)
        kl = means["kl_root"] + means["kl_nodes"] + means["kl_decisions"]
        bound = means["reconstruction"] - kl_weight * kl
        validation_elbo = math.nan
        if objective.data.size(objective.validation_rows):
            # Weighted as at the end of the phase, so that epochs are comparable.
            bound = validation_elbo = self._validate(objective, phase.kl_weight_at(1.0))
        if not math.isfinite(bound):
            raise self.divergence(f"in phase {phase.name!r}")
        # In the user's units.
        log_det = objective.data.standardizer.log_det
        means["reconstruction"] -= log_det
        record |= {"kl_weight": kl_weight, "elbo": means["reconstruction"] - kl}
        return record | means | {"validation_elbo": validation_elbo - log_det}, bound

    def _run_batches(
        self, phase: Phase, update: Update, n_steps: int
    ) -> tuple[dict[str, float], float]:
        """Train for one epoch; return means over the samples, and the progress.

        Each process has a part of each batch, in proportion to its samples.
        """
        options, rows = self.options, update.objective.train_rows
        batches = shuffled_batches(
            len(rows), self._steps_per_epoch(update.objective), self.generators.rows
        )
        first = self.state.epoch * len(batches)
        batches = batches[: n_steps - first]
        total = torch.zeros(len(TERMS), dtype=torch.float32, device=rows.device)
        update.objective.train(True)
        for step, batch in enumerate(batches, start=first):
            progress = phase.progress(step / n_steps)
            means = update(
                rows[batch],
                phase.kl_weight_at(progress),
                phase.routing_weight_at(progress),
                phase.learning_rate_at(options, progress),
            )
            # Accumulate on the device: reading the values would synchronize with the
            # host at every step.
            total += len(batch) * means
        n_samples = torch.tensor(sum(map(len, batches)), device=total.device)
        total, n_samples = map(self.processes.sum, (total, n_samples))
        means = (total / n_samples).tolist()
        return dict(zip(TERMS, means, strict=True)), progress

    @torch.no_grad()
    def _validate(self, objective: Objective, kl_weight: float) -> float:
        """Return the mean ELBO of held-out samples, in nats."""
        objective.train(False)
        rows = objective.validation_rows
        batches = rows.split(self.options.batch_size)
        elbos = [objective.evaluate(i).elbo.elbo(kl_weight) for i in batches if len(i)]
        total = torch.cat([*elbos, torch.zeros(0, device=rows.device)]).sum()
        return self.processes.sum(total).item() / objective.data.size(rows)

    def divergence(self, where: str) -> FloatingPointError:
        """Return an error that names the parameters that may have caused it."""
        rate, decay = self.options.learning_rate, self.options.weight_decay
        remedy = f"A learning_rate below {rate:g} usually helps."
        if decay >= 1.0 and rate * decay >= 1.0:
            remedy = f"learning_rate * weight_decay = {rate * decay:g} must be below 1."
        elif self.state.contrast is not None:
            remedy += (
                " So does a lower contrastive_weight or a higher temperature. Check "
                "that views return values in the range of X."
            )
        return FloatingPointError(
            f"The loss diverged {where}: it is no longer finite. {remedy}"
        )
