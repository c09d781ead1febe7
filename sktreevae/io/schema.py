"""What a file of a fitted estimator holds, and the check of a file against it."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import KINDS, kind_of_features
from ..inspection.diagnostics import Finding
from ..model import LIKELIHOODS, Topology, state_shapes
from ..utils.validation import Allowed, Instance, Number, Options

__all__ = [
    "CONTENT",
    "DENDROGRAM_ARRAYS",
    "OWN_NETWORKS",
    "STANDARDIZER_ARRAYS",
    "Arrays",
    "check_arrays",
    "check_content",
]

Arrays = Mapping[str, NDArray]

OWN_NETWORKS = {
    "encoder": "model.encoder.",
    "decoder": "model.top_down.decoders.networks.",
}
"""First parts of the names of the arrays of a user's networks, in a file."""


@dataclass(frozen=True)
class ListOf:
    """List whose entries are all allowed."""

    entry: Allowed | ListOf

    def accepts(self, value: object) -> bool:
        """Return whether the value is allowed."""
        return isinstance(value, list) and all(map(self.entry.accepts, value))

    def __str__(self) -> str:
        return f"a list, each entry {self.entry}"


INDEX, COUNT = Number(Integral, 0), Number(Integral, 1)
TEXT, NONE = Instance(str), Options((None,))
NETWORK = Options(("mlp", "cnn", "resnet", "custom"))

CONTENT = {
    "class": [TEXT],
    "package_version": [TEXT],
    "parameters": [Instance(dict)],
    "attributes": {
        "_findings": [ListOf(Instance(dict))],
        "_n_features_out": [COUNT],
        "_seed": [Number(Integral, 0, 2**63)],
        "choices_": [Instance(dict)],
        "feature_names_in_": [ListOf(TEXT), NONE],
        "kind_": [Options(tuple(KINDS))],
        "likelihood_": [Options(tuple(LIKELIHOODS))],
        "lower_bound_": [Number(Real, -np.inf, closed="neither")],
        "n_features_in_": [COUNT],
        "n_iter_": [COUNT],
        "n_samples_seen_": [COUNT],
    },
    "history": [Instance(dict)],
    "model": {
        "topology": [ListOf(Number(Integral, -1))],
        "config": {
            "n_features": [COUNT],
            "hidden_dim": [Number(Integral, 3)],
            "latent_dim": [COUNT],
            "router_dims": [ListOf(COUNT)],
            "bottom_up_depth": [INDEX],
            "likelihood": [Options(tuple(LIKELIHOODS))],
            "discrete": [ListOf(ListOf(INDEX))],
            "encoder": [NETWORK],
            "decoder": [NETWORK],
            "image_shape": [ListOf(COUNT), NONE],
        },
        "feature_map": {
            "n_features": [COUNT],
            "n_outputs": [COUNT, NONE],
            "kind": [TEXT],
            "image_shape": [ListOf(COUNT), NONE],
        },
        "custom_encoder": [TEXT, NONE],
        "custom_decoder": [TEXT, NONE],
    },
}
"""What the JSON of a file must be: the entries of objects, and the values allowed."""


class Values(NamedTuple):
    """Values that an array may have."""

    text: str
    accepts: Callable[[NDArray], NDArray[np.bool_]]


FINITE = Values("finite", np.isfinite)
POSITIVE = Values("finite and positive", lambda x: np.isfinite(x) & (x > 0))
NOT_INFINITE = Values("finite or NaN", lambda x: ~np.isinf(x))
NOT_NEGATIVE = Values(
    "finite and at least 0, or NaN", lambda x: ~np.isinf(x) & ~(x < 0)
)

DENDROGRAM_ARRAYS = {
    "parent": ("int64", "n_nodes", FINITE),
    "height": ("float64", "n_nodes", FINITE),
    "weight": ("float64", "n_nodes", FINITE),
    "support": ("float64", "n_nodes", NOT_INFINITE),
    "support_error": ("float64", "n_nodes", NOT_NEGATIVE),
    "labels": ("int64", "n_samples", FINITE),
}
"""Type, length and values of the arrays of a dendrogram, which checks the rest."""

STANDARDIZER_ARRAYS = {
    "center": ("float64", "n_features", FINITE),
    "scale": ("float64", "n_features", POSITIVE),
    "low": ("float64", "n_features", FINITE),
    "high": ("float64", "n_features", FINITE),
    "constant": ("float64", "n_columns", NOT_INFINITE),
}
"""The same of a standardizer."""

POSITIVE_ARRAYS = ("model.bottom_up.scale", "model.feature_map.raw_features.depth")
"""Arrays of a model that must be positive. All others must be finite."""


def check_content(content: object) -> None:
    """Check that the JSON of a file has the entries and the values of `CONTENT`.

    Raises
    ------
    ValueError
        If an entry is missing or unknown, or its value isn't allowed.
    """
    _check_entries("content", content, CONTENT)
    history = {name: [ListOf(TEXT), NONE] for name in content["history"]}
    columns = {"phase": [ListOf(TEXT)], "epoch": [NONE], "elbo": [NONE]}
    _check_entries("history", content["history"], history | columns)


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


