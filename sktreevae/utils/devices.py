"""Choice of the device, of the precision and of what fits on the device."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_IS_STATIC = ContextVar("is_static", default=False)


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the requested device, or the best one that is available.

    Parameters
    ----------
    device : str, torch.device or None
        Requested device. None is an accelerator that torch supports (CUDA, ROCm, XPU,
        MPS) if there is one, and the CPU otherwise.

    Returns
    -------
    device : torch.device
        Device on which tensors and random generators can be created.

    Raises
    ------
    ValueError
        If the requested device does not exist or is not available.
    """
    if device is None:
        return _accelerator() or torch.device("cpu")
    try:
        resolved = torch.device(device)
        # In this order: without CUDA, the error of the generator is about linkers.
        torch.empty(0, dtype=torch.float32, device=resolved)
        torch.Generator(resolved)
    except (RuntimeError, AssertionError) as error:
        names = ", ".join(map(repr, _available_devices()))
        raise ValueError(
            "The 'device' parameter must name an available torch device "
            f"({names}) or be None, got {str(device)!r}."
        ) from error
    return resolved


def available_device(device: str | torch.device | None) -> torch.device:
    """Return the requested device, or the CPU with a warning if it isn't available."""
    try:
        return resolve_device(device)
    except ValueError as error:
        # The caller of `load` or `__setstate__` is four frames above.
        warnings.warn(f"{error} The model is on the CPU.", stacklevel=4)
        return torch.device("cpu")


def _accelerator() -> torch.device | None:
    """Return the accelerator that is available, if there is one."""
    if torch.accelerator.is_available():
        return torch.accelerator.current_accelerator()
    return None


def _available_devices() -> list[str]:
    """Return the names of the devices of this machine."""
    accelerator = _accelerator()
    if accelerator is None:
        return ["cpu"]
    n_devices = torch.accelerator.device_count()
    return ["cpu", *(f"{accelerator.type}:{index}" for index in range(n_devices))]


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Return the type in which networks are evaluated during training.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        Requested type. "auto" is bfloat16 on CUDA devices with native support for it,
        and float32 elsewhere.
    device : torch.device
        Device of the computation.

    Returns
    -------
    dtype : torch.dtype
        Either `torch.float32` or `torch.bfloat16`.

    Raises
    ------
    ValueError
        If bfloat16 is requested on a device without automatic casts.
    """
    if precision == "auto":
        is_native = device.type == "cuda" and torch.cuda.is_bf16_supported(
            including_emulation=False
        )
        return torch.bfloat16 if is_native else torch.float32
    if precision == "float32":
        return torch.float32
    if not torch.amp.is_autocast_available(device.type):
        raise ValueError(
            "precision='bfloat16' needs a device with automatic casts, such as 'cpu' "
            f"or 'cuda', but device is {str(device)!r}. Use 'float32'."
        )
    return torch.bfloat16


def fits_on(n_bytes: int, device: torch.device | None) -> bool:
    """Return whether data may stay on a device during training.

    On CUDA devices, data may take half of the free memory. On other devices the result
    is True: data in memory are on the CPU already, and torch does not tell how much
    memory other devices have.

    Parameters
    ----------
    n_bytes : int
        Size of the data.
    device : torch.device or None
        Device of the data; None is the CPU.
    """
    if device is None or device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= free // 2


@contextmanager
def static_shapes() -> Iterator[None]:
    """Compute without reading values of tensors on the host.

    Shapes then don't depend on values, so that the operations can be captured.
    """
    token = _IS_STATIC.set(True)
    try:
        yield
    finally:
        _IS_STATIC.reset(token)


def may_read() -> bool:
    """Return whether values of tensors may decide what is computed."""
    return not _IS_STATIC.get()
