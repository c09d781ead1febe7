"""Where tensors live, and how precisely they are multiplied."""

from __future__ import annotations

import torch

__all__ = ["has_room", "resolve_device", "resolve_precision"]


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


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the type in which networks are evaluated while they train.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        The wish of a user; "auto" is bfloat16 on CUDA devices that are made for it.
    device : torch.device
        Where to compute.

    Raises
    ------
    ValueError
        If bfloat16 is asked for where torch has no automatic casts.
    """
    if precision == "auto":
        half = device.type == "cuda" and torch.cuda.is_bf16_supported(
            including_emulation=False
        )
        return torch.bfloat16 if half else torch.float32
    if precision == "float32":
        return torch.float32
    if not torch.amp.is_autocast_available(device.type):
        raise ValueError(
            "precision='bfloat16' needs a device with automatic casts, such as 'cpu' "
            f"or 'cuda', but device is {str(device)!r}. Use 'float32'."
        )
    return torch.bfloat16


def has_room(n_bytes: int, device: torch.device | None) -> bool:
    """Tell whether data may stay on a device while a model trains there.

    On CUDA devices, they may take half of what is free. Elsewhere there is always room:
    data in memory already share it with the model, or torch doesn't tell.

    Parameters
    ----------
    n_bytes : int
        Size of the data.
    device : torch.device or None
        Where they would be; None is the CPU.
    """
    if device is None or device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= free // 2
