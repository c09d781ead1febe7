"""Text that shrinks, or is left out, rather than overlap."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.text import Text

FONT_SIZE = 8.0
"""Size of text inside of drawings, in points."""

MIN_FONT_SIZE = 6.0
"""Text is not drawn smaller than this, in points."""

UNSUPPORTED = "dashed: split not supported by held-out samples"
"""Explains the lines of splits that aren't supported."""

INCHES_PER_LABEL = 0.3
"""Length of an axis of a new figure for each of its labels."""

MAX_EFFECT = 10
"""Groups that are farther apart, in standard deviations, don't overlap at all."""

MAX_PLAIN_NUMBER = 1e7
"""Larger numbers have an exponent."""

GAP = 0.3
"""Least space between two labels, relative to the font size."""

PAD = 3.0
"""Space between labels and the border of the figure, or a note, in pixels."""


def plain(text: str) -> str:
    """Return a text that matplotlib draws as it is: its dollars are no formulas."""
    return text.replace("$", r"\$")


def format_number(value: float) -> str:
    """Return a number as a person writes it, with three digits that matter.

    Examples
    --------
    >>> [format_number(value) for value in (3700.7, 2008.2, 0.2512, 1.5e-7)]
    ['3701', '2008', '0.251', '1.5e-07']
    """
    if 999.5 <= abs(value) < MAX_PLAIN_NUMBER:
        return f"{value:.0f}"
    return f"{value:.3g}"


def format_effect(effect: float) -> str:
    """Return an effect with its sign, and a large one by its bound.

    Examples
    --------
    >>> format_effect(-1.234), format_effect(63.0)
    ('-1.23', '>10')
    """
    if abs(effect) > MAX_EFFECT:
        return f">{MAX_EFFECT}" if effect > 0 else f"<-{MAX_EFFECT}"
    return f"{effect:+.2f}"


def apply_layout(ax: Axes) -> None:
    """Run the layout engine of the figure, so that extents are those of the drawing."""
    figure = ax.figure.canvas.figure  # of a subfigure, the figure that it is in
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def keep_inside(ax: Axes) -> None:
    """Shrink axes whose labels are cut by the figure, if it has no layout engine."""
    from matplotlib.transforms import Bbox

    figure = ax.figure.canvas.figure
    if figure.get_layout_engine() is not None:
        return
    inner, outer = ax.get_tightbbox().extents, ax.figure.bbox.extents
    cut = np.maximum((outer - inner) * [1, 1, -1, -1], 0.0)
    if not cut.any():
        return
    corners = ax.get_window_extent().extents + (cut + PAD) * (cut > 0) * [1, 1, -1, -1]
    corners[2:] = np.maximum(corners[2:], corners[:2] + 0.1 * ax.figure.bbox.size)
    box = Bbox(corners.reshape(2, 2))
    ax.set_position(box.transformed(ax.figure.transSubfigure.inverted()))


def extents(artists: Iterable[Artist]) -> NDArray[np.float64]:
    """Return left, bottom, right and top of each artist in pixels, (n_artists, 4)."""
    boxes = [artist.get_window_extent().extents for artist in artists]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def artist_sizes(artists: Iterable[Artist]) -> NDArray[np.float64]:
    """Return width and height of each artist in pixels, (n_artists, 2)."""
    boxes = extents(artists)
    return boxes[:, 2:] - boxes[:, :2]


def write_note(ax: Axes, text: str, max_width: float, *, is_top: bool) -> Text:
    """Write a note at the upper right or lower left, in lines of a maximum width.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes, with their final size.
    text : str
        The note.
    max_width : float
        Maximum width in pixels.
    is_top : bool
        Whether to write at the upper right, instead of the lower left.
    """
    place = {"ha": "right", "va": "top"} if is_top else {"ha": "left", "va": "bottom"}
    note = ax.annotate(
        plain(text),
        (float(is_top), float(is_top)),
        xycoords="axes fraction",
        xytext=(-PAD, -PAD) if is_top else (PAD, PAD),
        textcoords="offset pixels",
        fontsize=FONT_SIZE,
        color="0.4",
        **place,
    )
    # The axes have room for it.
    note.set_in_layout(False)
    lines = text.split("\n")
    n_characters = max(map(len, lines))
    while note.get_window_extent().width > max_width - 2 * PAD and n_characters > 1:
        n_characters -= 1
        wrapped = [textwrap.fill(line, n_characters) for line in lines]
        note.set_text(plain("\n".join(wrapped)))
    return note


