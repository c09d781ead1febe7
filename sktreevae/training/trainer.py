"""Training loop: options, phases, early stopping and history."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from ..data import n_batches, shuffled_batches
from ..model import TreeVAE
from .history import History
from .objectives import Objective
from .optimizer import AdamW
from .stopping_rule import StoppingRule
from .tasks import Task

__all__ = [
    "Callback",
    "Phase",
    "Trainer",
    "TrainingOptions",
]

T = TypeVar("T")

TERMS = ("reconstruction", "kl_root", "kl_nodes", "kl_decisions")
"""Names of the ELBO terms in a record of the history."""

WARM_UP = 0.05
"""Fraction of a phase in which the learning rate rises."""

PARTIAL_FIT_RATE = 0.25
"""Learning rate of `partial_fit`, relative to the maximum of a fit.

Each call creates an optimizer: one that is kept, with its momentum, loses clusters on
many small batches.
"""

DEFAULT_EPOCHS = 6
"""Epochs of a phase with ``max_iter="auto"``, if they have enough update steps."""


@dataclass(frozen=True)
class TrainingOptions:
    """Options common to all phases of a fit.

    Parameters
    ----------
    max_iter : int, default=None
        Maximum number of epochs of a phase. None trains for 6 epochs, or for as many as
        the phase needs for its minimum number of update steps.
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

    def single_pass(self) -> TrainingOptions:
        """Return the options of `partial_fit`: one epoch at a lower learning rate."""
        rate = PARTIAL_FIT_RATE * self.learning_rate
        return replace(self, max_iter=1, learning_rate=rate)

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return a context in which networks are evaluated in `dtype`."""
        reduced = self.dtype != torch.float32
        return torch.autocast(device.type, dtype=self.dtype, enabled=reduced)

    def learning_rate_at(self, progress: float) -> float:
        """Return the learning rate after a fraction of a phase."""
        rise = min(1.0, (progress + 1e-2) / WARM_UP)
        fall = max(0.0, 2.0 * progress - 1.0)
        return self.learning_rate * rise * 0.5 * (1.0 + math.cos(math.pi * fall))


@dataclass(frozen=True)
class Phase:
    """A phase of training, with its schedules.

    Parameters
    ----------
    name : {"initial", "split", "refresh", "finetune", "joint", "partial_fit"}
        Name in the history.
    kl_weights : tuple of two floats
        Weight of the divergences in the first step, and from the middle on.
    routing_weights : tuple of two floats
        Weight of the routing loss up to the middle of the phase, and in the last step.
    min_steps : int, default=60
        Minimum number of update steps with ``max_iter="auto"``. In 20, leaves don't
        become narrow, and the ELBO moves samples between clusters far apart.
    is_constant : bool, default=False
        Whether the learning rate and the weights are constant, as in `partial_fit`.
    stops_early : bool, default=True
        Whether the phase may end before its last epoch without validation samples.
    """

    name: str
    kl_weights: tuple[float, float]
    routing_weights: tuple[float, float]
    min_steps: int = 60
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
        return options.learning_rate_at(progress)

    def n_epochs(self, options: TrainingOptions, n_batches: int) -> int:
        """Return the maximum number of epochs."""
        if options.max_iter is not None:
            return options.max_iter
        return max(DEFAULT_EPOCHS, math.ceil(self.min_steps / n_batches))


class Callback(Protocol):
    """Follows the tasks of a fit."""

    def on_task_begin(self, task: Task, trainer: Trainer) -> None:
        """Receive a task that begins."""

    def on_task_end(self, task: Task, trainer: Trainer) -> bool | None:
        """Receive a task that has ended; return True to skip its later siblings."""

    def close(self) -> None:
        """Release resources at the end of a fit, also of a failed one."""


class Trainer:
    """Runs the phases of a fit, and keeps what they share.

    As a context manager, it begins and ends the task of the fit, and closes the
    callbacks.

    Parameters
    ----------
    options : TrainingOptions
        Optimizer and stopping rule.
    generator : torch.Generator
        The only source of randomness of the training.
    callbacks : sequence of Callback, default=()
        Receive the tasks of the fit.
    root : Task, default=None
        The fit.
    history : History, default=None
        Receives the records; an empty one by default.

    Attributes
    ----------
    root, task : Task
        The fit, and the present task.
    log_det : float
        Log-density of standardized samples minus that of samples in the user's units.
        The ELBOs of records are in the user's units.
    model : TreeVAE or None
        The model, once a growth has built it.
    snapshot : callable or None
        Returns a copy of the result as if training had stopped now. None until there
        is a model.
    attributes_now : callable or None
        Returns the fitted attributes of the estimator as if training had stopped now,
        or None before the first epoch. None until the data is known.
    keeps_model : bool
        Whether a KeyboardInterrupt ends the training, and keeps the model.
    is_interrupted : bool
        Whether a KeyboardInterrupt has ended the training.
    """

    def __init__(
        self,
        options: TrainingOptions,
        generator: torch.Generator,
        callbacks: Sequence[Callback] = (),
        root: Task | None = None,
        history: History | None = None,
    ) -> None:
        self.options = options
        self.generator = generator
        self.callbacks = callbacks
        self.root = self.task = root or Task("fit", None)
        self.history = history or History()
        self.log_det = 0.0
        self.model: TreeVAE | None = None
        self.snapshot: Callable[[], object] | None = None
        self.attributes_now: Callable[[], dict[str, object] | None] | None = None
        self.keeps_model = False
        self.is_interrupted = False
        self._stopping_rule: StoppingRule | None = None

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
            # Before the first epoch there is no model to stop with.
            parent.is_stopped |= self._end(self.task) and len(self.history.records) > 0
        finally:
            self.task = parent

    def interruptible(
        self, function: Callable[[], T], otherwise: Callable[[], T] | None = None
    ) -> T:
        """Call a function, and another one or it again after a first KeyboardInterrupt.

        Before the first epoch there is no model to keep. Then, without `keeps_model`,
        and at the second interrupt, the exception is raised.
        """
        try:
            return function()
        except KeyboardInterrupt:
            if self.is_interrupted or not (self.keeps_model and self.history.records):
                raise
            self.is_interrupted = True
            return (otherwise or function)()

    def best_parameters(self) -> AbstractContextManager[None]:
        """Return a context with the parameters that the phase would end with now."""
        if self._stopping_rule is None:
            return nullcontext()
        return self._stopping_rule.best_parameters()

    def _begin(self, task: Task) -> None:
        for callback in self.callbacks:
            callback.on_task_begin(task, self)

    def _end(self, task: Task) -> bool:
        """Tell all callbacks; return whether one asks to skip the later siblings."""
        answers = [callback.on_task_end(task, self) for callback in self.callbacks]
        return any(answers)

    def _close(self) -> None:
        with ExitStack() as stack:
            for callback in self.callbacks:
                stack.callback(callback.close)

    def run(
        self, phase: Phase, objective: Objective, train: Tensor, validation: Tensor
    ) -> None:
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
        train, validation : Tensor of int
            Samples of the objective to train on, and to stop by; the latter may be
            empty.

        Raises
        ------
        FloatingPointError
            If the loss is no longer finite.
        """
        optimizer = AdamW(objective.parameters(), self.options.weight_decay)
        n_epochs = phase.n_epochs(
            self.options, n_batches(len(train), self.options.batch_size)
        )
        self._stopping_rule = stopping_rule = StoppingRule(
            optimizer.parameters,
            self.options.n_iter_no_change,
            self.options.tol,
            keep_best=len(validation) > 0,
        )
        with self.subtask(phase.name, n_epochs) as task:
            try:
                for epoch in range(n_epochs):
                    with self.subtask("epoch") as epoch_task:
                        record, bound = self._train_epoch(
                            phase,
                            objective,
                            optimizer,
                            (train, validation),
                            (epoch, n_epochs),
                        )
                        self.history.append(record)
                        epoch_task.info = record
                        # ELBOs of training samples are comparable once their weight is
                        # constant.
                        may_stop = 2 * epoch >= n_epochs and (
                            phase.stops_early or len(validation)
                        )
                        has_converged = may_stop and stopping_rule.should_stop(bound)
                    if has_converged or task.is_stopped:
                        break
            finally:
                # Also for a fit that is interrupted, and keeps the model.
                stopping_rule.restore_best()
                self._stopping_rule = None
            # The last update comes after the last ELBO.
            if not nn.utils.get_total_norm(optimizer.parameters).isfinite():
                raise self._divergence(phase, objective)

    def _train_epoch(
        self,
        phase: Phase,
        objective: Objective,
        optimizer: AdamW,
        samples: tuple[Tensor, Tensor],
        position: tuple[int, int],
    ) -> tuple[dict[str, object], float]:
        """Train for one epoch, and evaluate.

        Parameters
        ----------
        phase, objective, optimizer
            See `run`.
        samples : tuple of two Tensors
            `train` and `validation` of `run`.
        position : tuple of two int
            The epoch, and the number of epochs.

        Returns
        -------
        record : dict
            Record of the epoch in the history.
        bound : float
            The ELBO that the phase is stopped by.
        """
        train, validation = samples
        means, progress = self._run_epoch(phase, objective, optimizer, train, position)
        kl_weight = phase.kl_weight_at(progress)
        kl = sum(means[term] for term in TERMS) - means["reconstruction"]
        annealed_elbo = means["reconstruction"] - kl_weight * kl
        validation_elbo = math.nan
        if len(validation):
            # Weighted as at the end of the phase, so that epochs are comparable.
            annealed_elbo = validation_elbo = self._validate(
                objective, validation, phase.kl_weight_at(1.0)
            )
        if not math.isfinite(annealed_elbo):
            raise self._divergence(phase, objective)
        means["reconstruction"] -= self.log_det
        record = {
            "phase": phase.name,
            "epoch": position[0],
            "n_leaves": objective.n_leaves,
            "learning_rate": phase.learning_rate_at(self.options, progress),
            "kl_weight": kl_weight,
            "elbo": means["reconstruction"] - kl,
            **means,
            "validation_elbo": validation_elbo - self.log_det,
        }
        return record, annealed_elbo

    def _run_epoch(
        self,
        phase: Phase,
        objective: Objective,
        optimizer: AdamW,
        train: Tensor,
        position: tuple[int, int],
    ) -> tuple[dict[str, float], float]:
        """Train for one epoch; return means over the samples, and the progress."""
        epoch, n_epochs = position
        batches = shuffled_batches(len(train), self.options.batch_size, self.generator)
        total = torch.zeros(len(TERMS) + 1, dtype=torch.float32, device=train.device)
        objective.train(True)
        for i, batch in enumerate(batches):
            progress = phase.progress((epoch + i / len(batches)) / n_epochs)
            with self.options.autocast(train.device):
                terms = objective.evaluate(train[batch])
            loss = -terms.elbo.elbo(phase.kl_weight_at(progress)).mean()
            loss = loss + phase.routing_weight_at(progress) * terms.routing_loss
            contrast = loss.new_tensor(math.nan)
            if terms.contrast is not None:
                contrast = terms.contrast
                loss = loss + contrast
            optimizer.step(loss, phase.learning_rate_at(self.options, progress))
            # Accumulate on the device: reading the values would synchronize with the
            # host at every step.
            sums = [getattr(terms.elbo, term).sum() for term in TERMS]
            total += torch.stack([*sums, contrast * len(batch)]).detach()
        means = (total / len(train)).tolist()
        return dict(zip((*TERMS, "contrast"), means, strict=True)), progress

    @torch.no_grad()
    def _validate(self, objective: Objective, index: Tensor, kl_weight: float) -> float:
        """Return the mean ELBO of held-out samples, in nats."""
        objective.train(False)
        batches = index.split(self.options.batch_size)
        elbos = [objective.evaluate(i).elbo.elbo(kl_weight) for i in batches]
        return torch.cat(elbos).mean().item()

    def _divergence(self, phase: Phase, objective: Objective) -> FloatingPointError:
        """Return an error that names the parameters that may have caused it."""
        rate, decay = self.options.learning_rate, self.options.weight_decay
        remedy = f"A learning_rate below {rate:g} usually helps."
        if decay >= 1.0 and rate * decay >= 1.0:
            remedy = f"learning_rate * weight_decay = {rate * decay:g} must be below 1."
        elif objective.has_contrast:
            remedy += (
                " So does a lower contrastive_weight or a higher temperature. Check "
                "that views return values in the range of X."
            )
        return FloatingPointError(
            f"The loss diverged in phase {phase.name!r}: it is no longer finite. "
            f"{remedy}"
        )
