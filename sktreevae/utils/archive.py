"""Files of named arrays and JSON in the format of safetensors, with a checksum.

A file of this format has numbers and text only, and nothing in it is compressed or
stated twice. Its header says how long all arrays are, and safetensors compares that
with the size of the file before anything is read. In a zip archive such as numpy's npz,
an entry can expand to any size.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .files import PathLike, check_regular, replacing

FORMAT_VERSION = 1
"""Version of the content."""

INVALID = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Exceptions that values of other types or sizes than those of `save` can raise."""


def to_json(value: Any) -> str:
    """Return a value as JSON, with numpy's values as Python's and devices as strings.

    Raises
    ------
    TypeError
        If JSON can't have the value.
    """
    return json.dumps(value, default=_to_python)


def is_json(value: Any) -> bool:
    """Return whether JSON can have a value."""
    try:
        to_json(value)
    except TypeError:
        return False
    return True


def describe(value: object) -> str:
    """Return the name of a function or class, or else that of the type."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def fingerprint(value: object) -> Any:
    """Return a JSON value by which a value is compared with others.

    Functions and classes are compared by their names, and other objects by their type
    and attributes.
    """
    if is_json(value):
        return value
    if isinstance(value, torch.Tensor):
        return fingerprint(value.numpy(force=True))
    if isinstance(value, Mapping):
        return {str(key): fingerprint(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [fingerprint(entry) for entry in value]
    if isinstance(value, partial):
        parts = value.func, value.args, value.keywords
        return [describe(value), *map(fingerprint, parts)]
    if hasattr(value, "__qualname__") or not hasattr(value, "__dict__"):
        return describe(value)
    return [describe(value), fingerprint(vars(value))]


def write_archive(
    path: PathLike, content: Mapping[str, Any], arrays: Mapping[str, NDArray]
) -> None:
    """Write a file, or replace it as a whole. If that fails, nothing changes.

    Parameters
    ----------
    path : str or path-like
        Name of the file.
    content : dict
        Values for `to_json`.
    arrays : dict of ndarrays
        Arrays by name.

    Raises
    ------
    TypeError
        If JSON can't have the content.
    ValueError
        If the type of an array can't be stored.
    OSError
        If the file can't be written.
    """
    content = {"format_version": FORMAT_VERSION, **content}
    # safetensors writes the memory of an array, whatever its strides.
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = to_json(content)
    try:
        digest = _digest(text, arrays)
        # With several entries, the order of metadata would be random.
        data = save(arrays, {"content": to_json({"sha256": digest, **content})})
    except (SafetensorError, KeyError, TypeError) as error:
        types = {name: array.dtype.name for name, array in arrays.items()}
        raise ValueError(
            f"Arrays of these types can't be saved, got {types}: {error}"
        ) from error
    with replacing(path) as stream:
        stream.write(data)


def read_archive(path: PathLike) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Read a file that `write_archive` has written.

    Returns
    -------
    content : dict
        JSON values.
    arrays : dict of ndarrays
        Arrays by name.

    Raises
    ------
    OSError
        If there is no regular file of this name.
    ValueError
        If it isn't the whole and unchanged result of `write_archive`, or of another
        format version. The message says which.
    """
    check_regular(path)
    name = os.fspath(path)
    try:
        with safe_open(name, "numpy") as file:
            content = json.loads((file.metadata() or {})["content"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}
        version, digest = content["format_version"], content.pop("sha256", None)
        is_whole = digest == _digest(to_json(content), arrays)
    except (SafetensorError, *INVALID) as error:
        raise ValueError(
            f"The file {name!r} is truncated, damaged, or isn't one that sktreevae has "
            f"written: {error}"
        ) from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"The file {name!r} has the format version {version}, but this version of "
            f"sktreevae reads version {FORMAT_VERSION}. Update sktreevae."
        )
    if not is_whole:
        raise ValueError(f"The file {name!r} is damaged: its checksum doesn't match.")
    return content, arrays


def _digest(text: str, arrays: Mapping[str, NDArray]) -> str:
    """Return the SHA-256 of a file of JSON and arrays."""
    return hashlib.sha256(save(dict(arrays), {"content": text})).hexdigest()


def _to_python(value: Any) -> Any:
    """Return a value as one that JSON has."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, torch.device):
        return str(value)
    raise TypeError(f"{value!r} of type {type(value).__name__} can't be saved.")
