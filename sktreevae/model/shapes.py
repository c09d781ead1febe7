"""Names, types and shapes of the parameters of a model, without their memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .config import ModelConfig
from .feature_map import FeatureMap
from .topology import Topology
from .treevae import TreeVAE

EMPTY = {
    torch.empty: torch.empty,
    torch.eye: torch.empty,
    torch.full: torch.full,
    torch.ones: torch.empty,
    torch.tensor: torch.tensor,
    torch.zeros: torch.empty,
}
"""Functions that create tensors, and those that do so without values."""


class _WithoutMemory(TorchFunctionMode):
    """Creates tensors on the meta device, and doesn't fill them.

    Filling them would import sympy, which takes longer than loading a model.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch."""
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.endswith("__"):
            return args[0]
        if func in EMPTY:
            func, kwargs = EMPTY[func], kwargs | {"device": "meta"}
        return func(*args, **kwargs)


def state_shapes(
    topology: Topology, settings: Mapping[str, Any], feature_map: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return the parameters and buffers of a model by name, on the meta device.

    A user's networks are left out.

    Parameters
    ----------
    topology : Topology
        The tree.
    settings : dict
        Result of `ModelConfig.to_dict`.
    feature_map : dict
        Arguments of `FeatureMap`.

    Examples
    --------
    >>> settings = ModelConfig(5).to_dict()
    >>> shapes = state_shapes(Topology.stump(), settings, {"n_features": 5})
    >>> shapes["root_head.bias"]
    tensor(..., device='meta', size=(16,))
    """
    networks = {
        f"custom_{name}": _stand_in if settings[name] == "custom" else None
        for name in ("encoder", "decoder")
    }
    config = ModelConfig(**settings, **networks)
    with _WithoutMemory():
        model = TreeVAE(
            topology,
            config,
            feature_map=FeatureMap(**feature_map),
            generator=torch.Generator(),
        )
    return model.state_dict()


def _stand_in(n_in: int, n_out: int) -> nn.Module:
    """Build a network without parameters."""
    return nn.Identity()
