"""Checks of arguments."""

from __future__ import annotations

from collections.abc import Sequence

from ..utils.validation import Options, check_argument


def choose_parts(subset: str, parts: Sequence[str]) -> list[str]:
    """Return the parts that are in a subset: one of them, or all for "all"."""
    check_argument("subset", subset, Options((*parts, "all")))
    return [part for part in parts if subset in (part, "all")]
