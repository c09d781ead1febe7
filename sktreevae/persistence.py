"""State of a fitted model as numpy arrays and plain values, for pickles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .model import FeatureMap, ModelConfig, Topology, TreeVAE

__all__ = ["from_state", "to_state"]

State = dict[str, Any]


def to_state(model: TreeVAE) -> State:
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


def from_state(state: State, device: torch.device) -> TreeVAE:
    """Return the model of a state, in evaluation mode on a device."""
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
    model.load_state_dict(arrays)
    return model.to(device).eval()
