"""Numbers and lists as a person writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

MAX_EFFECT = 10.0
"""Groups that are farther apart, in standard deviations, don't overlap at all."""


def format_number(value: float, spread: float = 0.0, max_exponent: int = 6) -> str:
    """Return a number without digits that don't matter and, mostly, an exponent.

    Parameters
    ----------
    value : float
        The number.
    spread : float, default=0.0
        Standard deviation of such numbers. The last digit is that of the second digit
        of the spread, or the second digit of the number, at most two places below. If
        it is 0 or unknown, at least three digits and the whole part are kept.
    max_exponent : int, default=6
        Numbers whose exponents are larger, or smaller than its negative, are written
        with it.

    Examples
    --------
    >>> [format_number(value) for value in (3700.7, 2008.2, 0.25012, 1.0, 4.2e12)]
    ['3701', '2008', '0.25', '1', '4.2e+12']
    >>> format_number(3706.16, spread=450.0), format_number(44.9, spread=5000.0)
    ('3710', '45')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value + 0.0:g}"
    exponent = math.floor(math.log10(abs(value)))
    n_decimals = max(2 - exponent, 0)
    if 0 < spread < math.inf:
        by_spread = 1 - math.floor(math.log10(spread))
        # A heavy tail elsewhere doesn't round a mean to 0.
        n_decimals = max(by_spread, min(1 - exponent, by_spread + 2))
    rounded = round(value, n_decimals) + 0.0
    if rounded != 0 and abs(exponent) > max_exponent:
        return f"{value:.3g}"
    text = f"{rounded:.{max(n_decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_date(year: float) -> str:
    """Return the date of a number of years, with the part of the last one.

    Examples
    --------
    >>> format_date(2024.2)
    '2024-03-14'
    """
    first, following = (np.datetime64(str(math.floor(year) + i), "D") for i in (0, 1))
    return str(first + int(year % 1 * (following - first).astype(int)))


def format_effect(effect: float) -> str:
    """Return an effect with its sign, and a large one by its bound.

    Examples
    --------
    >>> [format_effect(effect) for effect in (1.234, -0.5, 63.2, -12.0)]
    ['+1.23', '-0.50', '>10', '<-10']
    """
    if abs(effect) > MAX_EFFECT:
        return f">{MAX_EFFECT:g}" if effect > 0 else f"<-{MAX_EFFECT:g}"
    return f"{effect:+.2f}"


def shorten(items: Sequence[object], separator: str = ", ", n_shown: int = 5) -> str:
    """Return the first items, and the number of the others.

    Examples
    --------
    >>> shorten(range(7))
    '0, 1, 2, 3, 4 and 2 more'
    """
    shown = separator.join(map(str, items[:n_shown]))
    more = len(items) - n_shown
    return f"{shown} and {more} more" if more > 0 else shown


def format_p_value(p_value: float) -> str:
    """Return a p-value with a sign; see the examples.

    Examples
    --------
    >>> format_p_value(0.0213), format_p_value(1e-9)
    ('= 0.02', '< 0.001')
    """
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.1g}"


def count(n: int, one: str, many: str) -> str:
    """Return a number with the word in the singular or in the plural.

    Examples
    --------
    >>> count(1, "leaf", "leaves"), count(2000, "leaf", "leaves")
    ('1 leaf', '2,000 leaves')
    """
    return f"{n:,} {one if n == 1 else many}"
