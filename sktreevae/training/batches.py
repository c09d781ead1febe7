"""From a user's matrix to standardised batches of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from ..devices import has_room
from ..model import FeatureMap
from ..model.precision import full_precision
from ..sources import Matrix, is_resident, row_slices

__all__ = ["Features", "Samples", "map_blocks", "shuffled_batches", "subset"]

BLOCK_SIZE = 256
"""Rows of a block of predictions. Constant, so a row's result depends on it alone."""

LARGEST = 1e12
"""Standardised values are clipped here, lest they overflow on their way to the leaves.
Those of training samples are smaller: at most the root of the number of all values."""


class Samples:
    """Rows of a matrix, standardised, as float32 tensors.

    A dense matrix in memory becomes one tensor, if the device has room for it, and a
    batch an index into it. Rows of all others are read, and made dense, when asked for.

    Parameters
    ----------
    X : ndarray, CSR matrix or Rows of shape (n_samples, n_features)
        Data in the user's units.
    center, scale : ndarray of shape (n_features,)
        A row x becomes (x - center) / scale.
    device : torch.device, default=None
        Where the tensors go; the CPU by default.
    """

    def __init__(
        self,
        X: Matrix,
        center: np.ndarray,
        scale: np.ndarray,
        device: torch.device | None = None,
    ) -> None:
        self._X = X
        self._center = center
        self._scale = scale
        self._is_standard = not center.any() and (scale == 1).all()
        self._device = device
        self._center_tensor, self._scale_tensor = (
            torch.from_numpy(values.astype(np.float32)).to(device)
            for values in (center, scale)
        )
        self._last: tuple[Tensor, Tensor] | None = None
        n_bytes = torch.float32.itemsize * math.prod(X.shape)
        stays = is_resident(X) and has_room(n_bytes, device)
        # From locked pages, a batch goes to a GPU while that works on the one before.
        self._pins = not stays and device is not None and device.type == "cuda"
        self._resident = self._read(slice(None)) if stays else None

    def __len__(self) -> int:
        return self._X.shape[0]

    @property
    def device(self) -> torch.device | None:
        """Where the tensors go."""
        return self._device

    @property
    def is_resident(self) -> bool:
        """Whether the rows are in memory, as a tensor."""
        return self._resident is not None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, number of columns."""
        return self._X.shape

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.shape[1]

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """Return rows by an integer tensor or a slice, (len(rows), n_features)."""
        if self._resident is not None:
            return self._resident[rows]
        if isinstance(rows, slice):
            return self._read(rows)
        # The encoder, the decoders and views ask for the same batch in turn.
        if self._last is None or not torch.equal(rows, self._last[0]):
            self._last = rows.clone(), self._read(rows.numpy(force=True))
        return self._last[1]

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
            return map_blocks(function, self)
        chunks = row_slices(len(index), self.n_features)
        return torch.cat([map_blocks(function, self[index[rows]]) for rows in chunks])

    def standardise(self, rows: Tensor) -> Tensor:
        """Standardise rows in the user's units like the samples."""
        return (rows - self._center_tensor) / self._scale_tensor

    def restore(self, rows: Tensor) -> Tensor:
        """Return standardised rows in the user's units."""
        return rows * self._scale_tensor + self._center_tensor

    def _read(self, rows: slice | NDArray[np.int64]) -> Tensor:
        """Read rows, by one chunk after the other."""
        if isinstance(rows, slice):
            positions, place = range(len(self))[rows], None
        else:
            # In the order of the file: neighbours share a page, or a chunk.
            place = rows.argsort(kind="stable")
            positions = rows[place]
        result = torch.empty(len(positions), self.n_features, pin_memory=self._pins)
        values = result.numpy()
        for chunk in row_slices(*values.shape):
            found = self._convert(self._X[_tight(positions[chunk])])
            values[chunk if place is None else place[chunk]] = found
        return result.to(self._device, non_blocking=self._pins)

    def _convert(self, rows: np.ndarray | sparse.csr_array) -> NDArray[np.float32]:
        if sparse.issparse(rows):
            rows = rows.toarray()
        if self._is_standard:
            rows = rows.astype(np.promote_types(rows.dtype, np.float32), copy=False)
            return np.clip(rows, -LARGEST, LARGEST).astype(np.float32, copy=False)
        # In float64, where 1e30 and 1e-30 are as good as one.
        standardised = rows.astype(np.float64)
        standardised -= self._center
        standardised /= self._scale
        np.clip(standardised, -LARGEST, LARGEST, out=standardised)
        return standardised.astype(np.float32)


class Features:
    """What a map makes of samples, by batch: stands in for a tensor too large to hold.

    In constant blocks, so that rows are those of the tensor, bit by bit.

    Parameters
    ----------
    samples : Samples
        The data, standardised.
    feature_map : FeatureMap
        What makes features of them.
    index : Tensor of int, default=None
        Samples in question; all by default.
    """

    def __init__(
        self, samples: Samples, feature_map: FeatureMap, index: Tensor | None = None
    ) -> None:
        self._samples = samples
        self._feature_map = feature_map
        self._index = index

    def __len__(self) -> int:
        return len(self._samples if self._index is None else self._index)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of samples, number of features."""
        return len(self), self._feature_map.n_outputs

    @property
    def device(self) -> torch.device | None:
        """Where the tensors go."""
        return self._samples.device

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """Return features of some samples, (len(rows), n_outputs)."""
        return self._samples.map(self._compute, self._positions(rows))

    def subset(self, index: Tensor) -> Features:
        """Return the features of some samples, not computed yet."""
        return Features(self._samples, self._feature_map, self._positions(index))

    def _compute(self, x: Tensor) -> Tensor:
        # As precisely as for a tensor, which is computed before any training.
        with full_precision(x):
            return self._feature_map(x)

    def _positions(self, rows: Tensor | slice) -> Tensor:
        if self._index is not None:
            return self._index[rows]
        if isinstance(rows, slice):
            return torch.arange(*rows.indices(len(self)), device=self.device)
        return rows


def subset(features: Tensor | Features, index: Tensor) -> Tensor | Features:
    """Return the features of some samples; in memory if those of all are."""
    return features.subset(index) if isinstance(features, Features) else features[index]


@torch.no_grad()
def map_blocks(
    function: Callable[[Tensor], Tensor], x: Tensor | Samples | Features
) -> Tensor:
    """Apply a function to rows in blocks of constant size.

    The last block is filled up with zeros, whose results are dropped.
    """
    result = None
    for chunk in row_slices(*x.shape):
        for i, rows in enumerate(x[chunk].split(BLOCK_SIZE)):
            padding = (0, 0, 0, BLOCK_SIZE - len(rows))
            found = function(F.pad(rows, padding))[: len(rows)]
            if result is None:
                result = found.new_empty(len(x), *found.shape[1:])
            start = chunk.start + i * BLOCK_SIZE
            result[start : start + len(rows)] = found
    return result


def shuffled_batches(
    n_samples: int, batch_size: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Return the positions 0 to n_samples - 1, shuffled, in batches of equal size.

    Sizes differ by one at most: no tiny last batch, and none is dropped.
    """
    order = torch.randperm(n_samples, generator=generator, device=generator.device)
    return order.tensor_split(-(-n_samples // batch_size))


def _tight(positions: range | NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return sorted positions as a slice where there is no gap: it is read faster."""
    if isinstance(positions, range) or (np.diff(positions) == 1).all():
        return slice(positions[0], positions[-1] + 1) if len(positions) else slice(0)
    return positions
