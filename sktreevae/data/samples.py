"""Rows as tensors: standardized samples, and features computed from them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from ..model import FeatureMap
from ..model.likelihoods import LIKELIHOODS
from ..model.precision import no_autocast
from ..model.products import exact_products
from ..utils.chunks import BLOCK_SIZE, MAX_CHUNK_ROWS, row_slices
from ..utils.devices import fits_on
from ..utils.limits import ROUNDING
from ..utils.threads import parallel_map
from .scaling import Standardizer, check_support
from .sources import Matrix, is_in_memory

MAX_BLOCK_VALUES = 1 << 20
"""Maximum number of values in a block of more than `MIN_BLOCK_SIZE` rows."""

MIN_BLOCK_SIZE = BLOCK_SIZE // 8
"""Rows of a block, however many columns there are; a divisor of `BLOCK_SIZE`. Sizes
depend on nothing else, so that the result of a row doesn't depend on the others."""


class _Table(ABC):
    """Rows that are read by an index, and functions of them that are computed by block.

    Attributes
    ----------
    shape : tuple of int
        Number of rows and number of columns.
    device : torch.device
        Device of the tensors.
    chunk_size : int
        Maximum number of rows that are read at a time.
    block_size : int
        Number of rows that a function is applied to at a time.
    """

    shape: tuple[int, int]
    device: torch.device
    chunk_size: int = MAX_CHUNK_ROWS
    block_size: int = BLOCK_SIZE
    _tensor: Tensor | None = None

    @property
    def is_in_memory(self) -> bool:
        """Whether all rows are in memory, as one tensor."""
        return self._tensor is not None

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """Return rows, shape (len(rows), n_columns), by their indices or a slice."""
        return self._get(rows) if self._tensor is None else self._tensor[rows]

    @abstractmethod
    def _get(self, rows: Tensor | slice) -> Tensor:
        """Return rows that aren't in memory."""

    def __len__(self) -> int:
        return self.shape[0]

    def chunks(self) -> Iterator[slice]:
        """Yield slices of rows that are small enough to be read at once."""
        return row_slices(*self.shape, self.chunk_size)

    def map(
        self, function: Callable[[Tensor], Tensor], index: Tensor | None = None
    ) -> Tensor:
        """Apply a function to rows, such that a result depends on its row only.

        Rows are in blocks of constant size, so that operations have constant shapes.
        The last block is padded with zeros, whose results are dropped. Products of
        matrices are exact; see `exact_products`. One thread computes a block: as many
        blocks are computed at a time as torch has threads.

        Parameters
        ----------
        function : callable
            Maps (block_size, n_columns) to (block_size, ...), and leaves its argument
            as it is.
        index : Tensor of int, default=None
            The rows; all of them by default.
        """
        n_rows = len(self) if index is None else len(index)
        size, products = self.block_size, exact_products(self.device)
        result = None
        with parallel_map(self.device) as apply:
            for chunk in row_slices(n_rows, self.shape[1], self.chunk_size):
                blocks = self[chunk if index is None else index[chunk]].split(size)
                starts = range(chunk.start, max(chunk.stop, 1), size)
                computed = apply(partial(_map_block, function, products, size), blocks)
                for start, values in zip(starts, computed, strict=True):
                    if result is None:
                        result = values.new_empty(n_rows, *values.shape[1:])
                    result[start : start + len(values)] = values
        return result


@torch.no_grad()
def _map_block(
    function: Callable[[Tensor], Tensor],
    products: AbstractContextManager,
    size: int,
    block: Tensor,
) -> Tensor:
    """Apply a function to a block of at most `size` rows."""
    n_rows = len(block)
    if n_rows < size:
        block = F.pad(block, (0, 0, 0, size - n_rows))
    with products:
        return function(block)[:n_rows]


