"""Saving a fitted estimator in one file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from .._version import __version__
from ..training import GrowingLists
from ..utils.files import PathLike
from .archive import write_archive
from .parameters import encode, import_path
from .schema import CONTENT, OWN_NETWORKS
from .state import State

__all__ = ["save"]


def save(estimator: BaseEstimator, path: PathLike) -> None:
    """Save a fitted estimator; see `TreeVAEClustering.save`."""
    if isinstance(estimator.history_, GrowingLists):
        raise ValueError(
            "save needs a complete fit, but this estimator is fitted again: its "
            "history_ is of the new fit, and its model of the one before. Save the "
            "fitted_estimator that the callback can ask for, or save after the fit."
        )
    state = estimator.__getstate__()
    content = {
        "class": type(estimator).__name__,
        "package_version": __version__,
        "parameters": _encode_parameters(estimator.get_params(deep=False)),
        **_to_content(state),
    }
    write_archive(path, content, _to_arrays(state))


def _encode_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as JSON values.

    A cache belongs to a machine. One that a file names could contain pickles.
    """
    return {
        name: encode(name, value)
        for name, value in parameters.items()
        if name != "memory"
    }


def _to_content(state: State) -> dict[str, Any]:
    """Return the part of a state that isn't arrays as JSON values."""
    model = {
        name: value for name, value in state["module_"].items() if name != "arrays"
    }
    for name in OWN_NETWORKS:
        function = model[f"custom_{name}"]
        path = None if function is None else import_path(name, function)
        model[f"custom_{name}"] = path
    attributes = {name: state.get(name) for name in CONTENT["attributes"]}
    if attributes["feature_names_in_"] is not None:
        attributes["feature_names_in_"] = attributes["feature_names_in_"].tolist()
    columns = {name: np.array(column) for name, column in state["history_"].items()}
    history = {
        name: column.tolist() if column.dtype.kind == "U" else None
        for name, column in columns.items()
    }
    return {"attributes": attributes, "history": history, "model": model}


def _to_arrays(state: State) -> dict[str, NDArray]:
    """Return the arrays of a state by their names in a file."""
    columns = {name: np.array(column) for name, column in state["history_"].items()}
    groups = {
        "model": state["module_"]["arrays"],
        "dendrogram": state["dendrogram_"],
        "standardizer": state["_standardizer"],
        "history": {k: v for k, v in columns.items() if v.dtype.kind != "U"},
    }
    return {
        f"{group}.{name}": array
        for group, arrays in groups.items()
        for name, array in arrays.items()
    }
