"""What a file of a fitted estimator holds, and the check of a file against it."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..inspection.diagnostics import Finding
from ..model import LIKELIHOODS, FeatureMap, ModelConfig, Topology, state_shapes
from ..utils.validation import COUNT, Instance, Number, Options
from .state import DENDROGRAM, STANDARDIZER, Arrays, State

NETWORKS = {"encoder": "model.encoder.", "decoder": "model.top_down.decoders.networks."}
"""Parameters that a user's networks can be, and how the names of their arrays begin."""

LOCAL = "memory", "checkpoint_dir"
"""Parameters that belong to a machine. A cache that a file names could hold pickles."""

TEXT, NONE = Instance(str), Options((None,))
OBJECT, LIST, ANYTHING = Instance(dict), Instance(list), Instance(object)

CONTENT = {
    "format_version": [COUNT],
    "class": [TEXT],
    "package_version": [TEXT],
    "parameters": [OBJECT],
    "objects": [OBJECT],
    "state": {
        "_findings": [LIST],
        "_seed": [Number(Integral, 0, 2**63)],
        "choices_": [OBJECT],
        "feature_names_in_": [LIST, NONE],
        "history_": [OBJECT],
        "lower_bound_": [Number(Real, -np.inf, closed="neither")],
        "n_samples_seen_": [COUNT],
        "topology": [LIST],
        "config": dict.fromkeys(ModelConfig(1).to_dict(), [ANYTHING]),
        "feature_map": dict.fromkeys(FeatureMap(1).config, [ANYTHING]),
    },
}
"""What the JSON of a file must be: the entries of objects, and the values allowed.

A model of other settings than those that were saved has arrays of other shapes.
"""

POSITIVE = (
    "model.bottom_up.scale",
    "model.feature_map.raw_features.depth",
    "standardizer.scale",
)
"""Arrays that must be positive."""

MAY_BE_NAN = ("dendrogram.excess_costs", "dendrogram.p_values", "standardizer.constant")
"""Arrays that may have NaN. All others must be finite."""


def check_content(content: object) -> None:
    """Check that the JSON of a file has the entries and the values of `CONTENT`.

    Raises
    ------
    ValueError
        If an entry is missing or unknown, or its value isn't allowed.
    """
    _check_entries("content", content, CONTENT)
    history = content["state"]["history_"]
    n_epochs = len(history["epoch"])
    for name, column in {"phase": [], "elbo": [], **history}.items():
        kind = str if name == "phase" else float | int
        if not (
            isinstance(column, list)
            and len(column) == n_epochs > 0
            and all(isinstance(value, kind) for value in column)
        ):
            raise ValueError(
                f"The column {name!r} of history_ must have a value for each of the "
                f"{n_epochs} epochs, got {reprlib.repr(column)}."
            )


def _check_entries(name: str, value: object, allowed: Any) -> None:
    """Check a value, or all entries of an object."""
    if not isinstance(allowed, dict):
        if not any(choice.accepts(value) for choice in allowed):
            texts = " or ".join(map(str, allowed))
            raise ValueError(f"{name} must be {texts}, got {reprlib.repr(value)}.")
    elif not isinstance(value, dict) or value.keys() != allowed.keys():
        raise ValueError(
            f"{name} must have the entries {sorted(allowed)}, got "
            f"{reprlib.repr(value)}."
        )
    else:
        for entry, choices in allowed.items():
            _check_entries(entry, value[entry], choices)


def check_arrays(state: State, arrays: Arrays) -> None:
    """Check the arrays of a file against its JSON, before anything is built.

    Parameters
    ----------
    state : dict
        JSON values of the file, checked by `check_content`.
    arrays : dict of ndarrays
        Arrays by their names in the file.

    Raises
    ------
    ValueError
        If an array is missing, isn't known or isn't allowed, or if parts of the file
        contradict each other.
    """
    topology = Topology(tuple(state["topology"]))
    _check_size(topology, state["config"], arrays)
    expected = _expected_arrays(topology, state, arrays)
    own = tuple(
        prefix for name, prefix in NETWORKS.items() if state["config"][name] == "custom"
    )
    unknown = [n for n in arrays.keys() - expected.keys() if not n.startswith(own)]
    missing = expected.keys() - arrays.keys()
    for names, text in ((unknown, "aren't known"), (missing, "are missing")):
        if names:
            raise ValueError(f"The arrays {sorted(names)} {text}.")
    for name, kind in expected.items():
        _check_array(name, arrays[name], *kind)
    _check_agreement(topology, state, arrays)


