"""State of a fitted estimator as arrays and plain values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import Standardizer, kind_of_features
from ..inspection.diagnostics import Finding
from ..model import FeatureMap, ModelConfig, Topology, TreeVAE
from ..tree import Dendrogram
from ..utils.archive import FORMAT_VERSION
from ..utils.devices import available_device

State = dict[str, Any]
"""Attributes of an estimator, with arrays and plain values instead of objects."""

Arrays = Mapping[str, NDArray]
"""Arrays of all objects of a state, named as in "dendrogram.height"."""

DENDROGRAM = ("height", "labels", "weight", "p_values", "excess_costs")
STANDARDIZER = ("center", "scale", "low", "high", "constant")


def derived_attributes(
    model: TreeVAE,
    standardizer: Standardizer,
    dendrogram: Dendrogram,
    device: torch.device,
) -> dict[str, Any]:
    """Return the attributes of a fit that its model, units and tree determine."""
    return {
        "_n_features_out": model.config.hidden_dim,
        "_standardizer": standardizer,
        "dendrogram_": dendrogram,
        "device_": device,
        "kind_": kind_of_features(model.feature_map.kind).name,
        "labels_": dendrogram.labels,
        "likelihood_": model.config.likelihood,
        "linkage_matrix_": dendrogram.to_linkage(),
        "module_": model,
        "n_clusters_": dendrogram.n_clusters,
    }


def to_plain(attributes: Mapping[str, Any]) -> State:
    """Return the attributes of an estimator as arrays and plain values.

    A user's own networks are kept as the callables that build them.
    """
    state = {**attributes, "format_version": FORMAT_VERSION}
    if "module_" not in state:
        return state
    names = "module_", "_standardizer", "dendrogram_", "device_"
    model, standardizer, dendrogram, _ = objects = [state[name] for name in names]
    derived = derived_attributes(*objects)
    arrays = {
        f"model.{name}": tensor.numpy(force=True)
        for name, tensor in model.state_dict().items()
    }
    arrays |= {f"dendrogram.{name}": getattr(dendrogram, name) for name in DENDROGRAM}
    arrays |= {
        f"standardizer.{name}": _to_vector(standardizer, name) for name in STANDARDIZER
    }
    return {
        **{name: value for name, value in state.items() if name not in derived},
        "_findings": [asdict(finding) for finding in state.get("_findings", ())],
        "topology": model.topology.parent,
        "config": model.config.to_dict(),
        "feature_map": model.feature_map.config,
        "custom_encoder": model.config.custom_encoder,
        "custom_decoder": model.config.custom_decoder,
        "arrays": arrays,
    }


def _to_vector(standardizer: Standardizer, name: str) -> NDArray[np.float64]:
    """Return a field of a standardizer, with one value for each feature."""
    value = getattr(standardizer, name)
    return np.broadcast_to(value, np.shape(value) or standardizer.center.shape)


def from_plain(state: State) -> dict[str, Any]:
    """Return the attributes of a pickled state, on its device or else on the CPU.

    Raises
    ------
    ValueError
        If the pickle is of another version.
    """
    state = dict(state)
    version = state.pop("format_version", 0)
    if version != FORMAT_VERSION:
        raise ValueError(
            f"The pickle has the format version {version}, and this version of "
            f"sktreevae reads version {FORMAT_VERSION}."
        )
    if "arrays" not in state:
        return state
    return restore(state, available_device(state["device"]))


@torch.inference_mode(False)  # tensors of such a mode couldn't be trained further
def restore(state: State, device: torch.device) -> dict[str, Any]:
    """Return the attributes of the state of a fitted estimator.

    Raises
    ------
    ValueError
        If a user's networks have other parameters than those of the state.
    """
    state = dict(state)
    arrays = state.pop("arrays")
    topology = Topology(tuple(state.pop("topology")))
    networks = {name: state.pop(name) for name in ("custom_encoder", "custom_decoder")}
    config = ModelConfig(**state.pop("config"), **networks)
    feature_map = FeatureMap(**state.pop("feature_map"))
    model = _restore_model(topology, config, feature_map, arrays).to(device)
    standardizer = _restore_standardizer(config, arrays)
    dendrogram = _restore_dendrogram(topology, arrays)
    return {
        **state,
        **derived_attributes(model, standardizer, dendrogram, device),
        "_findings": list(map(Finding.from_dict, state["_findings"])),
        "n_features_in_": len(standardizer.constant),
    }


def _restore_dendrogram(topology: Topology, arrays: Arrays) -> Dendrogram:
    """Return a dendrogram, which checks its arrays."""
    height, labels, weight, *estimates = (
        np.array(arrays[f"dendrogram.{name}"]) for name in DENDROGRAM
    )
    dendrogram = Dendrogram(topology.contract().topology.parent, height, labels, weight)
    dendrogram.p_values, dendrogram.excess_costs = estimates
    return dendrogram


def _restore_standardizer(config: ModelConfig, arrays: Arrays) -> Standardizer:
    values = (np.array(arrays[f"standardizer.{name}"]) for name in STANDARDIZER)
    binary = sorted(column for group in config.discrete for column in group)
    return Standardizer(*values, binary=tuple(binary))


def _restore_model(
    topology: Topology, config: ModelConfig, feature_map: FeatureMap, arrays: Arrays
) -> TreeVAE:
    """Return a model in evaluation mode."""
    model = TreeVAE(
        topology, config, feature_map=feature_map, generator=torch.Generator()
    )
    tensors = {
        name.removeprefix("model."): torch.tensor(array)
        for name, array in arrays.items()
        if name.startswith("model.")
    }
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"The networks don't fit the saved model: {error}") from error
    return model.eval()
