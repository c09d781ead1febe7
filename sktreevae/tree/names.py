"""Names of clusters, features and classes, as users give them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial

UNQUOTED_NEWICK = re.compile(r"[A-Za-z0-9.+-]+")
"""Names that Newick takes without quotes. An unquoted underscore is read as a blank."""


def _check_names(
    kind: str,
    plural: str,
    given: Iterable[object] | None,
    n_names: int,
    default: str = "{}",
) -> list[str]:
    """Return the names as a list of str; by default numbers in the format `default`.

    Raises
    ------
    ValueError
        If there are not exactly `n_names` names.
    """
    if given is None:
        return [default.format(i) for i in range(n_names)]
    is_text = isinstance(given, str | bytes)
    is_flat = getattr(given, "ndim", 1) == 1
    if is_text or not is_flat or not isinstance(given, Iterable):
        raise ValueError(
            f"{kind}_names must be a sequence of {n_names} names, one for each {kind}, "
            f"got {given!r}."
        )
    names = [str(name) for name in given]
    if len(names) != n_names:
        raise ValueError(
            f"{kind}_names must have one name for each of the {n_names} {plural}, "
            f"got {len(names)}."
        )
    return names


check_cluster_names = partial(_check_names, "cluster", "clusters")
check_feature_names = partial(_check_names, "feature", "features")
check_class_names = partial(_check_names, "class", "classes")


def quote_newick(name: str) -> str:
    """Quote a name if it has characters with a meaning in Newick."""
    if UNQUOTED_NEWICK.fullmatch(name):
        return name
    return "'" + name.replace("'", "''") + "'"
