"""Files of named arrays and JSON, with a checksum.

The layout is that of safetensors: the length of the header in 8 bytes, the header, and
the bytes of the arrays. The header is JSON with the type, the shape and the place of
each array, and a mapping of strings, ``"__metadata__"``. The last array, ``"sha256"``,
is the SHA-256 of all bytes before it.

A file of this layout has numbers and text only, nothing in it is compressed or stated
twice, and every byte counts for the checksum. The header says how long all arrays are,
so that they can be checked before memory is allocated. In a zip archive such as numpy's
npz, an entry can expand to any size, and the bytes between entries mean nothing.

The package safetensors reads these files, and so do its counterparts in other
languages. It isn't needed to write or to read them here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._files import PathLike, replacing

__all__ = ["FORMAT_VERSION", "Archive", "PathLike", "open_archive", "write_archive"]

FORMAT_VERSION = 1
"""Version of the content. Files of all earlier versions can be read."""

START = b'{"__metadata__":{"format":"sktreevae"'
"""The first bytes of every header."""

DTYPES = {
    "BOOL": np.dtype("?"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
}
"""Types of arrays by their names in safetensors."""

CHECKSUM = "sha256"
N_CHECKSUM = hashlib.sha256().digest_size
N_LENGTH = 8
"""Number of bytes of the length of the header."""

BLOCK_SIZE = 2**20
"""Number of bytes that are read at a time to compute a checksum."""


class Place(NamedTuple):
    """Type, shape and first byte of an array in a file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int


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
    # In this order, all arrays are aligned to the size of their values.
    names = sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize)
    blocks = [_to_bytes(name, arrays[name]) for name in names]
    header: dict[str, Any] = {"__metadata__": {}}
    end = 0
    for name, block in zip(names, blocks, strict=True):
        header[name] = _describe(block.dtype, arrays[name].shape, end)
        end += block.nbytes
    header[CHECKSUM] = _describe(np.dtype(np.uint8), (N_CHECKSUM,), end)
    header["__metadata__"] = {
        "format": "sktreevae",
        "format_version": str(FORMAT_VERSION),
        "data_bytes": str(end + N_CHECKSUM),
        "content": json.dumps(content, default=_to_python),
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % N_LENGTH)
    digest = hashlib.sha256()
    with replacing(path) as stream:
        for block in (len(text).to_bytes(N_LENGTH, "little"), text, *blocks):
            digest.update(block)
            stream.write(block)
        stream.write(digest.digest())


def _to_bytes(name: str, array: NDArray) -> NDArray:
    """Return an array whose memory is what is written."""
    dtype = array.dtype.newbyteorder("<")
    if dtype not in DTYPES.values():
        raise ValueError(f"Arrays of type {array.dtype} can't be saved, got {name!r}.")
    return np.ascontiguousarray(array, dtype)


def _describe(dtype: np.dtype, shape: tuple[int, ...], start: int) -> dict[str, Any]:
    """Return the entry of an array in the header."""
    (name,) = (name for name, known in DTYPES.items() if known == dtype)
    end = start + dtype.itemsize * math.prod(shape)
    return {"dtype": name, "shape": list(shape), "data_offsets": [start, end]}


def _to_python(value: Any) -> Any:
    """Return a number of numpy as one of Python, for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} of type {type(value).__name__} can't be saved.")


class Archive:
    """An open file, whose header and checksum have been verified.

    Parameters
    ----------
    stream : binary file
        The file, at its beginning.

    Attributes
    ----------
    content : dict
        JSON values.
    places : dict of Place
        Type and shape of each array.

    Raises
    ------
    ValueError
        If this isn't the whole and unchanged result of `write_archive`, or of another
        format version. The message says which.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = os.fstat(stream.fileno()).st_size
        text = self._read_header()
        try:
            header = json.loads(text)
            metadata = header.pop("__metadata__")
            n_data = int(metadata["data_bytes"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError("is damaged: its header is invalid.") from error
        self._data_start = N_LENGTH + len(text)
        self._check_size(self._data_start + n_data)
        if self._compute_checksum() != self._stream.read(N_CHECKSUM):
            raise ValueError("is damaged: its checksum doesn't match.")
        version = metadata.get("format_version")
        if version != str(FORMAT_VERSION):
            raise ValueError(
                f"has the format version {version}, but this version of sktreevae "
                f"reads version {FORMAT_VERSION}. Update sktreevae."
            )
        try:
            self.places = _read_places(header, n_data)
            self.content = json.loads(metadata["content"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"has invalid content: {error!r}.") from error

    def _read_header(self) -> bytes:
        """Return the text of the header."""
        start = self._stream.read(N_LENGTH + len(START))
        if len(start) < N_LENGTH + len(START):
            raise ValueError(
                f"is empty, truncated or not a model: it has {self._size} bytes."
            )
        if start[N_LENGTH:] != START:
            raise ValueError("isn't a model that `save` has written.")
        n_header = int.from_bytes(start[:N_LENGTH], "little")
        self._check_size(N_LENGTH + max(n_header, len(START)), at_least=True)
        return START + self._stream.read(max(n_header - len(START), 0))

    def _check_size(self, expected: int, *, at_least: bool = False) -> None:
        """Check the size of the file."""
        if self._size < expected:
            raise ValueError(f"is truncated: it has {self._size} of {expected} bytes.")
        if self._size > expected and not at_least:
            raise ValueError(
                f"is damaged: it has {self._size} bytes instead of {expected}."
            )

    def _compute_checksum(self) -> bytes:
        """Return the checksum of what precedes the one in the file."""
        digest = hashlib.sha256()
        self._stream.seek(0)
        n_left = self._size - N_CHECKSUM
        while block := self._stream.read(min(BLOCK_SIZE, n_left)):
            digest.update(block)
            n_left -= len(block)
        return digest.digest()

    def read(self, name: str) -> NDArray:
        """Return an array."""
        place = self.places[name]
        array = np.empty(place.shape, place.dtype)
        self._stream.seek(self._data_start + place.start)
        self._stream.readinto(array.reshape(-1).view(np.uint8))
        return array.astype(place.dtype.newbyteorder("="), copy=False)


@contextmanager
def open_archive(path: PathLike) -> Iterator[Archive]:
    """Open a file for reading.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it isn't valid, see `Archive`.
    """
    with open(path, "rb") as stream:
        try:
            archive = Archive(stream)
        except ValueError as error:
            raise ValueError(f"The file {os.fspath(path)!r} {error}") from error
        yield archive


def _read_places(header: Mapping[str, Any], n_data: int) -> dict[str, Place]:
    """Return the places of all arrays but the checksum, which follow each other."""
    places, end = {}, 0
    for name, entry in header.items():
        place = Place(DTYPES[entry["dtype"]], tuple(entry["shape"]), end)
        if not all(type(n) is int and n >= 0 for n in place.shape):
            raise ValueError(f"{name!r} has the shape {place.shape}")
        end += place.dtype.itemsize * math.prod(place.shape)
        if entry["data_offsets"] != [place.start, end] or end > n_data:
            raise ValueError(f"{name!r} doesn't have the size of its shape")
        places[name] = place
    checksum = places.pop(CHECKSUM)
    if end != n_data or checksum.start != n_data - N_CHECKSUM:
        raise ValueError("there are bytes that belong to no array")
    return places
