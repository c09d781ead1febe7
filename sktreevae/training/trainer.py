"""Training loop: options, phases, early stopping and history."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from ..data import n_batches, shuffled_batches
from ..model import TreeVAE
from .objectives import Objective
from .optimizer import AdamW

__all__ = [
    "Callback",
    "History",
    "Phase",
    "Trainer",
    "TrainingOptions",
]

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
    min_steps : int, default=20
        Minimum number of update steps with ``max_iter="auto"``.
    is_constant : bool, default=False
        Whether the learning rate and the weights are constant, as in `partial_fit`.
    stops_early : bool, default=True
        Whether the phase may end before its last epoch without validation samples.
    """

    name: str
    kl_weights: tuple[float, float]
    routing_weights: tuple[float, float]
    min_steps: int = 20
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


class History:
    """Records of all epochs of a fit."""

    def __init__(self) -> None:
        self.records: list[dict[str, object]] = []

    def as_lists(self) -> dict[str, list]:
        """Return one list for each entry of the records."""
        names = self.records[0] if self.records else ()
        return {name: [record[name] for record in self.records] for name in names}


class Callback(Protocol):
    """Observes a fit."""

    def on_choices(self, choices: dict[str, object]) -> None:
        """Receive the features and the partition that the fit has chosen."""

    def on_epoch_end(self, record: dict[str, object], trainer: Trainer) -> None:
        """Receive the record of an epoch, and the trainer with model and history."""

    def close(self) -> None:
        """Release resources at the end of a fit, also of a failed one."""


class Trainer:
    """Runs the phases of a fit, and keeps what they share.

    Parameters
    ----------
    options : TrainingOptions
        Optimizer and stopping rule.
    generator : torch.Generator
        The only source of randomness of the training.
    callbacks : sequence of Callback, default=()
        Receive the record of each epoch. The context manager closes them.

    Attributes
    ----------
    history : History
        One record for each epoch of all phases.
    model : TreeVAE or None
        The model, once a growth has built it.
    """

    def __init__(
        self,
        options: TrainingOptions,
        generator: torch.Generator,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.options = options
        self.generator = generator
        self.callbacks = callbacks
        self.history = History()
        self.model: TreeVAE | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with ExitStack() as stack:
            for callback in self.callbacks:
                stack.callback(callback.close)

    def report(self, choices: dict[str, object]) -> None:
        """Tell the callbacks what the fit has chosen."""
        for callback in self.callbacks:
            callback.on_choices(choices)

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
        early_stopping = _EarlyStopping(
            optimizer.parameters, self.options, keep_best=len(validation) > 0
        )
        for epoch in range(n_epochs):
            means, progress = self._run_epoch(
                phase, objective, optimizer, train, (epoch, n_epochs)
            )
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
            record = {
                "phase": phase.name,
                "epoch": epoch,
                "n_leaves": objective.n_leaves,
                "learning_rate": phase.learning_rate_at(self.options, progress),
                "kl_weight": kl_weight,
                "elbo": means["reconstruction"] - kl,
                **means,
                "validation_elbo": validation_elbo,
            }
            self._record(record)
            # ELBOs of training samples are comparable once their weight is constant.
            may_stop = 2 * epoch >= n_epochs and (phase.stops_early or len(validation))
            if may_stop and early_stopping.should_stop(annealed_elbo):
                break
        early_stopping.restore_best()
        # The last update comes after the last ELBO.
        if not nn.utils.get_total_norm(optimizer.parameters).isfinite():
            raise self._divergence(phase, objective)

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

    def _record(self, record: dict[str, object]) -> None:
        self.history.records.append(record)
        for callback in self.callbacks:
            callback.on_epoch_end(record, self)

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


class _EarlyStopping:
    """Counts epochs without improvement, and keeps the best parameters."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        options: TrainingOptions,
        *,
        keep_best: bool,
    ) -> None:
        self._parameters = parameters
        self._options = options
        self._keep_best = keep_best
        self._best = -math.inf
        self._best_values: list[Tensor] = []
        self._n_epochs_no_improvement = 0

    def should_stop(self, elbo: float) -> bool:
        improved = elbo > self._best + self._options.tol
        self._n_epochs_no_improvement = (
            0 if improved else self._n_epochs_no_improvement + 1
        )
        if elbo > self._best:
            self._best = elbo
            if self._keep_best:
                self._best_values = [p.detach().clone() for p in self._parameters]
        return self._n_epochs_no_improvement >= self._options.n_iter_no_change

    @torch.no_grad()
    def restore_best(self) -> None:
        for parameter, value in zip(self._parameters, self._best_values, strict=False):
            parameter.copy_(value)
