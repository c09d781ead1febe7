"""Where tensors live."""

from __future__ import annotations

import torch

__all__ = ["resolve_device"]


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return a device that works.

    Parameters
    ----------
    device : str, torch.device or None
        The wish of a user; None is the best one available: an accelerator that torch
        knows (CUDA, ROCm, XPU, MPS), or else the CPU.

    Raises
    ------
    ValueError
        If there is no such device, or it isn't available.
    """
    if device is None:
        best = torch.accelerator.current_accelerator(check_available=True)
        return best or torch.device("cpu")
    try:
        resolved = torch.device(device)
        torch.Generator(resolved)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"The 'device' parameter must name an available torch device, such as "
            f"'cpu' or 'cuda:0', or be None. Got {device!r}: {error}"
        ) from error
    return resolved
