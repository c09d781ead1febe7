"""Sources of rows: matrices, torch datasets and Dask arrays."""

from __future__ import annotations

import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from ..utils.chunks import row_slices
from ..utils.processes import ONE_PROCESS, Processes

Index = slice | NDArray[np.integer]
"""Rows or columns: a slice, or an array of positions."""


class LazyRows(ABC):
    """Base class of sources whose rows are read and checked on each access.

    It has the shape, dtype and index of a matrix. `DataSummary.from_matrix` reads all
    rows once, so invalid values are found before any training.

    Parameters
    ----------
    shape : tuple of two ints
        Number of samples and number of features.
    dtype : dtype
        Type of the values.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype) -> None:
        for size, axis in zip(shape, ("sample", "feature"), strict=True):
            if size == 0:
                raise ValueError(
                    f"Found X with 0 {axis}(s) (shape={shape}) while a minimum of 1 is "
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
            position, column = np.argwhere(~finite)[0]
            name = "NaN" if np.isnan(values[position, column]) else "infinity"
            row = _positions(rows, len(self))[position]
            raise ValueError(
                f"Input X contains {name}, in row {row} and column {column}."
            )
        return values

    @abstractmethod
    def _read(self, rows: Index) -> NDArray[np.number]:
        """Return rows, shape (len(rows), n_features)."""


class DatasetRows(LazyRows):
    """Rows of a map-style torch dataset.

    Parameters
    ----------
    dataset : Dataset
        Items are arrays or tensors of any shape, one row each, or tuples whose first
        element is one.
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
        # The optional protocol by which torch's data loaders read a batch at once.
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


class DaskRows(LazyRows):
    """Rows of a Dask array, computed on each access.

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


Matrix = NDArray[np.number] | sparse.csr_matrix | sparse.csr_array | LazyRows


def as_matrix(X: object) -> object:
    """Wrap a dataset or a Dask array in `LazyRows`; return other input unchanged.

    Raises
    ------
    TypeError, ValueError
        If a dataset can't be indexed, or if the data aren't numeric, aren't
        two-dimensional or are empty.
    """
    if isinstance(X, IterableDataset):
        raise TypeError(
            f"X must have a length and an index, but {type(X).__name__} is an "
            "IterableDataset: only map-style datasets can be read in any order."
        )
    if isinstance(X, Dataset):
        return DatasetRows(X)
    return DaskRows(X) if is_dask_array(X) else X


def is_dask_array(X: object) -> bool:
    """Return whether X is a Dask array, without importing dask."""
    dask_array = sys.modules.get("dask.array")
    return dask_array is not None and isinstance(X, dask_array.Array)


def is_in_memory(X: Matrix) -> bool:
    """Return whether a matrix is in memory, dense or sparse, and not a memory map."""
    if sparse.issparse(X):
        return is_in_memory(X.data)
    if not isinstance(X, np.ndarray):
        return False
    base = X
    while base is not None:
        if isinstance(base, np.memmap):
            return False
        base = getattr(base, "base", None)
    return True


def digest(X: Matrix, processes: Processes = ONE_PROCESS) -> str:
    """Return a digest of the values of a matrix, whichever processes have its rows.

    It is the sum of the SHA-256 of all rows, each with its number.
    """
    start, _ = processes.locate(X.shape[0])
    total = 0
    for rows in row_slices(*X.shape):
        for number, row in enumerate(_row_bytes(X[rows]), start + rows.start):
            content = hashlib.sha256(b"%d " % number + row).digest()
            total += int.from_bytes(content)
    return f"{sum(processes.gather(total)) % 2**256:064x}"


def _row_bytes(rows: NDArray[np.number] | sparse.csr_array) -> Iterator[bytes]:
    """Yield the bytes of each row: its values, and their columns if it is sparse."""
    if not sparse.issparse(rows):
        yield from map(bytes, np.ascontiguousarray(rows))
        return
    # The type of the indices depends on the version of scipy.
    columns = rows.indices.astype(np.int64)
    for start, end in pairwise(rows.indptr):
        yield columns[start:end].tobytes() + rows.data[start:end].tobytes()


def _row(item: object) -> NDArray[np.number]:
    """Return an item of a dataset as a flat array, without its label."""
    labeled = isinstance(item, list) and isinstance(item[0], np.ndarray | Tensor)
    if labeled or isinstance(item, tuple):
        item = item[0]
    if isinstance(item, Tensor):
        if item.dtype == torch.bfloat16:  # NumPy has no bfloat16
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
