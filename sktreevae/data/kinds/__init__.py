"""Kinds of data: what depends on them, and how they are recognized."""

from __future__ import annotations

import warnings

import numpy as np

from ...exceptions import AmbiguousKindWarning
from .base import Kind, Observations
from .counts import Counts
from .embeddings import Embeddings
from .images import Images
from .table import Table
from .text import Text

__all__ = ["KINDS", "Kind", "Observations", "choose_kind", "kind_of_features"]

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (Images(), Counts(), Text(), Embeddings(), Table())
}
"""The kinds by name. Data are of the first kind that most of it is of."""

MIN_SHARE = 0.5
"""Minimum share of the data that is of a kind."""

CLOSE_SHARES = 0.3, 0.9
"""Shares between which a kind is a close call."""


def choose_kind(name: str, data: Observations, rng: np.random.Generator) -> Kind:
    """Return the kind of some data.

    Parameters
    ----------
    name : str
        "auto", or the name of a kind.
    data, rng
        See `Kind.fit_features`.

    Raises
    ------
    InvalidParameterError
        If data can't be of the kind that is named.

    Warns
    -----
    AmbiguousKindWarning
        If a part of the data is of another kind than the rest.
    """
    if name != "auto":
        KINDS[name].check(data)
        return KINDS[name]
    *others, table = KINDS.values()
    low, high = CLOSE_SHARES
    for kind in others:
        share = kind.share(data, rng)
        if low < share < high:
            warnings.warn(
                f"{share:.0%} of the rows of X look like {kind.name}. Set kind="
                f"{kind.name!r}, or kind='table' if they aren't.",
                AmbiguousKindWarning,
                stacklevel=2,
            )
        if share > MIN_SHARE:
            return kind
    return table


def kind_of_features(features: str) -> Kind:
    """Return the kind of data that has a kind of features; see `FeatureMap`."""
    return next(kind for kind in KINDS.values() if features in kind.features)
