"""Display of the history of a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ._base import Floats, Ints, check_fitted, make_axes
from ._text import FONT_SIZE, apply_layout, artist_sizes, keep_inside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

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

GAP = 0.03
"""Space between the panels, relative to the height of the axes."""


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
        return cls(check_fitted(estimator, "history_")).plot(ax)

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
        self.ax_ = ax = make_axes(ax, 7.5, 5.0)
        self.figure_ = ax.figure
        ax.set_axis_off()
        apply_layout(ax)
        starts = self._phase_starts()
        bands = self._phase_colors() if len(starts) > 1 else {}
        columns = [self._known_columns(names) for names in (UPPER, LOWER)]
        self.legends_ = [
            self._draw_legend(labels, phases)
            for labels, phases in zip(columns, (bands, {}), strict=True)
        ]
        self._make_panels()
        self.lines_ = {}
        for panel, names in zip(self.axes_, columns, strict=True):
            self._mark_phases(panel, starts, bands)
            self._draw_lines(panel, names, starts)
            panel.set_ylabel("nats/sample")
        upper, lower = self.axes_
        upper.tick_params(axis="x", labelbottom=False)
        upper.set_xlim(0.5, len(self.history["epoch"]) + 0.5)
        lower.xaxis.get_major_locator().set_params(integer=True)
        lower.set_ylim(bottom=0.0)
        lower.set_xlabel("epoch")
        keep_inside(ax)
        return self

    def _known_columns(self, names: Mapping[str, str]) -> dict[str, str]:
        """Return the columns that have values, and their names."""
        is_known = {name: ~np.isnan(self.history[name]).all() for name in names}
        return {name: label for name, label in names.items() if is_known[name]}

    def _phase_starts(self) -> Ints:
        """Return the index of the first epoch of each phase."""
        phase, epoch = np.array(self.history["phase"]), np.array(self.history["epoch"])
        is_new = (phase[1:] != phase[:-1]) | (epoch[1:] <= epoch[:-1])
        return np.append(0, np.flatnonzero(is_new) + 1)

    def _phase_colors(self) -> dict[str, Any]:
        """Return the color of the band of each kind of phase."""
        from matplotlib import colormaps

        colors = [(*color, 0.35) for color in colormaps["Set3"].colors]
        return dict(
            zip(dict.fromkeys(self.history["phase"]), cycle(colors), strict=False)
        )

    def _draw_legend(
        self, labels: Mapping[str, str], bands: Mapping[str, Any]
    ) -> Legend:
        """Draw a legend at the top, with as many columns as fit into the axes."""
        from matplotlib.legend import Legend
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        handles = [Line2D([], [], color=f"C{i}") for i in range(len(labels))]
        handles += [Patch(facecolor=color) for color in bands.values()]
        texts = [*labels.values(), *(f"{phase} phase" for phase in bands)]
        style = {"loc": "upper left", "fontsize": FONT_SIZE, "frameon": False}
        for n_columns in range(len(handles), 0, -1):
            legend = Legend(
                self.ax_, handles, texts, ncols=n_columns, borderaxespad=0.0, **style
            )
            # The labels of the vertical axes will take some of the width.
            if self._relative_size(legend)[0] <= 0.85:
                break
        return self.ax_.add_artist(legend)

    def _make_panels(self) -> None:
        """Make the panels, each below its legend."""
        heights = [self._relative_size(legend)[1] for legend in self.legends_]
        height = max(0.5 * (1.0 - GAP - sum(heights)), 0.1)
        bottom = 1.0 - heights[0] - height
        self.legends_[1].set_bbox_to_anchor((0.0, bottom - GAP), self.ax_.transAxes)
        upper = self.ax_.inset_axes([0.0, bottom, 1.0, height])
        lower = self.ax_.inset_axes([0.0, 0.0, 1.0, height], sharex=upper)
        self.axes_ = np.array([upper, lower])

    def _relative_size(self, legend: Legend) -> Floats:
        """Return width and height of a legend, relative to those of the axes."""
        inner, outer = artist_sizes([legend, self.ax_])
        return inner / outer

    def _mark_phases(self, panel: Axes, starts: Ints, bands: Mapping[str, Any]) -> None:
        """Draw a band for each phase, if there are several."""
        phase = self.history["phase"]
        if not bands:
            return
        edges = np.append(starts, len(phase)) + 0.5
        for start, left, right in zip(starts, edges[:-1], edges[1:], strict=True):
            panel.axvspan(left, right, color=bands[phase[start]], zorder=0, linewidth=0)
            panel.axvline(left, color="0.6", linewidth=0.5, zorder=0.5)

    def _draw_lines(self, panel: Axes, names: Mapping[str, str], starts: Ints) -> None:
        """Draw one line for each column, with a gap before each phase."""
        n_epochs = len(self.history["epoch"])
        epoch = np.insert(np.arange(1.0, n_epochs + 1), starts, np.nan)
        # Phases of a single epoch have no line, but a marker.
        is_single = np.diff([*starts, n_epochs]) == 1
        markers = (starts + np.arange(1, len(starts) + 1))[is_single].tolist()
        for i, name in enumerate(names):
            values = np.insert(np.array(self.history[name], float), starts, np.nan)
            (self.lines_[name],) = panel.plot(
                epoch, values, color=f"C{i}", marker=".", markevery=markers
            )
