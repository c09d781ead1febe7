"""Saving a fitted estimator in one file."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator

from .._version import __version__
from ..training.state import GrowingLists
from ..utils.files import PathLike
from .archive import to_json, write_archive
from .schema import CONTENT, NETWORKS


def save(estimator: BaseEstimator, path: PathLike) -> None:
    """Save a fitted estimator; see `TreeVAEClustering.save`."""
    if isinstance(estimator.history_, GrowingLists):
        raise ValueError(
            "save needs a complete fit, but this estimator is fitted again: its "
            "history_ is of the new fit, and its model of the one before. Save the "
            "fitted_estimator that the callback can ask for, or save after the fit."
        )
    state = estimator.__getstate__()
    # A cache belongs to a machine. One that a file names could contain pickles.
    parameters = estimator.get_params(deep=False)
    del parameters["memory"]
    networks = {name: state[f"custom_{name}"] for name in NETWORKS}
    objects = {name: value for name, value in parameters.items() if not _is_json(value)}
    objects |= {name: value for name, value in networks.items() if value is not None}
    content = {
        "class": type(estimator).__name__,
        "package_version": __version__,
        "parameters": {k: v for k, v in parameters.items() if k not in objects},
        "objects": {name: _describe(value) for name, value in objects.items()},
        "state": {name: state.get(name) for name in CONTENT["state"]},
    }
    write_archive(path, content, state["arrays"])


def _is_json(value: Any) -> bool:
    """Return whether JSON can have the value of a parameter."""
    try:
        to_json(value)
    except TypeError:
        return False
    return True


def _describe(value: object) -> str:
    """Return the name of a function or class, or else that of the type."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
