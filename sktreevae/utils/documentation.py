"""Address of the documentation, from the metadata of the package."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

__all__ = ["PACKAGE", "documentation_template", "project_urls"]

PACKAGE = __name__.partition(".")[0]


def documentation_template(project_urls: Sequence[str]) -> str:
    """Return the address of the page of an estimator, as a format string, or "".

    Parameters
    ----------
    project_urls : sequence of str
        Entries "label, address" in the metadata of the package. That of the label
        "Documentation" is used.

    Examples
    --------
    >>> documentation_template(["Documentation, https://example.org/stable/"])
    'https://example.org/stable/api/sktreevae.{estimator_name}.html'
    """
    for entry in project_urls:
        label, _, address = entry.partition(",")
        if label.strip().lower() == "documentation":
            address = address.strip().rstrip("/")
            return f"{address}/api/{PACKAGE}.{{estimator_name}}.html"
    return ""


def project_urls() -> list[str]:
    """Return the project URLs of this package."""
    try:
        return metadata.metadata(PACKAGE).get_all("Project-URL", [])
    except metadata.PackageNotFoundError:
        # The package runs from its source, without an installation.
        return []
