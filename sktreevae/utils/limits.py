"""Limits that many statistics share: numbers of rows and of values, and rounding."""

from __future__ import annotations

BLOCK_ROWS = 512
"""Number of rows that all nodes of a tree are evaluated for at a time."""

MAX_STATISTICS_ROWS = 20_000
"""Maximum number of random rows of sums, such as means and principal components. Their
errors are then below a hundredth of a standard deviation."""

MAX_MODEL_ROWS = 10_000
"""Maximum number of random rows that mixtures, scales and prior routers are fitted to,
and that clusters are compared on: each of them takes several passes."""

MAX_DENSE_ROWS = 1000
"""Maximum number of random rows that are all compared with each other, or of which a
square matrix is decomposed."""

MAX_STATISTICS_VALUES = 1 << 25
"""Maximum number of values of wide rows that statistics are computed from."""

ROUNDING = 1e-6
"""Values, variances and weights that are smaller, relative to the others, are rounding
errors of single precision. Those of double precision are below its square."""
