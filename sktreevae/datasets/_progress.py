"""Progress of downloads and of decoding."""

from __future__ import annotations

import sys


class Progress:
    """One line on standard error, kept up to date; only in a terminal.

    pooch uses ``total``, ``update``, ``reset`` and ``close``.

    Parameters
    ----------
    title : str
        Beginning of the line.
    unit : str
        What the steps are.
    verbose : bool
        Whether the line is shown.
    total : int, default=0
        Number of steps. pooch sets it.
    """

    def __init__(self, title: str, unit: str, verbose: bool, total: int = 0) -> None:
        self.total = total
        self._title = title
        self._unit = unit
        self._is_shown = verbose and sys.stderr.isatty()
        self._n_done = 0
        self._percent = -1

    def update(self, n_steps: int) -> None:
        """Add steps that are done, and show their percentage if it has changed."""
        self._n_done += n_steps
        percent = 100 * min(self._n_done, self.total) // max(self.total, 1)
        if percent != self._percent:
            self._percent = percent
            bar = f"[{'#' * (percent // 5):<20}] {percent:3d}%"
            self._write(f"\r{self._title} {bar} of {self.total:,} {self._unit}")

    def reset(self) -> None:
        """Start again at the first step."""
        self._n_done = 0

    def close(self) -> None:
        """End the line."""
        self._write("\n")
        self._is_shown = False

    def _write(self, text: str) -> None:
        if self._is_shown:
            print(text, end="", file=sys.stderr, flush=True)