def check_arrays(content: Mapping[str, Any], arrays: Arrays) -> None:
    """Check that the arrays are those that the content describes.

    The model isn't built before its arrays are known to be right. Arrays of a user's
    networks are checked when these are built.

    Parameters
    ----------
    content : dict
        JSON values that `check_content` has accepted.
    arrays : dict of ndarrays
        Arrays by their names in the file.

    Raises
    ------
    ValueError
        If an array is missing, isn't known or isn't allowed, or if parts of the file
        contradict each other.
    """
    config = content["model"]["config"]
    own = tuple(
        prefix for name, prefix in OWN_NETWORKS.items() if config[name] == "custom"
    )
    known: set[str] = set()
    for expected in (_plain_arrays(content, arrays), _model_arrays(content, arrays)):
        for name, description in expected:
            _check_array(name, _get(arrays, name), *description)
            known.add(name)
    unknown = sorted(n for n in arrays.keys() - known if not n.startswith(own))
    if unknown:
        raise ValueError(f"The arrays {unknown} aren't known.")
    _check_agreement(content, arrays)


Expected = Iterator[tuple[str, tuple[str, tuple[int, ...], Values]]]
"""Names of arrays, and their types, shapes and values."""


def _plain_arrays(content: Mapping[str, Any], arrays: Arrays) -> Expected:
    """Yield what the arrays must be that aren't of the model."""
    tree = Topology(tuple(content["model"]["topology"])).contract().topology
    sizes = {
        "n_nodes": tree.n_nodes,
        "n_features": content["model"]["config"]["n_features"],
        "n_columns": content["attributes"]["n_features_in_"],
        # Not known from elsewhere.
        "n_samples": _get(arrays, "dendrogram.labels").size,
    }
    for group, descriptions in (
        ("dendrogram", DENDROGRAM_ARRAYS),
        ("standardizer", STANDARDIZER_ARRAYS),
    ):
        for key, (dtype, length, values) in descriptions.items():
            name, shape = f"{group}.{key}", (sizes[length],)
            if key in ("low", "high") and _get(arrays, name).ndim == 0:
                shape = ()  # one bound for all features
            yield name, (dtype, shape, values)
    for key, column in content["history"].items():
        if column is None:
            name = f"history.{key}"
            is_int = _get(arrays, name).dtype.kind == "i"
            shape = (content["attributes"]["n_iter_"],)
            yield name, ("int64" if is_int else "float64", shape, NOT_INFINITE)


def _model_arrays(content: Mapping[str, Any], arrays: Arrays) -> Expected:
    """Yield what the arrays of the model must be."""
    model = content["model"]
    config = model["config"]
    # What is yielded first is checked before the model is laid out: every layer has an
    # array, and every node but the root a row of one.
    n_layers = config["bottom_up_depth"] + len(config["router_dims"])
    if n_layers > len(arrays):
        raise ValueError(f"{n_layers} layers have more than {len(arrays)} arrays.")
    shape = (len(model["topology"]) - 1, 1, 2 * config["latent_dim"])
    yield "model.top_down.heads.biases.0", ("float32", shape, FINITE)
    shapes = state_shapes(
        Topology(tuple(model["topology"])), config, model["feature_map"]
    )
    for key, tensor in shapes.items():
        name = f"model.{key}"
        dtype = torch.empty(0, dtype=tensor.dtype).numpy().dtype.name
        values = POSITIVE if name in POSITIVE_ARRAYS else FINITE
        yield name, (dtype, tuple(tensor.shape), values)


def _get(arrays: Arrays, name: str) -> NDArray:
    """Return an array by its name."""
    if name not in arrays:
        raise ValueError(f"The array {name!r} is missing.")
    return arrays[name]


def _check_array(
    name: str, array: NDArray, dtype: str, shape: tuple[int, ...], values: Values
) -> None:
    """Check the type, the shape and the values of an array."""
    if (array.dtype.name, array.shape) != (dtype, shape):
        raise ValueError(
            f"The array {name!r} must be {dtype} of shape {shape}, got "
            f"{array.dtype.name} of shape {array.shape}."
        )
    is_wrong = ~values.accepts(array)
    if is_wrong.any():
        raise ValueError(
            f"The array {name!r} must be {values.text}, got {array[is_wrong][0]}."
        )


def _check_agreement(content: Mapping[str, Any], arrays: Arrays) -> None:
    """Check that parts of a file which say the same don't contradict each other."""
    model, attributes = content["model"], content["attributes"]
    config, names = model["config"], attributes["feature_names_in_"]
    n_features, n_columns = config["n_features"], attributes["n_features_in_"]
    parent = list(Topology(tuple(model["topology"])).contract().topology.parent)
    labels = arrays["dendrogram.labels"]
    images = (config["image_shape"], model["feature_map"]["image_shape"])
    texts = [column for column in content["history"].values() if column is not None]
    findings = map(Finding.from_dict, attributes["_findings"])
    agreements = {
        "the tree": arrays["dendrogram.parent"].tolist() == parent,
        "the number of features": n_features
        == model["feature_map"]["n_features"]
        == np.isnan(arrays["standardizer.constant"]).sum(),
        "the number of columns": names is None or len(names) == n_columns,
        "the size of images": all(
            math.prod(shape) == n_features == n_columns
            for shape in images
            if shape is not None
        ),
        "the width of embeddings": attributes["_n_features_out"]
        == config["hidden_dim"],
        "the likelihood": attributes["likelihood_"] == config["likelihood"]
        and (config["likelihood"] == "mixed" or not config["discrete"]),
        "the kind of data": attributes["kind_"]
        == kind_of_features(model["feature_map"]["kind"]).name,
        "the number of samples": 0 < len(labels) <= attributes["n_samples_seen_"],
        "the number of epochs": all(
            len(column) == attributes["n_iter_"] for column in texts
        ),
        "bounds of values": (
            arrays["standardizer.low"] <= arrays["standardizer.high"]
        ).all(),
        "the nodes of findings": all(
            0 <= node < len(parent) for finding in findings for node in finding.nodes
        ),
    }
    for what, holds in agreements.items():
        if not holds:
            raise ValueError(f"Its parts contradict each other about {what}.")
