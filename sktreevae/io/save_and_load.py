"""Saving a fitted estimator in one file, and loading it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from .._version import __version__
from ..training.state import GrowingLists
from ..utils.archive import INVALID, describe, is_json, read_archive, write_archive
from ..utils.devices import available_device, resolve_device
from ..utils.files import PathLike
from ..utils.validation import check_parameters
from .schema import CONTENT, LOCAL, NETWORKS, check_arrays, check_content
from .state import Arrays, State, restore


def save(estimator: BaseEstimator, path: PathLike) -> None:
    """Save a fitted estimator; see `TreeVAEClustering.save`."""
    if isinstance(estimator.history_, GrowingLists):
        raise ValueError(
            "save needs a complete fit, but this estimator is fitted again: its "
            "history_ is of the new fit, and its model of the one before. Save the "
            "fitted_estimator that the callback can ask for, or save after the fit."
        )
    state = estimator.__getstate__()
    parameters = estimator.get_params(deep=False)
    for name in LOCAL:
        del parameters[name]
    networks = {name: state[f"custom_{name}"] for name in NETWORKS}
    objects = {name: value for name, value in parameters.items() if not is_json(value)}
    objects |= {name: value for name, value in networks.items() if value is not None}
    content = {
        "class": type(estimator).__name__,
        "package_version": __version__,
        "parameters": {k: v for k, v in parameters.items() if k not in objects},
        "objects": {name: describe(value) for name, value in objects.items()},
        "state": {name: state.get(name) for name in CONTENT["state"]},
    }
    write_archive(path, content, state["arrays"])


def load(
    cls: type[BaseEstimator], path: PathLike, parameters: Mapping[str, Any]
) -> BaseEstimator:
    """Load a fitted estimator of a class; see `TreeVAEClustering.load`."""
    content, arrays = read_archive(path)
    with _naming_file(path):
        check_content(content)
        estimator = _make_estimator(cls, content)
    _check_given(content, parameters)
    estimator.set_params(**parameters)
    check_parameters(estimator, cls._allowed)
    find_device = resolve_device if "device" in parameters else available_device
    device = find_device(estimator.device)
    with _naming_file(path):
        check_arrays(content["state"], arrays)
        state = _read_state(content["state"], arrays, parameters)
        vars(estimator).update(restore(state, device))
    return estimator


@contextmanager
def _naming_file(path: PathLike) -> Iterator[None]:
    """Raise a ValueError with the name of the file if its content is invalid."""
    try:
        yield
    except INVALID as error:
        text = str(error) if isinstance(error, ValueError) else repr(error)
        raise ValueError(
            f"The file {os.fspath(path)!r} has invalid content: {text}"
        ) from error


def _make_estimator(
    cls: type[BaseEstimator], content: Mapping[str, Any]
) -> BaseEstimator:
    """Return the estimator with the parameters of a file, not fitted."""
    if content["class"] != cls.__name__:
        raise ValueError(f"It is of the class {content['class']}, not {cls.__name__}.")
    names = content["parameters"].keys() | content["objects"].keys()
    known = cls().get_params(deep=False).keys() - set(LOCAL)
    unknown = sorted(names - known)
    if unknown:
        raise ValueError(
            f"sktreevae {__version__} has no parameters {unknown}. The model was saved "
            f"by sktreevae {content['package_version']}."
        )
    # JSON has no tuples, and the parameters are tuples and not lists.
    parameters = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in content["parameters"].items()
    }
    estimator = cls(**parameters)
    check_parameters(estimator, cls._allowed)
    return estimator


def _check_given(content: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Check that the parameters are passed that a file can't have."""
    missing = {k: v for k, v in content["objects"].items() if k not in parameters}
    for name in NETWORKS:
        is_custom = content["state"]["config"][name] == "custom"
        if is_custom and not callable(parameters.get(name)):
            missing.setdefault(name, "a callable that builds networks")
    if missing:
        texts = [f"{name} ({value})" for name, value in missing.items()]
        example = ", ".join(f"{name}=..." for name in missing)
        raise ValueError(
            f"The model has parameters that a file can't have: {', '.join(texts)}. "
            f"Pass them: load(path, {example})."
        )


def _read_state(content: State, arrays: Arrays, parameters: Mapping[str, Any]) -> State:
    """Return the state of a fitted estimator, without parameters."""
    state = {**content, "arrays": arrays}
    for name in NETWORKS:
        is_custom = content["config"][name] == "custom"
        state[f"custom_{name}"] = parameters[name] if is_custom else None
    names = state.pop("feature_names_in_")
    if names is not None:
        state["feature_names_in_"] = np.array(names, dtype=object)
    state["n_iter_"] = len(state["history_"]["epoch"])
    return state
