"""State of a fitted estimator as the arrays and the JSON values of a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from ._archive import Archive, PathLike
from ._parameters import check_parameters
from ._stored_parameters import FUNCTIONS, decode, encode, import_path
from ._version import __version__
from .diagnostics import Finding
from .model import Topology, state_shapes

__all__ = [
    "DENDROGRAM_ARRAYS",
    "STANDARDIZER_ARRAYS",
    "State",
    "check_arrays",
    "encode_parameters",
    "make_estimator",
    "naming_file",
    "needed_functions",
    "read_state",
    "to_arrays",
    "to_content",
]

State = dict[str, Any]
"""Attributes of an estimator, with arrays and plain values instead of objects."""

ATTRIBUTES = {
    "_n_features_out": int,
    "_seed": int,
    "choices_": dict,
    "likelihood_": str,
    "lower_bound_": float,
    "n_features_in_": int,
    "n_iter_": int,
    "n_samples_seen_": int,
}
"""Fitted attributes that are JSON values."""

DENDROGRAM_ARRAYS = {
    "parent": np.int64,
    "height": np.float64,
    "weight": np.float64,
    "support": np.float64,
    "support_error": np.float64,
    "labels": np.int64,
}

STANDARDIZER_ARRAYS = ("center", "scale", "low", "high")

OWN_NETWORKS = {
    "encoder": "model.encoder.",
    "decoder": "model.top_down.decoders.stacked.",
}
"""First parts of the names of the arrays of a user's networks, in a file."""


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
    attributes = {name: state[name] for name in (*ATTRIBUTES, "_findings")}
    if "feature_names_in_" in state:
        attributes["feature_names_in_"] = state["feature_names_in_"].tolist()
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


def check_arrays(archive: Archive) -> None:
    """Check that the arrays are those of the model that the content describes.

    Nothing is allocated, neither for the arrays nor for the model. Arrays of a user's
    networks are checked when these are built.

    Raises
    ------
    ValueError
        If an array is missing, isn't known, or has another type or shape.
    """
    places = archive.places
    expected = _expected_arrays(archive)
    config = archive.content["model"]["config"]
    own = tuple(
        prefix for name, prefix in OWN_NETWORKS.items() if config[name] == "custom"
    )
    unknown = sorted(
        n for n in places.keys() - expected.keys() if not n.startswith(own)
    )
    missing = sorted(expected.keys() - places.keys())
    if unknown or missing:
        raise ValueError(f"The arrays {missing} are missing, {unknown} aren't known.")
    for name, (dtype, shape) in expected.items():
        if places[name][:2] != (dtype.newbyteorder("<"), shape):
            raise ValueError(
                f"The array {name!r} must be {dtype} of shape {shape}, but is "
                f"{places[name].dtype} of shape {places[name].shape}."
            )


def _expected_arrays(archive: Archive) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Return the type and the shape of each array that the content calls for."""
    places, content = archive.places, archive.content
    model, attributes = content["model"], content["attributes"]
    config = model["config"]
    # Every layer has arrays. The number of layers is checked before they are built.
    n_layers = config["bottom_up_depth"] + len(config["router_dims"])
    if n_layers > len(places):
        raise ValueError(f"{n_layers} layers have more than {len(places)} arrays.")
    if not all(type(parent) is int for parent in model["topology"]):
        raise ValueError(f"The topology is {model['topology']}.")
    topology = Topology(tuple(model["topology"]))
    expected = {
        f"model.{name}": (_numpy_dtype(tensor.dtype), tuple(tensor.shape))
        for name, tensor in state_shapes(topology, config, model["feature_map"]).items()
    }
    n_nodes = 2 * len(topology.leaves) - 1
    for name, dtype in DENDROGRAM_ARRAYS.items():
        expected[f"dendrogram.{name}"] = np.dtype(dtype), (n_nodes,)
    # The number of samples isn't known from elsewhere.
    labels = places["dendrogram.labels"]
    expected["dendrogram.labels"] = np.dtype(np.int64), labels.shape[:1]
    for name in STANDARDIZER_ARRAYS:
        # Bounds can be scalars.
        shape = (config["n_features"],)
        if name in ("low", "high") and places[f"standardizer.{name}"].shape == ():
            shape = ()
        expected[f"standardizer.{name}"] = np.dtype(np.float64), shape
    for name, column in content["history"].items():
        if column is None:
            dtype = places[f"history.{name}"].dtype
            expected[f"history.{name}"] = dtype, (attributes["n_iter_"],)
    return expected


def _numpy_dtype(dtype: torch.dtype) -> np.dtype:
    return torch.empty(0, dtype=dtype).numpy().dtype


def read_state(archive: Archive, functions: Mapping[str, Callable]) -> State:
    """Return the state of a fitted estimator, without parameters."""
    content = archive.content
    groups: dict[str, dict[str, NDArray]] = {
        name: {} for name in ("model", "dendrogram", "standardizer", "history")
    }
    for name in archive.places:
        group, _, rest = name.partition(".")
        groups[group][rest] = archive.read(name)
    model = dict(content["model"], arrays=groups["model"])
    for name in OWN_NETWORKS:
        path = model[f"custom_{name}"]
        model[f"custom_{name}"] = None if path is None else functions[path]
    history = {
        name: groups["history"][name].tolist() if column is None else column
        for name, column in content["history"].items()
    }
    attributes = _read_attributes(content)
    if any(len(column) != attributes["n_iter_"] for column in history.values()):
        raise ValueError("The columns of the history differ in length.")
    return {
        **attributes,
        "history_": history,
        "module_": model,
        "dendrogram_": groups["dendrogram"],
        "_standardizer": groups["standardizer"],
    }


def _read_attributes(content: Mapping[str, Any]) -> State:
    """Return the fitted attributes that are JSON values."""
    attributes = dict(content["attributes"])
    names = attributes.pop("feature_names_in_", None)
    # The first files don't have any.
    findings = attributes.pop("_findings", [])
    for values in findings:
        Finding.from_dict(values)
    kinds = {name: type(value) for name, value in attributes.items()}
    if kinds != ATTRIBUTES:
        raise ValueError(f"The attributes have the types {kinds}.")
    config = content["model"]["config"]
    for name, setting in (
        ("_n_features_out", "hidden_dim"),
        ("likelihood_", "likelihood"),
        ("n_features_in_", "n_features"),
    ):
        if attributes[name] != config[setting]:
            raise ValueError(f"{name} isn't {config[setting]!r}, as in the model.")
    attributes["_findings"] = findings
    if names is not None:
        if len(names) != config["n_features"]:
            raise ValueError(f"There are {len(names)} names of features.")
        attributes["feature_names_in_"] = np.array(names, dtype=object)
    return attributes