class Samples(_Table):
    """Standardized rows of a matrix without constant columns, as float32 tensors.

    A dense matrix in memory becomes one tensor, if the device has room for it, and a
    batch is an index into it. Rows of other matrices are read and made dense on each
    access. Values are checked against the support of the likelihood as they are read.

    Parameters
    ----------
    X : ndarray, CSR matrix or LazyRows of shape (n_samples, n_columns)
        Data in the user's units.
    standardizer : Standardizer
        Maps rows to the units of the model.
    device : torch.device, default=None
        Device of the tensors; the CPU by default.
    likelihood : str, default="gaussian"
        Name of the likelihood that has to support the values.

    Raises
    ------
    ValueError
        If a value isn't supported by the likelihood: on construction if the matrix is
        dense and in memory, and on access otherwise.
    """

    def __init__(
        self,
        X: Matrix,
        standardizer: Standardizer,
        device: torch.device | None = None,
        likelihood: str = "gaussian",
    ) -> None:
        self.X = X
        self.standardizer = standardizer
        self.likelihood = likelihood
        self.shape = X.shape[0], len(standardizer.scale)
        self.device = torch.device("cpu") if device is None else device
        self.block_size = _block_size(self.n_features)
        self._last: tuple[Tensor, Tensor] | None = None
        n_bytes = torch.float32.itemsize * math.prod(self.shape)
        is_dense = isinstance(X, np.ndarray)
        stays = is_dense and is_in_memory(X) and fits_on(n_bytes, device)
        # Copies from pinned memory to a GPU run while it works on the batch before.
        self._pins = not stays and self.device.type == "cuda"
        self._tensor = self._read(slice(None)) if stays else None

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.shape[1]

    @property
    def cache_key(self) -> tuple:
        """Plain values and arrays that determine the samples; see `Cache`."""
        X = self.X
        if sparse.issparse(X):
            # Sparse matrices store flags, which their methods set as a side effect.
            X = (X.data, X.indices, X.indptr, X.shape)
        maps = self.standardizer
        units = maps.center, maps.scale, maps.low, maps.high, maps.constant
        return X, *units, self.likelihood, str(self.device)

    def _get(self, rows: Tensor | slice) -> Tensor:
        if isinstance(rows, slice):
            return self._read(rows)
        # The encoder, the likelihood and augmentations ask for the same batch in turn.
        if self._last is None or not torch.equal(rows, self._last[0]):
            self._last = rows.clone(), self._read(rows.numpy(force=True))
        return self._last[1]

    def _read(self, rows: slice | NDArray[np.int64]) -> Tensor:
        """Read rows, chunk by chunk."""
        positions = np.arange(len(self))[rows]
        # In the order of the file: rows nearby share a page or a chunk.
        order = positions.argsort(kind="stable")
        result = torch.empty(
            (len(positions), self.n_features),
            dtype=torch.float32,
            pin_memory=self._pins,
        )
        values = result.numpy()
        size = self.chunk_size
        if is_in_memory(self.X):
            # Few enough rows for the cache of the processor.
            size = min(size, max(1, MAX_BLOCK_VALUES // self.X.shape[1]))
        for chunk in row_slices(len(order), self.X.shape[1], size):
            index = order[chunk]
            rows = self._convert(self.X[_as_slice(positions[index])])
            values[_as_slice(index)] = rows
        return result.to(self.device, non_blocking=self._pins)

    def _convert(self, rows: np.ndarray | sparse.csr_array) -> NDArray[np.float32]:
        """Check and standardize rows in the user's units."""
        # In float64, which represents values of any unit.
        values = self.standardizer.transform(rows)
        # A likelihood with a range doesn't standardize.
        check_support(values, self.likelihood)
        likelihood = LIKELIHOODS[self.likelihood]
        limits = self.standardizer if likelihood.standardize else likelihood
        np.clip(values, limits.low, limits.high, out=values)
        if not likelihood.standardize:
            # The same bits with and without rounding errors.
            largest = values.max(axis=1, keepdims=True)
            values[values < ROUNDING * largest] = 0.0
        return values.astype(np.float32)


class FeatureTable(_Table):
    """Features of samples, by which neighbors are found and which the encoder reads.

    If the matrix is in memory, dense or sparse, the features are computed once. They
    are small beside it. Otherwise each access computes them, with the same result to
    the bit.

    Parameters
    ----------
    samples : Samples
        The data.
    feature_map : FeatureMap
        Maps samples to features.
    index : Tensor of int, default=None
        The rows of `samples`; all of them by default.
    """

    def __init__(
        self, samples: Samples, feature_map: FeatureMap, index: Tensor | None = None
    ) -> None:
        if index is None:
            index = torch.arange(len(samples), device=samples.device)
        self.shape = len(index), feature_map.n_outputs
        self.device = samples.device
        self.chunk_size, self.block_size = samples.chunk_size, samples.block_size
        self._samples, self._feature_map = samples, feature_map
        self._index = index
        n_bytes = torch.float32.itemsize * math.prod(self.shape)
        if is_in_memory(samples.X) and fits_on(n_bytes, samples.device):
            self._tensor = samples.map(self._compute, index)

    @classmethod
    def from_tensor(cls, tensor: Tensor) -> Self:
        """Return a table of features that are computed already.

        Examples
        --------
        >>> table = FeatureTable.from_tensor(torch.arange(6).reshape(3, 2))
        >>> table.map(lambda rows: rows.sum(1))
        tensor([1, 5, 9])
        """
        table = cls.__new__(cls)
        table.shape, table.device = tuple(tensor.shape), tensor.device
        table._tensor = tensor
        return table

    @property
    def cache_key(self) -> tuple:
        """Plain values and arrays that determine features in memory; see `Cache`."""
        return self._tensor.numpy(force=True), str(self.device)

    def subset(self, index: Tensor) -> FeatureTable:
        """Return the table of some rows."""
        if self._tensor is None:
            return FeatureTable(self._samples, self._feature_map, self._index[index])
        table = FeatureTable.from_tensor(self._tensor[index])
        table.chunk_size, table.block_size = self.chunk_size, self.block_size
        return table

    def _get(self, rows: Tensor | slice) -> Tensor:
        return self._samples.map(self._compute, self._index[rows])

    def _compute(self, x: Tensor) -> Tensor:
        # In float32, also if a network that trains in less asks for a batch.
        with no_autocast(x):
            return self._feature_map(x)


def _block_size(n_columns: int) -> int:
    """Return the number of rows that a function of rows is applied to at a time."""
    n_units = MAX_BLOCK_VALUES // (MIN_BLOCK_SIZE * n_columns)
    return min(BLOCK_SIZE, MIN_BLOCK_SIZE * max(1, n_units))


def n_batches(n_samples: int, batch_size: int) -> int:
    """Return the number of batches of `shuffled_batches`.

    Examples
    --------
    >>> n_batches(10, 4)
    3
    """
    return math.ceil(n_samples / batch_size)


def shuffled_batches(
    n_samples: int, n_batches: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Return the indices 0 to n_samples - 1, shuffled, in batches of equal size.

    Sizes differ by at most one: no batch is tiny, and no sample is dropped.
    """
    order = torch.randperm(n_samples, generator=generator, device=generator.device)
    return order.tensor_split(n_batches)


def _as_slice(positions: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return sorted positions without a gap as a slice, which is read faster."""
    if len(positions) and (np.diff(positions) == 1).all():
        return slice(positions[0], positions[-1] + 1)
    return positions
