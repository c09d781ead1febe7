"""HTML of a fitted estimator: its links to the documentation, and a page of its tree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import metadata

from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from .dendrogram import Dendrogram
from .display import export_html

__all__ = ["HtmlMixin", "find_documentation"]

PACKAGE = __name__.partition(".")[0]


def find_documentation(project_urls: Sequence[str]) -> str:
    """Return the address of the documentation with a slash at its end, or "".

    Parameters
    ----------
    project_urls : sequence of str
        Entries "label, address" of a package's metadata.

    Examples
    --------
    >>> find_documentation(["Documentation, https://example.org/stable"])
    'https://example.org/stable/'
    """
    for entry in project_urls:
        label, _, address = entry.partition(",")
        if label.strip().lower() == "documentation":
            return address.strip().rstrip("/") + "/"
    return ""


def _documentation() -> str:
    """Return the address of this package's documentation, or "" if it has none."""
    try:
        return find_documentation(metadata.metadata(PACKAGE).get_all("Project-URL", []))
    except metadata.PackageNotFoundError:
        # The package runs from its source without an installation.
        return ""