def add_note(ax: Axes, text: str) -> Text:
    """Write a note at the top of axes, and make room for it above the data.

    Parameters
    ----------
    ax : matplotlib Axes
        Axes, with their final size and the limits of the data.
    text : str
        The note.
    """
    apply_layout(ax)
    outer = ax.get_window_extent()
    note = write_note(ax, text, outer.width, is_top=True)
    # At least half of small axes is left for the data.
    share = min((note.get_window_extent().height + 2 * PAD) / outer.height, 0.5)
    start, end = ax.get_ylim()
    ax.set_ylim(start, start + (end - start) / (1.0 - share))
    return note


def select_disjoint(
    boxes: NDArray[np.float64], priority: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Select boxes that don't overlap, those of high priority first.

    Parameters
    ----------
    boxes : ndarray of shape (n_boxes, 4)
        Left, bottom, right and top of each box.
    priority : ndarray of int of shape (n_boxes,)
        Boxes of higher priority are considered first.

    Returns
    -------
    is_selected : ndarray of bool of shape (n_boxes,)
        Whether each box is selected.
    """
    is_selected = np.zeros(len(boxes), dtype=bool)
    for i in np.argsort(-priority, kind="stable"):
        others = boxes[is_selected]
        is_apart = (boxes[i, :2] >= others[:, 2:]) | (boxes[i, 2:] <= others[:, :2])
        is_selected[i] = is_apart.any(axis=1).all()
    return is_selected


def fit_tick_labels(axis: Axis, names: Sequence[str]) -> None:
    """Label the ticks 0, 1, ... of an axis without overlap.

    Labels of a horizontal axis that are too long are rotated. Labels that still don't
    fit are shrunk to `MIN_FONT_SIZE`. If this isn't enough, only every second, third,
    ... one is kept.

    Parameters
    ----------
    axis : matplotlib Axis
        Horizontal or vertical axis, with its final limits.
    names : sequence of str
        One label for each tick. Rotated labels are written on one line.
    """
    names = [plain(name) for name in names]
    axis.set_ticks(range(len(names)), names)
    apply_layout(axis.axes)
    is_horizontal = axis.axis_name == "x"
    length = axis.axes.get_window_extent().size[0 if is_horizontal else 1]
    spacing = length / abs(np.diff(axis.get_view_interval())[0])
    if is_horizontal and _needed_spacing(axis) > spacing:
        names = [" ".join(name.split()) for name in names]
        axis.set_ticks(range(len(names)), names)
        axis.set_tick_params(labelrotation=90)
    needed = _needed_spacing(axis)
    size = axis.get_ticklabels()[0].get_fontsize()
    while needed > spacing and size > MIN_FONT_SIZE:
        # Sizes of glyphs are rounded, so that labels shrink by a little less.
        size = max(min(size * spacing / needed, size - 0.2), MIN_FONT_SIZE)
        axis.set_tick_params(labelsize=size)
        needed = _needed_spacing(axis)
    if needed > spacing:
        step = int(np.ceil(needed / spacing))
        axis.set_ticks(range(0, len(names), step), names[::step])


def _needed_spacing(axis: Axis) -> float:
    """Return the least distance of ticks, in pixels, at which labels don't overlap."""
    labels = axis.get_ticklabels()
    length = artist_sizes(labels)[:, 0 if axis.axis_name == "x" else 1]
    longest = (length[1:] + length[:-1]).max(initial=0.0) / 2
    return longest + GAP * labels[0].get_fontsize() * axis.axes.figure.dpi / 72
