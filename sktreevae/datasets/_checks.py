"""Checks of arguments, and imports of packages that are extras."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from ..utils.validation import Options, check_argument


def choose_parts(subset: str, parts: Sequence[str]) -> list[str]:
    """Return the parts that are in a subset: one of them, or all for "all"."""
    check_argument("subset", subset, Options((*parts, "all")))
    return [part for part in parts if subset in (part, "all")]


def import_extra(module: str, purpose: str, extra: str) -> ModuleType:
    """Import a module.

    Parameters
    ----------
    module : str
        Name of the module.
    purpose : str
        What needs it: the first sentence of the error.
    extra : str
        The extra that installs it.

    Raises
    ------
    ImportError
        If the module is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose}. Install it with: pip install 'sktreevae[{extra}]'"
        ) from error
