"""Support of scikit-learn's callbacks; without effect before scikit-learn 1.9."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from sklearn.base import BaseEstimator

from ..training import Callback, ProgressLine, Task, Trainer

try:
    from sklearn.callback import (
        CallbackContext,
        CallbackSupportMixin,
        with_callbacks,
    )

    SUPPORTS_CALLBACKS = True
except ImportError:  # scikit-learn before 1.9
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
