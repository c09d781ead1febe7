"""Callbacks of the trainer: the progress line for the terminal."""

from __future__ import annotations

import sys
import time

import numpy as np

from .trainer import Trainer

__all__ = ["ProgressLine"]


class ProgressLine:
    """Writes the progress of training to standard error.

    A terminal shows one line for each phase, kept up to date. Elsewhere each phase is
    written once, at its end.

    Parameters
    ----------
    n_clusters : int, default=None
        Number of leaves asked for; None if the fit finds the number.
    """

    def __init__(self, n_clusters: int | None = None) -> None:
        self._target = "" if n_clusters is None else f"/{n_clusters}"
        self._start = time.monotonic()
        self._line = ""
        self._phase: tuple[object, object] | None = None

    def on_choices(self, choices: dict[str, object]) -> None:
        """Show the features, and how much less the partition costs than others."""
        seconds = time.monotonic() - self._start
        text = f"features: {choices['features']} ({choices['n_features']})"
        if "n_neighbors" in choices:
            text += f", {choices['n_neighbors']} neighbors"
            text += f", partition: {choices['partition']}"
            costs = choices["partition_costs"].values()
            least = min(costs)
            # Several methods may find the same partition.
            others = [cost for cost in costs if not np.isclose(cost, least)]
            if others:
                text += f" ({min(others) - least:.2g} bits below the next)"
        sys.stderr.write(f"[TreeVAE] {seconds:6.1f} s  {text}\n")
        sys.stderr.flush()

    def on_epoch_end(self, record: dict[str, object], trainer: Trainer) -> None:
        """Show the record of an epoch."""
        phase = (record["phase"], record["n_leaves"])
        if self._phase not in (None, phase):
            self._flush()
        self._phase = phase
        seconds = time.monotonic() - self._start
        self._line = (
            f"[TreeVAE] {seconds:6.1f} s  {record['phase']:<11}  "
            f"leaves {record['n_leaves']:>3}{self._target}  "
            f"epoch {record['epoch'] + 1:>3}  elbo {record['elbo']:.2f}"
        )
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{self._line:<78}")
            sys.stderr.flush()

    def close(self) -> None:
        """Finish the last line."""
        if self._phase is not None:
            self._flush()

    def _flush(self) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\n")
        else:
            sys.stderr.write(self._line + "\n")
        sys.stderr.flush()
