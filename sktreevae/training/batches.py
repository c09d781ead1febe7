"""From a user's matrix to standardised batches of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Samples", "map_blocks", "shuffled_batches"]

BLOCK_SIZE = 256
"""Rows of a block of predictions. Constant, so a row's result depends on it alone."""

LARGEST = 1e12
"""Standardised values are clipped here, lest they overflow on their way to the leaves.
Those of training samples are smaller: at most the root of the number of all values."""

CHUNK_SIZE = 1 << 14
"""Rows that are converted at a time."""


class Samples:
    """Rows of a matrix, standardised, as float32 tensors.

    A dense matrix in memory becomes one tensor, and a batch an index into it. Rows of
    memory-mapped and sparse matrices are read, and made dense, when asked for.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Data in the user's units.
    center, scale : ndarray of shape (n_features,)
        A row x becomes (x - center) / scale.
    device : torch.device, default=None
        Where the tensors go; the CPU by default.
    """

    def __init__(
        self,
        X: np.ndarray | sparse.csr_matrix | sparse.csr_array,
        center: np.ndarray,
        scale: np.ndarray,
        device: torch.device | None = None,
    ) -> None:
        self._X = X
        self._center = center
        self._scale = scale
        self._device = device
        self._center_tensor, self._scale_tensor = (
            torch.from_numpy(values.astype(np.float32)).to(device)
            for values in (center, scale)
        )
        self._resident = None
        if not sparse.issparse(X) and not _is_memory_mapped(X):
            chunks = (self._convert(X[rows]) for rows in _slices(len(self), CHUNK_SIZE))
            self._resident = torch.cat(list(chunks))

    def __len__(self) -> int:
        return self._X.shape[0]

    @property
    def device(self) -> torch.device | None:
        """Where the tensors go."""
        return self._device

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self._X.shape[1]

    def __getitem__(self, index: Tensor) -> Tensor:
        """Return the rows that an integer tensor names, (len(index), n_features)."""
        if self._resident is not None:
            return self._resident[index]
        return self._convert(self._X[index.numpy(force=True)])

    @torch.no_grad()
    def map(
        self, function: Callable[[Tensor], Tensor], index: Tensor | None = None
    ) -> Tensor:
        """Apply a function to rows, in blocks of constant size.

        The last block is filled up with zeros, whose results are dropped.

        Parameters
        ----------
        function : callable
            Maps (block, n_features) to (block, ...).
        index : Tensor of int, default=None
            The rows; all of them by default.
        """
        if index is None:
            index = torch.arange(len(self), device=self._device)
        return torch.cat(
            [map_blocks(function, self[rows]) for rows in index.split(BLOCK_SIZE)]
        )

    def standardise(self, rows: Tensor) -> Tensor:
        """Standardise rows in the user's units like the samples."""
        return (rows - self._center_tensor) / self._scale_tensor

    def restore(self, rows: Tensor) -> Tensor:
        """Return standardised rows in the user's units."""
        return rows * self._scale_tensor + self._center_tensor

    def _convert(self, rows: np.ndarray | sparse.csr_array) -> Tensor:
        if sparse.issparse(rows):
            rows = rows.toarray()
        # In float64, where 1e30 and 1e-30 are as good as one.
        standardised = (rows.astype(np.float64) - self._center) / self._scale
        np.clip(standardised, -LARGEST, LARGEST, out=standardised)
        return torch.from_numpy(standardised.astype(np.float32)).to(self._device)


@torch.no_grad()
def map_blocks(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function to the rows of a tensor in blocks of constant size.

    The last block is filled up with zeros, whose results are dropped.
    """
    results = []
    for rows in x.split(BLOCK_SIZE):
        padding = (0, 0, 0, BLOCK_SIZE - len(rows))
        results.append(function(F.pad(rows, padding))[: len(rows)])
    return torch.cat(results)


def shuffled_batches(
    n_samples: int, batch_size: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Return the positions 0 to n_samples - 1, shuffled, in batches of equal size.

    Sizes differ by one at most: no tiny last batch, and none is dropped.
    """
    order = torch.randperm(n_samples, generator=generator, device=generator.device)
    return order.tensor_split(-(-n_samples // batch_size))


def _is_memory_mapped(X: np.ndarray) -> bool:
    """Tell whether an array, or one that it is a view of, is a `numpy.memmap`."""
    while X is not None:
        if isinstance(X, np.memmap):
            return True
        X = getattr(X, "base", None)
    return False


def _slices(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
