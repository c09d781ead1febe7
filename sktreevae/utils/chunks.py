"""Slices of rows that are read and converted at a time."""

from __future__ import annotations

from collections.abc import Iterator

MAX_CHUNK_ROWS = 1 << 14
"""Maximum number of rows that are read and converted at a time."""

MAX_CHUNK_VALUES = 1 << 24
"""Maximum number of values in a chunk of more than `BLOCK_SIZE` rows."""

BLOCK_SIZE = 256
"""Rows that a function is applied to at a time, and rows of a chunk at least, however
many columns there are. Wide chunks are multiples of it."""


def row_slices(
    n_rows: int, n_columns: int, chunk_size: int = MAX_CHUNK_ROWS
) -> Iterator[slice]:
    """Yield slices of rows that are small enough to be copied; at least one.

    Parameters
    ----------
    n_rows, n_columns : int
        Shape of the matrix.
    chunk_size : int, default=MAX_CHUNK_ROWS
        Maximum number of rows of a slice. Slices of wide matrices have fewer.
    """
    n_blocks = MAX_CHUNK_VALUES // (BLOCK_SIZE * n_columns)
    size = min(chunk_size, BLOCK_SIZE * max(1, n_blocks))
    for start in range(0, max(n_rows, 1), size):
        yield slice(start, min(start + size, n_rows))
