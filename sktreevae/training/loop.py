"""One phase of training, for the whole model or a part of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from ..model import ElboTerms
from .batches import shuffled_batches

__all__ = [
    "Descent",
    "Evaluation",
    "History",
    "LoopOptions",
    "Part",
    "Phase",
    "run_phase",
]

TERMS = ("reconstruction", "kl_root", "kl_nodes", "kl_decisions")
"""Names of the terms of the bound, in a record of the history."""

WARM_UP = 0.05
"""Fraction of a phase in which the learning rate rises."""


@dataclass(frozen=True)
class Evaluation:
    """What a phase asks of a part, for some samples.

    Parameters
    ----------
    terms : ElboTerms
        The bound.
    distance : Tensor of shape ()
        How far samples are from their targets: the mean surprise -log P(l | x) in nats,
        l being the leaf that a sample is guided to.
    contrast : Tensor of shape (), default=None
        Loss in nats for treating variants of a sample differently; None if there are no
        variants.
    """

    terms: ElboTerms
    distance: Tensor
    contrast: Tensor | None = None


class Part(Protocol):
    """What a phase trains."""

    n_leaves: int

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters to train."""

    def evaluate(self, index: Tensor) -> Evaluation:
        """Return the bound of some samples, and what else they are asked for."""


@dataclass(frozen=True)
class LoopOptions:
    """What all phases of a fit have in common; see `TreeVAEClustering`."""

    max_iter: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    n_iter_no_change: int
    tol: float
    dtype: torch.dtype = torch.float32

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return a context in which networks are evaluated in `dtype`."""
        reduced = self.dtype != torch.float32
        return torch.autocast(device.type, dtype=self.dtype, enabled=reduced)

    def learning_rate_at(self, progress: float) -> float:
        """Learning rate after a fraction of a phase."""
        rise = min(1.0, (progress + 1e-2) / WARM_UP)
        fall = max(0.0, 2.0 * progress - 1.0)
        return self.learning_rate * rise * 0.5 * (1.0 + math.cos(math.pi * fall))


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    Parameters
    ----------
    name : {"initial", "split", "refresh", "finetune", "joint", "stream"}
        Its name in the history.
    kl_weights : tuple of two floats
        Weight of the divergences in the first step, and from the middle on.
    guidance_weight : float
        Weight of the way to the target leaves up to the middle; 0 at the end.
    min_steps : int, default=20
        Least update steps, for data with few batches an epoch.
    steady : bool, default=False
        Whether rate and weights stay what they are in the middle of a phase, for one
        that follows others and will be followed.
    """

    name: str
    kl_weights: tuple[float, float]
    guidance_weight: float
    min_steps: int = 20
    steady: bool = False

    def progress(self, elapsed: float) -> float:
        """Where the schedules are after a fraction of the phase."""
        return 0.5 if self.steady else elapsed

    def kl_weight(self, progress: float) -> float:
        """Weight of the divergences after a fraction of the phase."""
        start, end = self.kl_weights
        return start + (end - start) * min(1.0, 2.0 * progress)

    def guidance(self, progress: float) -> float:
        """Weight of the way to the target leaves after a fraction of the phase."""
        return self.guidance_weight * min(1.0, 2.0 * (1.0 - progress))


class Descent:
    """AdamW, with the learning rate of `LoopOptions.learning_rate_at`.

    Matrices decay, but neither biases nor constants, which start from data.

    Parameters
    ----------
    parameters : iterable of Parameter
        What is trained. Empty ones, of nodes that a tree doesn't have, are left out.
    options : LoopOptions
        Rate and decay.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], options: LoopOptions
    ) -> None:
        self.parameters = [p for p in parameters if p.numel()]
        self._options = options
        matrices = [p for p in self.parameters if _is_matrix(p)]
        others = [p for p in self.parameters if not _is_matrix(p)]
        self._optimizer = torch.optim.AdamW(
            [{"params": matrices}, {"params": others, "weight_decay": 0.0}],
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
            fused=True,
        )

    def step(self, loss: Tensor, progress: float) -> None:
        """Go down the gradient of a loss, after a fraction of the way."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._options.learning_rate_at(progress)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()


def _is_matrix(parameter: Tensor) -> bool:
    """Tell a matrix, or a stack of them, from a vector: a stacked bias has one row."""
    return parameter.ndim > 1 and parameter.shape[-2] > 1


@dataclass
class History:
    """What happened in each epoch of a fit.

    Parameters
    ----------
    on_epoch : callable, default=None
        Is called with each record.
    """

    on_epoch: Callable[[dict[str, object]], None] | None = None
    records: list[dict[str, object]] = field(default_factory=list)

    def append(self, record: dict[str, object]) -> None:
        """Add the record of an epoch."""
        self.records.append(record)
        if self.on_epoch is not None:
            self.on_epoch(record)

    def as_lists(self) -> dict[str, list]:
        """Return one list for each entry of the records."""
        names = self.records[0] if self.records else ()
        return {name: [record[name] for record in self.records] for name in names}


