"""Tasks of a fit, and the interface of the callbacks that follow them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .trainer import Trainer

__all__ = ["Callback", "Task"]


class Task:
    """A task of a fit: the fit itself, a stage, a phase of training or an epoch.

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

    def __init__(
        self, name: str, max_subtasks: int | None = 0, parent: Task | None = None
    ) -> None:
        self.name = name
        self.max_subtasks = max_subtasks
        self.parent = parent
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
