"""Imports of packages that aren't required."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def import_extra(module: str, purpose: str, package: str) -> ModuleType:
    """Import a module.

    Parameters
    ----------
    module : str
        Name of the module.
    purpose : str
        First sentence of the error, which names the function that needs the library.
    package : str
        Argument of ``pip install``.

    Raises
    ------
    ImportError
        If the module is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose}. Install it with: pip install {package}"
        ) from error
