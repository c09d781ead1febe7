"""Readers of the formats in which image datasets are published. No code is run."""

from __future__ import annotations

import gzip
import io
import math
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..exceptions import InvalidParameterError
from ._fetcher import Progress

__all__ = [
    "check_image_size",
    "import_pillow",
    "read_attributes",
    "read_cifar",
    "read_idx",
    "read_images",
    "read_npz",
    "reading",
]

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

# What the readers of archives raise if bytes are wrong or missing.
_DAMAGES = (
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever is wrong with a file into one error that names it.

    Raises
    ------
    ValueError
        If the file is damaged, or has another format.
    """
    try:
        yield
    except _DAMAGES as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # It can't be opened.
        raise ValueError(
            f"{path} is damaged or has another format: {error}. Remove it to download "
            "it again."
        ) from error


def read_idx(path: Path, shape: tuple[int, ...] = ()) -> Images:
    """Read an idx file of bytes, the format of MNIST.

    Parameters
    ----------
    path : Path
        The file, compressed if its name ends in ``.gz``.
    shape : tuple of int, default=()
        Expected shape of a sample.

    Returns
    -------
    values : ndarray of uint8 of shape (n_samples, ...)

    Raises
    ------
    ValueError
        If the file has another format, another shape, or another size than its header
        says.
    """
    with reading(path):
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        n_dims = len(shape) + 1
        start = 4 + 4 * n_dims
        # Two zeros, the code of bytes, and the number of dimensions.
        if content[:4] != bytes([0, 0, 8, n_dims]) or len(content) < start:
            raise ValueError(f"it is not an idx file of bytes in {n_dims} dimensions")
        dims = struct.unpack(f">{n_dims}I", content[4:start])
        if dims[1:] != shape:
            raise ValueError(f"samples have shape {dims[1:]} instead of {shape}")
        n_bytes = math.prod(dims)
        if len(content) - start != n_bytes:
            raise ValueError(
                f"it has {len(content) - start} bytes of data instead of {n_bytes}"
            )
        return np.frombuffer(content, np.uint8, offset=start).reshape(dims)


def read_npz(
    path: Path, parts: Sequence[str], shape: tuple[int, ...]
) -> list[tuple[Images, Labels]]:
    """Read images and labels from an archive of NumPy arrays.

    Parameters
    ----------
    path : Path
        Archive with the arrays ``X_train``, ``y_train``, ``X_test`` and ``y_test``, in
        upper or lower case, as in the ``mnist.npz`` of Keras.
    parts : sequence of {"train", "test"}
        Parts to read.
    shape : tuple of int
        Expected shape of an image.

    Returns
    -------
    parts : list of (images, labels)

    Raises
    ------
    ValueError
        If the archive is damaged, or an array is missing or has another shape or dtype.
    """
    with reading(path), np.load(path, allow_pickle=False) as archive:
        names = {name.lower(): name for name in archive.files}
        found = []
        for part in parts:
            missing = {f"x_{part}", f"y_{part}"} - names.keys()
            if missing:
                raise ValueError(f"it lacks the arrays {sorted(missing)}")
            images = archive[names[f"x_{part}"]]
            if images.dtype != np.uint8 or images.shape[1:] != shape:
                raise ValueError(
                    f"images of the {part} part have shape {images.shape[1:]} and "
                    f"dtype {images.dtype} instead of {shape} and uint8"
                )
            found.append((images, archive[names[f"y_{part}"]].astype(np.int64)))
        return found


def read_cifar(
    path: Path, names: Sequence[str], label_names: Sequence[str]
) -> tuple[Images, Labels, list[NDArray[np.str_]]]:
    """Read the binary version of CIFAR-10 or CIFAR-100.

    Parameters
    ----------
    path : Path
        The archive, a tar file, compressed if its name ends in ``.gz``.
    names : sequence of str
        Names of the files with samples.
    label_names : sequence of str
        Names of the files with the names of labels, one for each label of a sample.

    Returns
    -------
    images : ndarray of uint8 of shape (n_samples, 32, 32, 3)
    labels : ndarray of int of shape (n_labels, n_samples)
    label_names : list of n_labels ndarrays of str

    Raises
    ------
    ValueError
        If the archive is damaged, or lacks a file.
    """
    with reading(path):
        content = path.read_bytes()
        if path.suffix == ".gz":
            # All of it, so that its checksum is compared.
            content = gzip.decompress(content)
        members = _read_members(content, {*names, *label_names})
        words = [
            np.array(members[name].decode("ascii").split()) for name in label_names
        ]
        n_labels = len(label_names)
        records = []
        for name in names:
            values = np.frombuffer(members[name], np.uint8)
            if values.size == 0 or values.size % (n_labels + 3072):
                raise ValueError(f"{name} has {values.size} bytes, not whole samples")
            records.append(values.reshape(-1, n_labels + 3072))
        samples = np.concatenate(records)
        labels = samples[:, :n_labels].T.astype(np.int64)
        for name, values, texts in zip(label_names, labels, words, strict=True):
            if values.max() >= len(texts):
                raise ValueError(f"label {values.max()} has no name in {name}")
        planes = samples[:, n_labels:].reshape(-1, 3, 32, 32)
        return np.moveaxis(planes, 1, 3), labels, words


def _read_members(content: bytes, names: set[str]) -> dict[str, bytes]:
    """Return the files of a tar archive that have the names, in any folder."""
    members = {}
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None and name in names:
                members[name] = file.read()
    missing = names - members.keys()
    if missing:
        raise ValueError(f"it lacks the files {sorted(missing)}")
    return members


def read_images(
    archive: zipfile.ZipFile,
    names: Sequence[str],
    image_size: int,
    crop: int | None = None,
    *,
    mode: str = "L",
    verbose: bool = False,
) -> NDArray[np.float32]:
    """Decode images of an archive, and scale them.

    Parameters
    ----------
    archive : ZipFile
        Archive with the images.
    names : sequence of str
        Names of the images in the archive.
    image_size : int
        Height and width of the results.
    crop : int, default=None
        Side of the square in the middle that is scaled; None for all of the image.
    mode : {"L", "RGB"}, default="L"
        Gray or color.
    verbose : bool, default=False
        Whether progress is shown in a terminal.

    Returns
    -------
    images : ndarray of float32 of shape (n_images, image_size, image_size) or \
            (n_images, image_size, image_size, 3)
        Values in [0, 1].

    Raises
    ------
    ValueError
        If an image can't be decoded.
    """
    image_module = import_pillow()
    bomb = image_module.DecompressionBombError
    channels = (3,) if mode == "RGB" else ()
    images = np.empty((len(names), image_size, image_size, *channels), np.float32)
    title = Path(archive.filename or "").name
    with Progress(title, len(names), f"{len(names)} images", verbose) as progress:
        for row, name in enumerate(names):
            content = archive.read(name)
            try:
                image = image_module.open(io.BytesIO(content)).convert(mode)
            except (OSError, SyntaxError, bomb) as error:
                raise ValueError(f"{name} is no image: {error}") from error
            if crop is not None:
                left, top = ((side - crop) // 2 for side in image.size)
                image = image.crop((left, top, left + crop, top + crop))
            # On the way down, Pillow's filters average over the pixels of the source.
            image = image.resize(
                (image_size, image_size), image_module.Resampling.BILINEAR
            )
            np.divide(image, np.float32(255), out=images[row])
            progress.update(row + 1)
    return images


def check_image_size(image_size: int) -> None:
    """Raise an `InvalidParameterError` if the size of images is not valid."""
    if not isinstance(image_size, Integral) or image_size < 1:
        raise InvalidParameterError(
            f"image_size must be an int of at least 1, got {image_size!r}."
        )


def import_pillow() -> Any:
    """Import `PIL.Image`.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    """
    try:
        import PIL.Image
    except ImportError as error:
        raise ImportError(
            "Reading these images needs Pillow. Install it with: pip install "
            "'sktreevae[images]'"
        ) from error
    return PIL.Image


def read_attributes(path: Path) -> tuple[list[str], NDArray[np.int64], list[str]]:
    """Read a list file of CelebA, with or without a header.

    Parameters
    ----------
    path : Path
        Text file. Each line has the name of an image and whole numbers. The header, if
        there is one, is the number of images and a line of column names.

    Returns
    -------
    names : list of n_images str
        Names of the images.
    values : ndarray of int of shape (n_images, n_columns)
    columns : list of n_columns str
        Names of the columns; empty without a header.

    Raises
    ------
    ValueError
        If a line has another number of columns than the first, or the number of images
        is not that in the header.
    """
    with reading(path):
        lines = [line.split() for line in path.read_text("ascii").splitlines()]
        columns: list[str] = []
        if lines and len(lines[0]) == 1:
            n_images = int(lines[0][0])
            columns, lines = lines[1], lines[2:]
            if len(lines) != n_images:
                raise ValueError(f"it has {len(lines)} of {n_images} lines")
        names = [line[0] for line in lines if line]
        if not names:
            raise ValueError("it is empty")
        n_columns = len(columns) or len(lines[0]) - 1
        for number, line in enumerate(lines, 1):
            if len(line) != n_columns + 1:
                raise ValueError(
                    f"image {number} has {len(line) - 1} values instead of {n_columns}"
                )
        values = np.array([line[1:] for line in lines]).astype(np.int64)
        return names, values, columns
