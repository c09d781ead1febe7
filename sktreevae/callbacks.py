"""Callbacks for scikit-learn's callback interface, which is new in scikit-learn 1.9."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from .estimator import TreeVAEClustering
from .utils.validation import COUNT, Number, Options, check_argument

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from sklearn.callback import CallbackContext

__all__ = ["ELBOMonitor", "EarlyStopping"]


class _TreeVAECallback:
    """Base class of callbacks that read `history_` after each epoch."""

    def setup(self, estimator: BaseEstimator, context: CallbackContext) -> None:
        """Check the estimator, at the beginning of its fit."""
        if not isinstance(estimator, TreeVAEClustering):
            name = type(self).__name__
            raise TypeError(
                f"{name} needs a TreeVAEClustering, got {type(estimator).__name__}. "
                "Call set_callbacks of the TreeVAEClustering inside it."
            )

    def teardown(self, estimator: BaseEstimator, context: CallbackContext) -> None:
        """Do nothing, at the end of a fit."""

    def on_fit_task_begin(
        self, estimator: BaseEstimator, context: CallbackContext
    ) -> None:
        """Do nothing, at the beginning of a task."""

    def on_fit_task_end(
        self, estimator: BaseEstimator, context: CallbackContext
    ) -> bool:
        """Return whether the phase is to end, at the end of an epoch."""
        return context.task_name == "epoch" and self._on_epoch(estimator, context)


class ELBOMonitor(_TreeVAECallback):
    """Callback that records the ELBO and its terms after each epoch.

    `history_` has the epochs of one fit. The monitor keeps those of all fits of an
    estimator and of its clones, as in a cross-validation or a search. It costs next to
    nothing, unlike `sklearn.callback.ScoringMonitor`, which evaluates the model after
    each epoch.

    Records are kept in the process of the fit: with ``n_jobs`` of a search above 1, use
    ``joblib.parallel_config("threading")``.

    Needs scikit-learn 1.9.

    See Also
    --------
    EarlyStopping : Ends a phase of training by the ELBO.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sktreevae import TreeVAEClustering
    >>> from sktreevae.callbacks import ELBOMonitor
    >>> X, y = make_blobs([40, 40, 40], cluster_std=0.3, random_state=0)
    >>> monitor = ELBOMonitor()
    >>> model = TreeVAEClustering(3, max_iter=2, random_state=0)
    >>> model = model.set_callbacks(monitor).fit(X)
    >>> logs = monitor.get_logs()
    >>> [(log["phase"], log["epoch"]) for log in logs]
    [('joint', 0), ('joint', 1)]
    >>> [log["elbo"] for log in logs] == model.history_["elbo"]
    True
    """

    def __init__(self) -> None:
        self._logs: list[dict[str, Any]] = []

    def _on_epoch(self, estimator: BaseEstimator, context: CallbackContext) -> bool:
        """Record the epoch; never ask to stop."""
        place = {"run_id": context.root_uuid, "task_id_path": _path(context)}
        history = estimator.history_.items()
        self._logs.append(place | {name: values[-1] for name, values in history})
        return False

    def get_logs(self, select: str = "most_recent") -> list[dict[str, Any]]:
        """Return the records.

        Parameters
        ----------
        select : {"most_recent", "all"}, default="most_recent"
            Whether to return the records of the last run or of all runs. A run is a fit
            of the estimator, or of the outermost search or pipeline that contains it.

        Returns
        -------
        logs : list of dict
            One entry for each epoch: "run_id"; "task_id_path", the numbers of the tasks
            from the outermost one to the epoch; and the entries of
            `TreeVAEClustering.history_`. `pandas.DataFrame` takes the list.

        Raises
        ------
        ValueError
            If `select` isn't valid, or nothing has been recorded.
        """
        check_argument("select", select, Options(("most_recent", "all")))
        if not self._logs:
            raise ValueError("There are no records yet: no epoch of a fit has ended.")
        last = self._logs[-1]["run_id"]
        return [
            dict(log) for log in self._logs if select == "all" or log["run_id"] == last
        ]


class EarlyStopping(_TreeVAECallback):
    """Callback that ends a phase of training when the ELBO no longer improves.

    Each phase is stopped on its own: of the iterative growth each split, each refresh
    and the fine-tuning. The fit then goes on with the next phase.

    Without this callback, a phase may end in its second half only, after three epochs
    in a row without an improvement of 0.01 nats. To restore the best parameters of a
    phase, use the parameter `early_stopping` of the estimator.

    Needs scikit-learn 1.9.

    Parameters
    ----------
    monitor : {"elbo", "validation_elbo"}, default="elbo"
        Entry of `TreeVAEClustering.history_`. "validation_elbo" needs an estimator with
        ``early_stopping=True``, which holds samples out.
    patience : int, default=3
        Number of epochs in a row without an improvement after which a phase ends.
    tol : float, default=0.01
        Minimum improvement in nats per sample.

    Raises
    ------
    InvalidParameterError
        If a parameter isn't valid. It is a ValueError and a TypeError.

    See Also
    --------
    ELBOMonitor : Records the ELBO.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sktreevae import TreeVAEClustering
    >>> from sktreevae.callbacks import EarlyStopping
    >>> X, y = make_blobs([40, 40, 40], cluster_std=0.3, random_state=0)
    >>> model = TreeVAEClustering(3, max_iter=100, random_state=0)
    >>> model = model.set_callbacks(EarlyStopping(patience=2, tol=0.5)).fit(X)
    >>> model.n_iter_ < 50
    True
    """

    def __init__(
        self, monitor: str = "elbo", patience: int = 3, tol: float = 0.01
    ) -> None:
        check_argument("monitor", monitor, Options(("elbo", "validation_elbo")))
        check_argument("patience", patience, COUNT)
        check_argument("tol", tol, Number(Real, 0))
        self.monitor = monitor
        self.patience = patience
        self.tol = tol

    def setup(self, estimator: BaseEstimator, context: CallbackContext) -> None:
        """Check the estimator, at the beginning of its fit."""
        super().setup(estimator, context)
        if self.monitor == "validation_elbo" and not estimator.early_stopping:
            raise ValueError(
                'EarlyStopping(monitor="validation_elbo") needs a TreeVAEClustering '
                "with early_stopping=True, got early_stopping=False."
            )

    def _on_epoch(self, estimator: BaseEstimator, context: CallbackContext) -> bool:
        """Return whether none of the last epochs was an improvement."""
        history = estimator.history_
        n_epochs = history["epoch"][-1] + 1  # of this phase
        values = np.array(history[self.monitor][-n_epochs:])
        best_before = np.maximum.accumulate([-np.inf, *values[:-1]])
        is_better = values > best_before + self.tol
        return not is_better[-self.patience :].any()


def _path(context: CallbackContext) -> tuple[int, ...]:
    """Return the numbers of the tasks from the outermost one to a task."""
    above = () if context.parent is None else _path(context.parent)
    return (*above, context.task_id)
