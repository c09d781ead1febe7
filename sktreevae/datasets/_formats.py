"""Readers of the formats in which image datasets are published. No code is run."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..utils.extras import import_extra
from ..utils.validation import COUNT, check_argument
from ._progress import Progress

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

# What the readers of archives raise if bytes are wrong or missing.
_DAMAGES = (
    EOFError,
    KeyError,
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


def check_labels(labels: NDArray, n_samples: int, n_classes: int) -> Labels:
    """Return labels as int64.

    Raises
    ------
    ValueError
        If there is not one for each sample, or one is not of a class.
    """
    if labels.shape != (n_samples,):
        raise ValueError(f"labels of {n_samples} samples have shape {labels.shape}")
    labels = labels.astype(np.int64)
    if n_samples and not 0 <= labels.min() <= labels.max() < n_classes:
        raise ValueError(
            f"labels must be from 0 to {n_classes - 1}, got {labels.min()} to "
            f"{labels.max()}"
        )
    return labels


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
        content = _read_bytes(path)
        n_dims = len(shape) + 1
        start = 4 + 4 * n_dims
        # Two zeros, the code of bytes, and the number of dimensions.
        if content[:4] != bytes([0, 0, 8, n_dims]) or len(content) < start:
            raise ValueError(f"it is not an idx file of bytes in {n_dims} dimensions")
        dims = tuple(np.frombuffer(content[4:start], ">u4").tolist())
        if dims[1:] != shape:
            raise ValueError(f"samples have shape {dims[1:]} instead of {shape}")
        return np.frombuffer(content, np.uint8, offset=start).reshape(dims)


def read_npz(
    path: Path, part: str, shape: tuple[int, ...], n_classes: int
) -> tuple[Images, Labels]:
    """Read images and labels from an archive of NumPy arrays.

    Parameters
    ----------
    path : Path
        Archive with the arrays ``X_train``, ``y_train``, ``X_test`` and ``y_test``, in
        upper or lower case, as in the ``mnist.npz`` of Keras.
    part : {"train", "test"}
        Part to read.
    shape : tuple of int
        Expected shape of an image.
    n_classes : int
        Number of classes.

    Returns
    -------
    images : ndarray of uint8 of shape (n_samples, *shape)
    labels : ndarray of int of shape (n_samples,)

    Raises
    ------
    ValueError
        If the archive is damaged, or an array is missing or has another shape or dtype.
    """
    with reading(path), np.load(path, allow_pickle=False) as archive:
        names = {name.lower(): name for name in archive.files}
        missing = {f"x_{part}", f"y_{part}"} - names.keys()
        if missing:
            raise ValueError(f"it lacks the arrays {sorted(missing)}")
        images, labels = (archive[names[f"{array}_{part}"]] for array in "xy")
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise ValueError(
                f"images of the {part} part have shape {images.shape[1:]} and "
                f"dtype {images.dtype} instead of {shape} and uint8"
            )
        return images, check_labels(labels, len(images), n_classes)


def read_cifar(
    path: Path, folder: str, names: Sequence[str], label_names: Sequence[str]
) -> tuple[Images, list[Labels], list[NDArray[np.str_]]]:
    """Read the binary version of CIFAR-10 or CIFAR-100.

    Parameters
    ----------
    path : Path
        The archive, a tar file, compressed if its name ends in ``.gz``.
    folder : str
        Folder of the files in the archive.
    names : sequence of str
        Names of the files with samples.
    label_names : sequence of str
        Names of the files with the names of labels, one for each label of a sample.

    Returns
    -------
    images : ndarray of uint8 of shape (n_samples, 32, 32, 3)
    labels : list of n_labels ndarrays of int of shape (n_samples,)
    label_names : list of n_labels ndarrays of str

    Raises
    ------
    ValueError
        If the archive is damaged, or lacks a file.
    """
    with reading(path), tarfile.open(fileobj=io.BytesIO(_read_bytes(path))) as archive:

        def read(name: str) -> bytes:
            return archive.extractfile(f"{folder}/{name}").read()

        classes = [np.array(read(name).decode("ascii").split()) for name in label_names]
        # A sample is a byte for each label, then planes of red, green and blue.
        n_bytes = len(classes) + 3 * 32 * 32
        samples = np.concatenate(
            [np.frombuffer(read(name), np.uint8).reshape(-1, n_bytes) for name in names]
        )
        labels = [
            check_labels(samples[:, column], len(samples), len(words))
            for column, words in enumerate(classes)
        ]
        planes = samples[:, len(classes) :].reshape(-1, 3, 32, 32)
        return np.moveaxis(planes, 1, 3), labels, classes


def _read_bytes(path: Path) -> bytes:
    """Return the content of a file, uncompressed.

    It is read to its end, so that the checksum of gzip is compared.
    """
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def read_images(
    path: Path,
    names: Sequence[str],
    image_size: int,
    *,
    mode: str,
    border: tuple[int, int] = (0, 0),
    verbose: bool,
) -> NDArray[np.float32]:
    """Decode images of a zip archive, and scale them.

    Parameters
    ----------
    path : Path
        The archive.
    names : sequence of str
        Names of the images in the archive.
    image_size : int
        Height and width of the results.
    mode : {"L", "RGB"}
        Gray or color.
    border : tuple of int, default=(0, 0)
        Columns and rows that are cut off on each side, before the image is scaled.
    verbose : bool
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
    from PIL import Image, ImageOps

    size = (image_size, image_size)
    channels = (3,) if mode == "RGB" else ()
    images = np.empty((len(names), *size, *channels), np.float32)
    progress = Progress(path.name, "images", verbose, len(names))
    with reading(path), zipfile.ZipFile(path) as archive, closing(progress):
        for row, name in enumerate(names):
            try:
                image = Image.open(io.BytesIO(archive.read(name))).convert(mode)
            except (OSError, SyntaxError, Image.DecompressionBombError) as error:
                raise ValueError(f"{name} is no image: {error}") from error
            # On the way down, Pillow's filters average over the pixels of the source.
            image = ImageOps.crop(image, border).resize(size, Image.Resampling.BILINEAR)
            np.divide(image, np.float32(255), out=images[row])
            progress.update(1)
    return images


def check_images(image_size: int) -> None:
    """Check that images can be scaled, before they are downloaded.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    InvalidParameterError
        If the size is not valid.
    """
    check_argument("image_size", image_size, COUNT)
    purpose = "Reading these images needs Pillow"
    import_extra("PIL.Image", purpose, "'sktreevae[images]'")


def read_table(
    path: Path, columns: Sequence[str] | None = None
) -> tuple[NDArray[np.str_], Labels, Sequence[str]]:
    """Read a list of images of CelebA.

    Parameters
    ----------
    path : Path
        Text file. Each line has the name of an image and whole numbers.
    columns : sequence of str, default=None
        Names of the columns of numbers. None if the number of images and the names of
        the columns are the first two lines.

    Returns
    -------
    names : ndarray of str of shape (n_images,)
        Names of the images.
    values : ndarray of int of shape (n_images, n_columns)
    columns : sequence of n_columns str

    Raises
    ------
    ValueError
        If a line has another number of columns, or the number of images is not that in
        the first line.
    """
    with reading(path), path.open(encoding="ascii") as file:
        n_images = None
        if columns is None:
            n_images, columns = int(file.readline()), file.readline().split()
        row = [("name", "U32"), ("values", np.int64, (len(columns),))]
        rows = np.loadtxt(file, row, ndmin=1)
        if n_images not in (None, len(rows)):
            raise ValueError(f"it has {len(rows)} of {n_images} images")
        return rows["name"], rows["values"], columns
