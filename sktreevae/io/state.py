"""State of a fitted estimator as arrays and plain values, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import Standardizer
from ..inspection.diagnostics import Finding
from ..model import FeatureMap, ModelConfig, Topology, TreeVAE
from ..tree import Dendrogram
from ..utils.devices import available_device
from .archive import FORMAT_VERSION
from .schema import DENDROGRAM_ARRAYS, STANDARDIZER_ARRAYS, Arrays

__all__ = ["State", "from_plain", "restore", "restore_dendrogram", "to_plain"]

State = dict[str, Any]
"""Attributes of an estimator, with arrays and plain values instead of objects."""

DERIVED = ("device_", "labels_", "linkage_matrix_", "n_clusters_")
"""Fitted attributes that follow from others."""


def to_plain(attributes: dict[str, Any]) -> State:
    """Return the attributes of an estimator as arrays and plain values."""
    state = {**attributes, "format_version": FORMAT_VERSION}
    if "module_" in state:
        dendrogram, standardizer = state["dendrogram_"], state["_standardizer"]
        state["module_"] = _model_to_plain(state["module_"])
        state["dendrogram_"] = {
            name: getattr(dendrogram, name) for name in DENDROGRAM_ARRAYS
        }
        state["_standardizer"] = {
            name: np.asarray(getattr(standardizer, name), dtype=np.float64)
            for name in STANDARDIZER_ARRAYS
        }
        state["_findings"] = [asdict(finding) for finding in state.get("_findings", ())]
        for name in DERIVED:
            state.pop(name, None)
    return state


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
    if "module_" not in state:
        return state
    state["dendrogram_"] = restore_dendrogram(state["dendrogram_"])
    return restore(state, available_device(state["device"]))


def restore(state: State, device: torch.device) -> dict[str, Any]:
    """Return the attributes of the state of a fitted estimator."""
    dendrogram = state["dendrogram_"]
    discrete = state["module_"]["config"]["discrete"]
    standardizer = Standardizer(
        *(
            np.array(array) if array.ndim else float(array)
            for array in map(state["_standardizer"].get, STANDARDIZER_ARRAYS)
        ),
        binary=tuple(sorted(column for group in discrete for column in group)),
    )
    return {
        **state,
        "module_": _model_from_plain(state["module_"], device),
        "device_": device,
        "labels_": dendrogram.labels,
        "n_clusters_": dendrogram.n_clusters,
        "linkage_matrix_": dendrogram.to_linkage(),
        "_standardizer": standardizer,
        "_findings": [
            Finding.from_dict(values) for values in state.get("_findings", ())
        ],
    }


def restore_dendrogram(arrays: Arrays) -> Dendrogram:
    """Return a dendrogram of its arrays, which it checks."""
    dendrogram = Dendrogram(
        *(arrays[name] for name in ("parent", "height", "labels", "weight"))
    )
    for name in ("support", "support_error"):
        setattr(dendrogram, name, np.array(arrays[name]))
    return dendrogram


def _model_to_plain(model: TreeVAE) -> State:
    """Return a model as arrays and JSON-able values, independent of its device.

    A user's own networks are kept as the callables that build them.
    """
    arrays: dict[str, NDArray[np.generic]] = {
        name: value.numpy(force=True) for name, value in model.state_dict().items()
    }
    config = model.config
    return {
        "topology": model.topology.parent,
        "config": config.to_dict(),
        "custom_encoder": config.custom_encoder,
        "custom_decoder": config.custom_decoder,
        "feature_map": model.feature_map.config,
        "arrays": arrays,
    }


def _model_from_plain(state: State, device: torch.device) -> TreeVAE:
    """Return the model of a state, in evaluation mode on a device.

    Raises
    ------
    ValueError
        If a user's networks have other parameters than those of the state.
    """
    # Tensors of an inference mode around this couldn't be trained further.
    with torch.inference_mode(False):
        model = TreeVAE(
            Topology(tuple(state["topology"])),
            ModelConfig.from_dict(
                state["config"],
                custom_encoder=state["custom_encoder"],
                custom_decoder=state["custom_decoder"],
            ),
            feature_map=FeatureMap(**state["feature_map"]),
            generator=torch.Generator(),
        )
        arrays = {name: torch.tensor(value) for name, value in state["arrays"].items()}
        try:
            model.load_state_dict(arrays)
        except RuntimeError as error:
            raise ValueError(
                f"The networks don't fit the saved model: {error}"
            ) from error
        return model.to(device).eval()