def run_phase(
    phase: Phase,
    part: Part,
    train: Tensor,
    validation: Tensor,
    *,
    options: LoopOptions,
    generator: torch.Generator,
    history: History,
) -> None:
    """Maximise the bound of a part until it no longer improves.

    The learning rate rises, stays, and falls along a half cosine from the middle on.
    From there, too, the phase ends when `n_iter_no_change` epochs in a row don't
    improve the bound by `tol` nats: that of the validation samples, whose best
    parameters are then restored, or of the training samples where there are none.

    Parameters
    ----------
    phase : Phase
        Name and weights.
    part : Part
        What is trained.
    train, validation : Tensor of int
        Samples of the part to train on, and to stop by.
    options : LoopOptions
        Optimiser and stopping rule.
    generator : torch.Generator
        Draws the order of the samples.
    history : History
        Gets a record for each epoch.

    Raises
    ------
    FloatingPointError
        If the loss is no longer finite.
    """
    descent = Descent(part.parameters(), options)
    n_batches = -(-len(train) // options.batch_size)
    n_epochs = max(options.max_iter, -(-phase.min_steps // n_batches))
    stopper = _Stopper(descent.parameters, options, keep_best=len(validation) > 0)
    for epoch in range(n_epochs):
        batches = shuffled_batches(len(train), options.batch_size, generator)
        total = torch.zeros(len(TERMS) + 1, device=train.device)
        for step, batch in enumerate(batches):
            progress = phase.progress((epoch + step / n_batches) / n_epochs)
            with options.autocast(train.device):
                found = part.evaluate(train[batch])
            loss = -found.terms.elbo(phase.kl_weight(progress)).mean()
            loss = loss + phase.guidance(progress) * found.distance
            contrast = loss.new_tensor(math.nan)
            if found.contrast is not None:
                contrast = found.contrast
                loss = loss + contrast
            descent.step(loss, progress)
            # Summed without a word to the host.
            sums = [getattr(found.terms, term).sum() for term in TERMS]
            total += torch.stack([*sums, contrast * len(batch)]).detach()
        *means, contrast = (total / len(train)).tolist()
        means = dict(zip(TERMS, means, strict=True))
        kl = sum(means.values()) - means["reconstruction"]
        kl_weight = phase.kl_weight(progress)
        bound = means["reconstruction"] - kl_weight * kl
        if len(validation):
            bound = _validate(part, validation, options.batch_size, kl_weight)
        if not math.isfinite(bound):
            raise _divergence(phase, options)
        record = {
            "phase": phase.name,
            "epoch": epoch,
            "n_leaves": part.n_leaves,
            "learning_rate": options.learning_rate_at(progress),
            "kl_weight": kl_weight,
            "elbo": means["reconstruction"] - kl,
            **means,
            "contrast": contrast,
            "validation_elbo": bound if len(validation) else math.nan,
        }
        history.append(record)
        # Bounds are comparable once the weight of the divergences has settled.
        if 2 * epoch >= n_epochs and stopper.should_stop(bound):
            break
    stopper.restore_best()
    # The last step comes after the last bound.
    if not nn.utils.get_total_norm(descent.parameters).isfinite():
        raise _divergence(phase, options)


def _divergence(phase: Phase, options: LoopOptions) -> FloatingPointError:
    return FloatingPointError(
        f"The loss diverged in phase {phase.name!r}: it is no longer finite. A "
        f"learning_rate below {options.learning_rate} usually helps."
    )


@torch.no_grad()
def _validate(part: Part, index: Tensor, batch_size: int, kl_weight: float) -> float:
    batches = index.split(batch_size)
    bounds = [part.evaluate(i).terms.elbo(kl_weight) for i in batches]
    return torch.cat(bounds).mean().item()


class _Stopper:
    """Counts epochs without improvement, and keeps the best parameters."""

    def __init__(
        self, parameters: list[nn.Parameter], options: LoopOptions, *, keep_best: bool
    ) -> None:
        self._parameters = parameters
        self._options = options
        self._keep_best = keep_best
        self._best = -math.inf
        self._best_values: list[Tensor] = []
        self._n_idle = 0

    def should_stop(self, bound: float) -> bool:
        improved = bound > self._best + self._options.tol
        self._n_idle = 0 if improved else self._n_idle + 1
        if bound > self._best:
            self._best = bound
            if self._keep_best:
                self._best_values = [p.detach().clone() for p in self._parameters]
        return self._n_idle >= self._options.n_iter_no_change

    @torch.no_grad()
    def restore_best(self) -> None:
        for parameter, value in zip(self._parameters, self._best_values, strict=False):
            parameter.copy_(value)
