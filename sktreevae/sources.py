"""What rows are read from: matrices, datasets of torch and arrays of Dask."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

__all__ = ["Matrix", "Rows", "as_matrix", "is_resident", "row_slices"]

CHUNK_SIZE = 1 << 14
CHUNK_VALUES = 1 << 24
"""Most rows, and about the most values, that are converted at a time."""

LEAST_CHUNK = 256
"""Sizes of chunks are multiples of this."""

Index = slice | NDArray[np.integer]


class Rows(ABC):
    """Rows that are read, and checked, whenever they are asked for.

    To whoever reads, the same as a matrix: it has a shape, a type and an index. The
    first pass of a fit reads all of it, and so finds what is wrong before any training.

    Parameters
    ----------
    shape : tuple of two ints
        Number of samples, number of features.
    dtype : dtype
        Type of the values.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype) -> None:
        for n, what in zip(shape, ("sample", "feature"), strict=True):
            if n == 0:
                raise ValueError(
                    f"Found X with 0 {what}(s) (shape={shape}) while a minimum of 1 is "
                    "required."
                )
        _check_numeric(dtype)
        self.shape = shape
        self.dtype = dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Index) -> NDArray[np.number]:
        """Return the rows of a slice or of an array of positions."""
        values = self._read(rows)
        _check_numeric(values.dtype)
        finite = np.isfinite(values)
        if not finite.all():
            at, column = np.argwhere(~finite)[0]
            what = "NaN" if np.isnan(values[at, column]) else "infinity"
            row = _positions(rows, len(self))[at]
            raise ValueError(
                f"Input X contains {what}, in row {row} and column {column}."
            )
        return values

    @abstractmethod
    def _read(self, rows: Index) -> NDArray[np.number]:
        """Return rows, (len(rows), n_features)."""


class DatasetRows(Rows):
    """The rows of a map-style dataset of torch.

    Parameters
    ----------
    dataset : Dataset
        An item is a row, an array or a tensor of any shape, or a tuple that begins with
        one.
    """

    def __init__(self, dataset: Dataset) -> None:
        try:
            n_samples = len(dataset)
        except TypeError:
            raise TypeError(
                f"X must have a length and an index, but {type(dataset).__name__} has "
                "no length: only map-style datasets can be read in any order."
            ) from None
        first = _row(dataset[0]) if n_samples else np.empty(1)
        super().__init__((n_samples, first.size), first.dtype)
        self._dataset = dataset

    def _read(self, rows: Index) -> NDArray[np.number]:
        positions = list(_positions(rows, len(self)))
        # The optional protocol by which torch's own loaders read batches.
        fetch = getattr(self._dataset, "__getitems__", None)
        items = fetch(positions) if fetch else [self._dataset[i] for i in positions]
        values = [_row(item) for item in items]
        n_features = self.shape[1]
        for position, row in zip(positions, values, strict=True):
            if row.size != n_features:
                raise ValueError(
                    "All items of a dataset must have as many features, but item 0 has "
                    f"{n_features} and item {position} has {row.size}."
                )
        return np.array(values).reshape(len(values), n_features)


class DaskRows(Rows):
    """The rows of a Dask array, computed whenever they are asked for.

    Parameters
    ----------
    array : dask.array.Array
        Two-dimensional, of known shape.
    """

    def __init__(self, array: object) -> None:
        if array.ndim != 2:
            raise ValueError(
                f"Expected 2D array, got a Dask array of shape {array.shape} instead."
            )
        if np.isnan(array.shape).any():
            raise ValueError(
                f"X is a Dask array of unknown shape {array.shape}. Call "
                "X.compute_chunk_sizes() first."
            )
        super().__init__(array.shape, array.dtype)
        self._array = array

    def _read(self, rows: Index) -> NDArray[np.number]:
        return np.asarray(self._array[rows].compute())


Matrix = NDArray[np.number] | sparse.csr_matrix | sparse.csr_array | Rows


def as_matrix(X: object) -> object:
    """Wrap a dataset or a Dask array as `Rows`; return all else as it is.

    Raises
    ------
    TypeError, ValueError
        For a dataset that can't be indexed, and for what isn't numeric, isn't
        two-dimensional, or is empty.
    """
    if isinstance(X, IterableDataset):
        raise TypeError(
            f"X must have a length and an index, but {type(X).__name__} is an "
            "IterableDataset: only map-style datasets can be read in any order."
        )
    if isinstance(X, Dataset):
        return DatasetRows(X)
    # There is no Dask array where dask isn't loaded.
    dask_array = sys.modules.get("dask.array")
    if dask_array is not None and isinstance(X, dask_array.Array):
        return DaskRows(X)
    return X


def is_resident(X: Matrix) -> bool:
    """Tell whether a matrix is dense and in memory."""
    if not isinstance(X, np.ndarray):
        return False
    base = X
    while base is not None:
        if isinstance(base, np.memmap):
            return False
        base = getattr(base, "base", None)
    return True


def row_slices(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Yield slices of so few rows that a copy of them does no harm; one at least."""
    n_blocks = CHUNK_VALUES // (LEAST_CHUNK * n_columns)
    size = min(CHUNK_SIZE, LEAST_CHUNK * max(1, n_blocks))
    for start in range(0, max(n_rows, 1), size):
        yield slice(start, min(start + size, n_rows))


def _row(item: object) -> NDArray[np.number]:
    """Return an item of a dataset as a flat array, without labels."""
    labelled = isinstance(item, list) and isinstance(item[0], np.ndarray | Tensor)
    if labelled or isinstance(item, tuple):
        item = item[0]
    if isinstance(item, Tensor):
        if item.dtype == torch.bfloat16:  # which numpy doesn't know
            item = item.float()
        item = item.numpy(force=True)
    return np.asarray(item).ravel()


def _positions(rows: Index, n: int) -> list[int] | range:
    return range(n)[rows] if isinstance(rows, slice) else rows.tolist()


def _check_numeric(dtype: np.dtype) -> None:
    if dtype.kind == "c":
        raise ValueError(f"Complex data not supported: X has values of type {dtype}.")
    if dtype.kind not in "biuf":
        raise ValueError(f"X must have numeric values, got some of type {dtype}.")
