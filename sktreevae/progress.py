"""A progress line for the terminal."""

from __future__ import annotations

import sys
import time

__all__ = ["ProgressLine"]


class ProgressLine:
    """Writes what training does to standard error.

    One line is kept up to date on a terminal; elsewhere each phase gets a line.

    Parameters
    ----------
    n_clusters : int
        Leaves that the tree is to have.
    """

    def __init__(self, n_clusters: int) -> None:
        self._n_clusters = n_clusters
        self._start = time.monotonic()
        self._line = ""
        self._phase: tuple[object, object] | None = None

    def __call__(self, record: dict[str, object]) -> None:
        """Show the record of an epoch."""
        phase = (record["phase"], record["n_leaves"])
        if self._phase not in (None, phase):
            self._flush()
        self._phase = phase
        seconds = time.monotonic() - self._start
        self._line = (
            f"[TreeVAE] {seconds:6.1f} s  {record['phase']:<8}  "
            f"leaves {record['n_leaves']:>3}/{self._n_clusters}  "
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