def _check_size(
    topology: Topology,
    config: Mapping[str, Any],
    arrays: Arrays,
    free_bytes: int = 1 << 29,
) -> None:
    """Check that a file is large enough for the model that it claims to have.

    A tree may take `free_bytes` beyond the size of its file: enough for 4700 leaves.
    """
    depth = config["perceptron_depth"] + config["bottom_up_depth"]
    n_layers = depth + len(config["router_dims"])
    if n_layers > len(arrays):
        raise ValueError(f"{n_layers} layers have more than {len(arrays)} arrays.")
    # Indices of the tree are matrices that aren't in the file.
    n_needed = 12 * topology.n_nodes * len(topology.leaves)
    n_bytes = sum(array.nbytes for array in arrays.values())
    if n_needed > n_bytes + free_bytes:
        raise ValueError(
            f"A tree of {topology.n_nodes} nodes takes {n_needed} bytes of memory, too "
            f"many for arrays of {n_bytes} bytes."
        )


def _expected_arrays(
    topology: Topology, state: State, arrays: Arrays
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the types and shapes of all arrays but those of a user's networks."""
    n_nodes = topology.contract().topology.n_nodes
    n_features = state["config"]["n_features"]
    n_samples = np.size(arrays.get("dendrogram.labels"))
    n_columns = np.size(arrays.get("standardizer.constant"))
    expected = {f"dendrogram.{name}": ("float64", (n_nodes,)) for name in DENDROGRAM}
    expected |= {
        f"standardizer.{name}": ("float64", (n_features,)) for name in STANDARDIZER
    }
    expected["dendrogram.labels"] = "int64", (n_samples,)
    expected["standardizer.constant"] = "float64", (n_columns,)
    shapes = state_shapes(topology, state["config"], state["feature_map"])
    for name, tensor in shapes.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        expected[f"model.{name}"] = dtype, tuple(tensor.shape)
    return expected


def _check_array(name: str, array: NDArray, dtype: str, shape: tuple[int, ...]) -> None:
    """Check the type, the shape and the values of an array."""
    if (array.dtype.name, array.shape) != (dtype, shape):
        raise ValueError(
            f"The array {name!r} must be {dtype} of shape {shape}, got "
            f"{array.dtype.name} of shape {array.shape}."
        )
    text, is_wrong = "finite", ~np.isfinite(array)
    if name in MAY_BE_NAN:
        text, is_wrong = "finite or NaN", np.isinf(array)
    elif name in POSITIVE:
        text, is_wrong = "finite and positive", is_wrong | (array <= 0)
    if is_wrong.any():
        raise ValueError(
            f"The array {name!r} must be {text}, got {array[is_wrong][0]}."
        )


def _check_agreement(topology: Topology, state: State, arrays: Arrays) -> None:
    """Check that parts of a file don't contradict each other."""
    config, feature_map = state["config"], state["feature_map"]
    names, constant = state["feature_names_in_"], arrays["standardizer.constant"]
    n_features, n_columns = config["n_features"], len(constant)
    n_samples, n_nodes = (len(arrays[f"dendrogram.{x}"]) for x in ("labels", "height"))
    low, high = arrays["standardizer.low"], arrays["standardizer.high"]
    shapes = (part["image_shape"] for part in (config, feature_map))
    sizes = {math.prod(shape) for shape in shapes if shape is not None}
    nodes = {n for f in map(Finding.from_dict, state["_findings"]) for n in f.nodes}
    has_discrete = LIKELIHOODS[config["likelihood"]].has_discrete
    agreements = {
        "the number of features": (
            n_features == feature_map["n_features"] == np.isnan(constant).sum()
        ),
        "the names of columns": (
            names is None or list(map(type, names)) == [str] * n_columns
        ),
        "the size of images": not sizes or sizes == {n_features} == {n_columns},
        "the likelihood": has_discrete or not config["discrete"],
        "the number of samples": 0 < n_samples <= state["n_samples_seen_"],
        "bounds of values": (low <= high).all(),
        "the nodes of findings": nodes <= set(range(n_nodes)),
    }
    for what, holds in agreements.items():
        if not holds:
            raise ValueError(f"Its parts contradict each other about {what}.")
