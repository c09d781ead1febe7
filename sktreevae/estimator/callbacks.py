"""Callbacks of a fit: the progress line of `verbose`, and those of scikit-learn."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from sklearn.base import BaseEstimator

from ..training.trainer import Callback, Task, Trainer

try:
    from sklearn.callback import CallbackContext, CallbackSupportMixin, with_callbacks

    SUPPORTS_CALLBACKS = True
except ImportError:  # scikit-learn before 1.9, without effect
    SUPPORTS_CALLBACKS = False

    class CallbackSupportMixin:
        """Without `set_callbacks`, which scikit-learn before 1.9 doesn't have."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method that does the same, with as many frames as in 1.9."""

        @wraps(method)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return wrapper


def make_callbacks(
    estimator: BaseEstimator, task: Task, X: object, y: object
) -> list[Callback]:
    """Return the callbacks of a fit, and set up those of scikit-learn.

    Parameters
    ----------
    estimator : TreeVAEClustering
        The estimator, in a method with the decorator `with_callbacks`.
    task : Task
        The fit.
    X, y : object
        Arguments of the method.
    """
    callbacks: list[Callback] = []
    if estimator.verbose:
        callbacks.append(ProgressLine(estimator.n_clusters))
    if SUPPORTS_CALLBACKS:
        context = estimator._init_callback_context(task.name, 0, task.max_subtasks)
        callbacks.append(SklearnCallbacks(estimator, context, X, y))
    return callbacks


@dataclass(eq=False)
class SklearnCallbacks:
    """Passes the tasks of a fit on to the callbacks of scikit-learn.

    During the fit, `history_` of the estimator has the epochs so far. All that takes
    time is computed if a callback asks for it.

    Parameters
    ----------
    estimator : TreeVAEClustering
        The estimator.
    context : CallbackContext
        Context of the fit.
    X, y : object
        Training data.
    """

    estimator: BaseEstimator
    context: CallbackContext
    X: object
    y: object

    def __post_init__(self) -> None:
        self._contexts: dict[Task, CallbackContext] = {}
        self._data = {"estimator": self.estimator, "X": self.X, "y": self.y}

    def on_task_begin(self, task: Task, trainer: Trainer) -> None:
        """Create the context of a task, and call the callbacks."""
        context = self.context
        if task.parent is None:
            self.estimator.history_ = trainer.history.lists
        else:
            context = self._contexts[task.parent].subcontext(
                task.name, max_subtasks=task.max_subtasks
            )
        self._contexts[task] = context
        context.call_on_fit_task_begin(
            **self._data, reconstruction_attributes=trainer.attributes_now
        )

    def on_task_end(self, task: Task, trainer: Trainer) -> bool:
        """Call the callbacks; return whether one of them asks to stop."""
        # At the end of the fit the estimator itself has its attributes.
        is_fit = task.parent is None
        return self._contexts.pop(task).call_on_fit_task_end(
            **self._data,
            reconstruction_attributes={} if is_fit else trainer.attributes_now,
        )

    def close(self) -> None:
        """Do nothing: scikit-learn calls `teardown`."""


PARENTS = ("fit", "partial_fit", "growth")
"""Tasks that are shown by their parts."""


class ProgressLine:
    """Writes the progress of a fit to standard error.

    A terminal shows one line, kept up to date. Elsewhere each stage and each epoch is a
    line.

    Parameters
    ----------
    n_clusters : int, default=None
        Number of leaves asked for; None if the fit finds the number.
    """

    def __init__(self, n_clusters: int | None = None) -> None:
        self._n_clusters = n_clusters
        self._start = time.monotonic()
        self._width = 0

    def on_task_begin(self, task: Task, trainer: Trainer) -> None:
        """Show in a terminal which stage or phase begins."""
        if task.name not in PARENTS and task.name != "epoch" and sys.stderr.isatty():
            self._write(f"{task.name} ...")

    def on_task_end(self, task: Task, trainer: Trainer) -> None:
        """Show a stage or an epoch that has ended."""
        if task.name == "n_clusters":
            self._n_clusters = task.info["n_clusters"]
        if task.name == "epoch":
            self._write(self._describe_epoch(task))
        elif task.max_subtasks == 0:
            duration = f"{time.monotonic() - task.start:.1f} s"
            choices = _describe_choices(task.info)
            self._write(f"{task.name:<14}  {duration}  {choices}")

    def close(self) -> None:
        """End the line of a terminal."""
        if self._width:
            sys.stderr.write("\n")
            sys.stderr.flush()

    def _write(self, text: str) -> None:
        line = f"[TreeVAE] {time.monotonic() - self._start:6.1f} s  {text}".rstrip()
        if sys.stderr.isatty():
            # A line that wraps could not be written over.
            line = line[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write(f"\r{line:<{self._width}}")
            self._width = len(line)
        else:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def _describe_epoch(self, task: Task) -> str:
        record, phase = task.info, task.parent
        target = "" if self._n_clusters is None else f"/{self._n_clusters}"
        n_done, n_epochs = record["epoch"] + 1, phase.max_subtasks
        left = (time.monotonic() - phase.start) / n_done * (n_epochs - n_done)
        where = "left"
        growth, n_leaves = phase.parent, record["n_leaves"]
        if growth.name == "growth" and self._n_clusters is not None:
            # The present phase and those before have made a split for each leaf.
            per_split = (time.monotonic() + left - growth.start) / max(n_leaves - 1, 1)
            left += per_split * max(self._n_clusters - n_leaves, 0)
            where = "left in growth"
        return (
            f"{record['phase']:<8}  leaves {n_leaves:>2}{target}  "
            f"epoch {n_done:>3}/{n_epochs}  {_format_duration(left)} {where}  "
            f"elbo {record['elbo']:.2f}"
        )


def _describe_choices(info: dict[str, object]) -> str:
    """Describe the features, the number of clusters, or their partition."""
    if "features" in info:
        return f"{info['features']} ({info['n_features']})"
    if "partition" in info:
        return f"{info['n_neighbors']} neighbors, partition: {info['partition']}"
    return str(info.get("n_clusters", ""))


def _format_duration(seconds: float) -> str:
    """Return a duration in the two largest units.

    Examples
    --------
    >>> [_format_duration(seconds) for seconds in (7.6, 184.0, 7500.0)]
    ['8 s', '3 min 04 s', '2 h 05 min']
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
