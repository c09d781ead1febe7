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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..utils.files import PathLike, check_regular, replacing

__all__ = ["FORMAT_VERSION", "read_archive", "write_archive"]

FORMAT_VERSION = 1
"""Version of the content."""

CHECKSUM = "sha256"
"""Name of the array that has the checksum of all other arrays and of the JSON."""


def write_archive(
    path: PathLike, content: Mapping[str, Any], arrays: Mapping[str, NDArray]
) -> None:
    """Write a file, or replace it as a whole. If that fails, nothing changes.

    Parameters
    ----------
    path : str or path-like
        Name of the file.
    content : dict
        JSON-able values.
    arrays : dict of ndarrays
        Arrays by name.

    Raises
    ------
    ValueError
        If the type of an array can't be stored.
    OSError
        If the file can't be written.
    """
    content = {"format_version": FORMAT_VERSION, **content}
    text = json.dumps(content, default=_to_python)
    # safetensors writes the memory of an array, whatever its strides.
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    try:
        # With several entries, the order of metadata would be random.
        data = save({**arrays, CHECKSUM: _digest(text, arrays)}, {"content": text})
    except (SafetensorError, TypeError) as error:
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
            text = (file.metadata() or {})["content"]
            arrays = {key: file.get_tensor(key) for key in file.keys()}
        checksum = arrays.pop(CHECKSUM)
    # numpy lacks some of the types of safetensors.
    except (SafetensorError, ArithmeticError, LookupError, TypeError) as error:
        raise ValueError(
            f"The file {name!r} is truncated, damaged, or isn't a model that `save` "
            f"has written: {error}"
        ) from error
    if not np.array_equal(checksum, _digest(text, arrays)):
        raise ValueError(f"The file {name!r} is damaged: its checksum doesn't match.")
    try:
        content = json.loads(text)
        version = content.pop("format_version", None)
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"The file {name!r} has invalid content: {error!r}") from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"The file {name!r} has the format version {version}, but this version of "
            f"sktreevae reads version {FORMAT_VERSION}. Update sktreevae."
        )
    return content, arrays


def _digest(text: str, arrays: Mapping[str, NDArray]) -> NDArray[np.uint8]:
    """Return the SHA-256 of JSON, and of the names, types and values of arrays."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name].astype(arrays[name].dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return np.frombuffer(digest.digest(), np.uint8)


def _to_python(value: Any) -> Any:
    """Return a number of numpy as one of Python, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} of type {type(value).__name__} can't be saved.")
