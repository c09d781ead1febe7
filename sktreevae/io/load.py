"""Loading of a fitted estimator that `save` has written."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from .._version import __version__
from ..utils.devices import available_device, resolve_device
from ..utils.files import PathLike
from ..utils.validation import check_parameters
from .archive import read_archive
from .parameters import FUNCTIONS, decode, find_functions
from .schema import OWN_NETWORKS, Arrays, check_arrays, check_content
from .state import State, restore, restore_dendrogram

__all__ = ["load"]


def load(
    cls: type[BaseEstimator],
    path: PathLike,
    device: str | torch.device | None,
    given: Mapping[str, Callable | None],
    trusted: str | Collection[str],
) -> BaseEstimator:
    """Load a fitted estimator of a class; see `TreeVAEClustering.load`.

    `given` has the functions that are passed, or None, by parameter.
    """
    if device is not None:
        resolve_device(device)
    content, arrays = read_archive(path)
    with _naming_file(path):
        check_content(content)
        needed = _needed_functions(content)
    functions = find_functions(needed, given, trusted)
    with _naming_file(path):
        estimator = _make_estimator(cls, content, functions)
        check_arrays(content, arrays)
        state = _read_state(content, arrays, functions)
    if device is not None:
        estimator.device = device
    vars(estimator).update(restore(state, available_device(estimator.device)))
    return estimator


@contextmanager
def _naming_file(path: PathLike) -> Iterator[None]:
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


def _needed_functions(content: Mapping[str, Any]) -> dict[str, list[str]]:
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


def _make_estimator(
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


def _read_state(
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
