"""Display of the history of a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from . import _base
from ._base import Ints

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UPPER = {
    "elbo": "ELBO (larger is better)",
    "reconstruction": "reconstruction (log-likelihood)",
    "validation_elbo": "validation ELBO",
}
LOWER = {
    "kl_root": "KL root",
    "kl_nodes": "KL nodes",
    "kl_decisions": "KL decisions",
    "contrast": "contrastive loss",
}
"""Columns of the history in each panel, and their names in the legends."""


@dataclass(eq=False, repr=False)
class HistoryDisplay:
    """ELBO and its terms over the epochs of a fit.

    The upper panel has the ELBO and the reconstruction term, the expected
    log-likelihood. The lower panel has the Kullback-Leibler divergences between
    posterior and prior. The ELBO is the reconstruction term minus their sum. All are in
    nats per sample, of standardized data.

    If there are several phases of training, bands mark them. Lines are interrupted
    where a phase starts: in a "split" phase the terms are those of the new leaves only.

    Create it with `from_estimator`. All parameters are stored as attributes. Read more
    in the :ref:`User Guide <displays>`.

    Parameters
    ----------
    history : dict of lists
        ``history_`` of a fitted estimator.

    Attributes
    ----------
    lines_ : dict of str to matplotlib Line2D
        Lines by their names in `history`.
    legends_ : list of matplotlib Legend
        Legends of the two panels.
    axes_ : ndarray of shape (2,) of matplotlib Axes
        Upper and lower panel.
    ax_ : matplotlib Axes
        Axes that contain the panels.
    figure_ : matplotlib Figure
        Figure of the axes.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sktreevae import TreeVAEClustering
    >>> from sktreevae.display import HistoryDisplay
    >>> X, y = make_blobs([40, 40, 40], cluster_std=0.5, random_state=0)
    >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
    >>> display = HistoryDisplay.from_estimator(model)
    >>> list(display.lines_)
    ['elbo', 'reconstruction', 'kl_root', 'kl_nodes', 'kl_decisions']
    """

    history: Mapping[str, Sequence[Any]]

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None) -> Self:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : TreeVAEClustering
            Fitted estimator.
        ax : matplotlib Axes, default=None
            Axes that the panels are drawn in. By default a new figure is created.

        Returns
        -------
        display : HistoryDisplay
            The display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has no history.
        """
        return cls(_base.check_fitted(estimator, "history_")).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the history.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes that the panels are drawn in. By default a new figure is created.

        Returns
        -------
        display : HistoryDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        self.ax_ = ax = _base.make_axes(ax, 7.5, 5.0)
        self.figure_ = ax.figure
        ax.set_axis_off()
        upper = ax.inset_axes([0.0, 0.53, 1.0, 0.47])
        lower = ax.inset_axes([0.0, 0.0, 1.0, 0.47], sharex=upper)
        self.axes_ = np.array([upper, lower])
        starts = self._phase_starts()
        self.lines_ = {}
        for panel, names in zip(self.axes_, (UPPER, LOWER), strict=True):
            self._draw_lines(panel, names, starts)
            panel.set_ylabel("nats/sample")
            if len(starts) > 1:
                self._mark_phases(panel, starts)
        # Bands have names in the upper panel only.
        kl = [line for name, line in self.lines_.items() if name in LOWER]
        self.legends_ = [
            upper.legend(fontsize=_base.FONT_SIZE),
            lower.legend(handles=kl, fontsize=_base.FONT_SIZE),
        ]
        upper.tick_params(axis="x", labelbottom=False)
        upper.set_xlim(0.5, len(self.history["epoch"]) + 0.5)
        lower.xaxis.get_major_locator().set_params(integer=True)
        lower.set_ylim(bottom=0.0)
        lower.set_xlabel("epoch")
        _base.keep_inside(ax)
        return self

    def _phase_starts(self) -> Ints:
        """Return the index of the first epoch of each phase."""
        phase, epoch = np.array(self.history["phase"]), np.array(self.history["epoch"])
        is_new = (phase[1:] != phase[:-1]) | (epoch[1:] <= epoch[:-1])
        return np.append(0, np.flatnonzero(is_new) + 1)

    def _mark_phases(self, panel: Axes, starts: Ints) -> None:
        """Draw a band for each phase, in the color of its kind."""
        from matplotlib import colormaps

        phase = np.array(self.history["phase"])
        kinds = dict.fromkeys(phase[starts])
        colors = dict(zip(kinds, cycle(colormaps["Set3"].colors), strict=False))
        edges = np.append(starts, len(phase)) + 0.5
        for start, left, right in zip(starts, edges[:-1], edges[1:], strict=True):
            kind = phase[start]
            style = {"color": colors[kind], "alpha": 0.35, "linewidth": 0, "zorder": 0}
            # A kind has one entry in the legend.
            label = f"{kind} phase" if kind in kinds else None
            kinds.pop(kind, None)
            panel.axvspan(left, right, label=label, **style)
            panel.axvline(left, color="0.6", linewidth=0.5, zorder=0.5)

    def _draw_lines(self, panel: Axes, names: Mapping[str, str], starts: Ints) -> None:
        """Draw one line for each column, with a gap before each phase."""
        n_epochs = len(self.history["epoch"])
        epoch = np.insert(np.arange(1.0, n_epochs + 1), starts, np.nan)
        # Phases of a single epoch have no line, but a marker.
        is_single = np.diff([*starts, n_epochs]) == 1
        markers = (starts + np.arange(1, len(starts) + 1))[is_single].tolist()
        is_known = {name: ~np.isnan(self.history[name]).all() for name in names}
        for i, name in enumerate(filter(is_known.get, names)):
            values = np.insert(np.array(self.history[name], float), starts, np.nan)
            (self.lines_[name],) = panel.plot(
                epoch,
                values,
                color=f"C{i}",
                marker=".",
                markevery=markers,
                label=names[name],
            )
