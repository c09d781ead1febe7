"""State of a fitted estimator as the arrays and the JSON values of a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from .._version import __version__
from ..tree import Dendrogram
from ..utils.validation import check_parameters
from .archive import PathLike
from .parameters import FUNCTIONS, decode, encode, import_path
from .schema import CONTENT, OWN_NETWORKS, Arrays

__all__ = [
    "State",
    "encode_parameters",
    "make_estimator",
    "naming_file",
    "needed_functions",
    "read_state",
    "restore_dendrogram",
    "to_arrays",
    "to_content",
]

State = dict[str, Any]
"""Attributes of an estimator, with arrays and plain values instead of objects."""


def encode_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters as JSON values.

    A cache belongs to a machine. One that a file names could contain pickles.
    """
    return {
        name: encode(name, value)
        for name, value in parameters.items()
        if name != "memory"
    }


def to_content(state: State) -> dict[str, Any]:
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


def to_arrays(state: State) -> dict[str, NDArray]:
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


@contextmanager
def naming_file(path: PathLike) -> Iterator[None]:
    """Raise a ValueError with the name of the file if its content is invalid."""
    try:
        yield
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        text = str(error) if isinstance(error, ValueError) else repr(error)
        raise ValueError(
            f"The file {os.fspath(path)!r} has invalid content: {text}"
        ) from error


def needed_functions(content: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the import paths of the user's functions by parameter."""
    needed: dict[str, list[str]] = {name: [] for name in FUNCTIONS}
    for name in FUNCTIONS:
        value = content["parameters"].get(name)
        if isinstance(value, dict) and "function" in value:
            needed[name].append(value["function"])
    for name in OWN_NETWORKS:
        # Other functions than those of the parameters, if these were set after the fit.
        path = content["model"][f"custom_{name}"]
        if path is not None:
            needed[name].append(path)
    if not all(isinstance(path, str) for paths in needed.values() for path in paths):
        raise ValueError(f"The names of functions are {needed}.")
    return needed


def make_estimator(
    cls: type[BaseEstimator],
    content: Mapping[str, Any],
    functions: Mapping[str, Callable],
) -> BaseEstimator:
    """Return the estimator with its parameters, not fitted."""
    if content["class"] != cls.__name__:
        raise ValueError(f"It is of the class {content['class']}, not {cls.__name__}.")
    unknown = sorted(content["parameters"].keys() - cls().get_params(deep=False).keys())
    if unknown:
        raise ValueError(
            f"sktreevae {__version__} has no parameters {unknown}. The model was saved "
            f"by sktreevae {content['package_version']}."
        )
    parameters = {
        name: decode(value, functions) for name, value in content["parameters"].items()
    }
    estimator = cls(**parameters)
    check_parameters(estimator, cls._allowed)
    return estimator


def restore_dendrogram(arrays: Arrays) -> Dendrogram:
    """Return a dendrogram of its arrays, which it checks."""
    dendrogram = Dendrogram(
        *(arrays[name] for name in ("parent", "height", "labels", "weight"))
    )
    for name in ("support", "support_error"):
        setattr(dendrogram, name, np.array(arrays[name]))
    return dendrogram


def read_state(
    content: Mapping[str, Any], arrays: Arrays, functions: Mapping[str, Callable]
) -> State:
    """Return the state of a fitted estimator, without parameters.

    Parameters
    ----------
    content : dict
        JSON values of the file, checked.
    arrays : dict of ndarrays
        Arrays by their names in the file, checked.
    functions : dict of callables
        The user's functions by import path.
    """
    groups: dict[str, dict[str, NDArray]] = {
        name: {} for name in ("model", "dendrogram", "standardizer", "history")
    }
    for name, array in arrays.items():
        group, _, rest = name.partition(".")
        groups[group][rest] = array
    model = dict(content["model"], arrays=groups["model"])
    for name in OWN_NETWORKS:
        path = model[f"custom_{name}"]
        model[f"custom_{name}"] = None if path is None else functions[path]
    attributes = dict(content["attributes"])
    names = attributes.pop("feature_names_in_")
    if names is not None:
        attributes["feature_names_in_"] = np.array(names, dtype=object)
    return {
        **attributes,
        "history_": {
            name: groups["history"][name].tolist() if column is None else column
            for name, column in content["history"].items()
        },
        "module_": model,
        "dendrogram_": restore_dendrogram(groups["dendrogram"]),
        "_standardizer": groups["standardizer"],
    }
