"""Tasks of a fit, which callbacks follow."""

from __future__ import annotations

import time


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
