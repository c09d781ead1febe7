"""Statistics of the data, the choice of the likelihood, and standardization."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import reduce
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.preprocessing import StandardScaler
from sklearn.utils.sparsefuncs import min_max_axis
from torch import Tensor

from ..exceptions import InvalidParameterError
from ..model.likelihoods import LIKELIHOODS
from ..utils.chunks import MAX_CHUNK_ROWS, row_slices
from ..utils.limits import ROUNDING
from ..utils.processes import ONE_PROCESS, Processes
from .binary import BinaryColumns
from .outliers import FeatureBounds, Outlier
from .sources import Index, Matrix

MAX_VALUE = 1e150
"""Largest absolute value of X: squares of larger ones overflow."""

MAX_STANDARDIZED = 1 / ROUNDING**2
"""Standardized values are clipped to this absolute value, so that they don't overflow
in the networks. Beside it, a standard deviation is a rounding error."""

MAX_DEVIATION = 5.0
"""Maximum absolute value of a standardized feature, without outliers. Normal features
of a million samples hardly reach it."""

MAX_PLAIN_FEATURES = 64
"""Data with more features than this are reduced to principal components."""

MAX_DENSITY = 0.9
"""Fraction of nonzero entries below which data without negative values are amounts."""


@dataclass(frozen=True, eq=False)
class DataSummary:
    """Statistics of a matrix.

    The features are the columns that vary by more than rounding errors, or all of
    images. The others count for nothing.

    Parameters
    ----------
    n_samples, n_features : int
        Numbers of rows and of features.
    constant : ndarray of shape (n_columns,)
        Value of each constant column; NaN for the features.
    low, high : float
        Smallest and largest value of all features.
    mean, var, std : ndarray of shape (n_features,)
        Mean, variance and standard deviation of each feature, without outliers. The
        standard deviation of a feature that doesn't vary is 1.
    deviation : ndarray of shape (n_features,)
        Largest distance of a value from the mean of its feature, without outliers.
    n_nonzero : int
        Number of values of the features that aren't zero.
    fractional_value : float or None
        A value of the features that isn't a whole number, if there is one.
    bounds : FeatureBounds or None
        Bounds beyond which values are outliers, if any.
    outliers : tuple of Outlier
        The value of each feature that is furthest beyond its bounds, if any.
    binary : BinaryColumns or None
        Columns of two values; None without bounds.
    """

    n_samples: int
    n_features: int
    constant: NDArray[np.float64]
    low: float
    high: float
    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    std: NDArray[np.float64]
    deviation: NDArray[np.float64]
    n_nonzero: int
    fractional_value: float | None
    bounds: FeatureBounds | None = None
    outliers: tuple[Outlier, ...] = ()
    binary: BinaryColumns | None = None

    @property
    def is_nonnegative(self) -> bool:
        """Whether no value is negative by more than a rounding error."""
        return self.low >= -ROUNDING * self.high

    @property
    def density(self) -> float:
        """Fraction of the values that aren't zero."""
        return self.n_nonzero / (self.n_samples * self.n_features)

    @property
    def has_amounts(self) -> bool:
        """Whether values are many amounts, of which some are nothing."""
        is_wide = self.n_features > MAX_PLAIN_FEATURES
        return is_wide and self.is_nonnegative and self.density < MAX_DENSITY

    @classmethod
    def from_matrix(
        cls,
        X: Matrix,
        chunk_size: int = MAX_CHUNK_ROWS,
        *,
        bounds: FeatureBounds | None = None,
        columns: Index | None = None,
        processes: Processes = ONE_PROCESS,
    ) -> Self:
        """Compute the statistics in one pass over X.

        Parameters
        ----------
        X : ndarray, CSR matrix or LazyRows of shape (n_samples, n_columns)
            Data in the user's units.
        chunk_size : int, default=MAX_CHUNK_ROWS
            Maximum number of rows that are read at a time.
        bounds : FeatureBounds, default=None
            Bounds of all columns, beyond which values don't count for the moments; not
            for sparse matrices.
        columns : slice or ndarray of int, default=None
            Columns that are features. By default those that vary, or all if none does.
        processes : Processes, default=ONE_PROCESS
            Processes that share the data. The statistics are of all rows.

        Raises
        ------
        ValueError
            If X has values whose squares overflow.
        """
        statistics = _ColumnStatistics(X.shape[1], sparse.issparse(X), bounds)
        first_sample, _ = processes.locate(X.shape[0])
        for rows in row_slices(*X.shape, chunk_size):
            if rows.stop > rows.start:
                statistics.add(X[rows], first_sample + rows.start)
        parts = processes.gather(statistics)
        statistics = reduce(_ColumnStatistics.merge, (s for s in parts if s.n_samples))
        columns = statistics.find_features() if columns is None else columns
        summary = statistics.summarize(columns)
        if bounds is None:
            return summary
        low, high = statistics.inner_ends[:, columns]
        binary = BinaryColumns.from_matrix(
            X, columns, low, high, summary.bounds, processes
        )
        return replace(summary, binary=binary)


class _ColumnStatistics:
    """Statistics of all columns, of the rows that have been read.

    Parameters
    ----------
    n_columns : int
        Number of columns.
    is_sparse : bool
        Whether rows are sparse.
    bounds : FeatureBounds or None
        See `DataSummary.from_matrix`.
    """

    def __init__(
        self, n_columns: int, is_sparse: bool, bounds: FeatureBounds | None
    ) -> None:
        # The scaler doesn't center sparse features, but it computes their means.
        self.scaler = StandardScaler(with_mean=not is_sparse)
        self.bounds = bounds
        self.n_samples = 0
        # Smallest and largest values: of all samples, and without outliers. Those of
        # the values that aren't whole numbers are `fractions`, 0 if there are none.
        self.ends, self.inner_ends = np.full((2, 2, n_columns), np.nan)
        self.fractions = np.zeros((2, n_columns))
        # Excess over the bounds, value and row.
        self.furthest = np.zeros((3, n_columns))
        self.n_nonzero = np.zeros(n_columns, dtype=np.int64)

    def add(self, rows: np.ndarray | sparse.csr_array, first_sample: int) -> None:
        """Add rows to the statistics."""
        rows = rows.astype(np.float64)
        self.n_samples += rows.shape[0]
        self.n_nonzero += np.asarray((rows != 0).sum(axis=0)).ravel()
        if not self.fractions.any(axis=0).all():
            self.fractions = _unite(self.fractions, _ends(_fractions(rows)))
        self.ends = _unite(self.ends, _ends(rows))
        if np.abs(self.ends).max() > MAX_VALUE:
            raise ValueError(
                "X has values too large to standardize: their squares overflow. "
                f"Scale X to at most {MAX_VALUE:g}."
            )
        if self.bounds is not None:
            excess = self.bounds.excess(rows)
            row, column = excess.argmax(axis=0), np.arange(rows.shape[1])
            values = excess[row, column], rows[row, column], first_sample + row
            self.furthest = _further(self.furthest, np.stack(values))
            # The scaler leaves them out.
            rows[excess > 0] = np.nan
        elif sparse.issparse(rows):
            # The scaler of scikit-learn 1.6 refuses indices of int64.
            rows.indices = rows.indices.astype(np.int32, copy=False)
            rows.indptr = rows.indptr.astype(np.int32, copy=False)
        self.scaler.partial_fit(rows)
        self.inner_ends = _unite(self.inner_ends, _ends(rows))

    def merge(self, other: Self) -> Self:
        """Add the statistics of other rows."""
        self.n_samples += other.n_samples
        self.n_nonzero += other.n_nonzero
        self.ends = _unite(self.ends, other.ends)
        self.inner_ends = _unite(self.inner_ends, other.inner_ends)
        self.furthest = _further(self.furthest, other.furthest)
        self.fractions = _unite(self.fractions, other.fractions)
        _merge_moments(self.scaler, other.scaler)
        return self

    def find_features(self) -> NDArray[np.int64]:
        """Return the columns that vary by more than rounding errors, or else all."""
        # The scaler replaces the standard deviation of the others by 1.
        varies = self.scaler.scale_ == np.sqrt(self.scaler.var_)
        varies |= self.furthest[0] > 0
        if varies.any() and self.summarize(slice(None)).has_amounts:
            # Columns of rounding errors only, such as a term that is in no text.
            varies &= self.ends[1] > ROUNDING * np.median(self.ends[1, varies])
        return np.flatnonzero(varies if varies.any() else ~varies)

    def summarize(self, columns: Index) -> DataSummary:
        """Return the statistics of some columns."""
        constant = self.scaler.mean_.copy()
        constant[columns] = np.nan
        mean = self.scaler.mean_[columns]
        low, high = self.inner_ends[:, columns]
        bounds = self.bounds and self.bounds.select(columns)
        return DataSummary(
            n_samples=self.n_samples,
            n_features=len(mean),
            constant=constant,
            low=float(self.ends[0, columns].min()),
            high=float(self.ends[1, columns].max()),
            mean=mean,
            var=self.scaler.var_[columns],
            std=self.scaler.scale_[columns],
            deviation=np.fmax(high - mean, mean - low),
            n_nonzero=int(self.n_nonzero[columns].sum()),
            fractional_value=_first_nonzero(self.fractions[:, columns]),
            bounds=bounds,
            outliers=bounds.outliers(self.furthest[:, columns]) if bounds else (),
        )


def _merge_moments(scaler: StandardScaler, other: StandardScaler) -> None:
    """Add the moments of other rows to a scaler (Chan, Golub and LeVeque 1983)."""
    n_samples = scaler.n_samples_seen_ + other.n_samples_seen_
    share = other.n_samples_seen_ / np.maximum(n_samples, 1)
    # Moments of no values are NaN.
    mean, other_mean = np.nan_to_num((scaler.mean_, other.mean_))
    var, other_var = np.nan_to_num((scaler.var_, other.var_))
    difference = other_mean - mean
    mean = mean + share * difference
    between = share * (1 - share) * np.square(difference)
    var = (1 - share) * var + share * other_var + between
    # As in scikit-learn, a variance of rounding errors is none.
    rounding = n_samples * np.finfo(np.float64).eps
    varies = var > rounding * var + np.square(rounding * mean)
    scaler.n_samples_seen_, scaler.mean_, scaler.var_ = n_samples, mean, var
    scaler.scale_ = np.where(varies, np.sqrt(var), 1.0)


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Map between rows of the user and those of the model.

    The model has the features in its own units, without the constant columns.

    Parameters
    ----------
    center, scale : ndarray of shape (n_features,)
        The features x of a row become (x - center) / scale.
    low, high : ndarray of shape (n_features,) or float, default=-1e12, 1e12
        Bounds that standardized rows of the data are clipped to.
    constant : ndarray of shape (n_columns,) or float, default=nan
        Value of each constant column; NaN for the features.
    binary : tuple of int, default=()
        Columns of two values, which become 0 and 1. They have probabilities instead of
        densities, and the units don't change these.

    Examples
    --------
    >>> standardizer = Standardizer(np.array([1.0]), np.array([2.0]))
    >>> standardizer.transform(np.array([[5.0]]))
    array([[2.]])
    >>> standardizer.inverse_transform(torch.tensor([[2.0]]))
    tensor([[5.]])
    """

    center: NDArray[np.float64]
    scale: NDArray[np.float64]
    low: NDArray[np.float64] | float = -MAX_STANDARDIZED
    high: NDArray[np.float64] | float = MAX_STANDARDIZED
    constant: NDArray[np.float64] | float = np.nan
    binary: tuple[int, ...] = ()

    @classmethod
    def fit(
        cls, summary: DataSummary, likelihood: str, as_a_whole: bool = False
    ) -> Self:
        """Return the standardizer of some data.

        Parameters
        ----------
        summary : DataSummary
            Statistics of the data.
        likelihood : str
            Name of the likelihood. Many of them don't standardize: the center is then
            0 and the scale 1.
        as_a_whole : bool, default=False
            Whether all features share a center and a scale, as pixels of images do.
        """
        n_features = summary.n_features
        if not LIKELIHOODS[likelihood].standardize:
            standardizer = cls(np.zeros(n_features), np.ones(n_features))
        elif as_a_whole:
            mean = summary.mean.mean()
            variance = np.mean(summary.var + np.square(summary.mean - mean))
            scale = np.sqrt(variance) if variance > 0 else 1.0
            standardizer = cls(np.full(n_features, mean), np.full(n_features, scale))
        else:
            standardizer = cls._fit_features(summary, likelihood)
        return replace(standardizer, constant=summary.constant)

    @classmethod
    def _fit_features(cls, summary: DataSummary, likelihood: str) -> Self:
        """Return a standardizer with a center and a scale for each feature."""
        # A feature with rare large values, such as a pixel at the border, would have
        # values of a hundred standard deviations, and training would diverge.
        scale = np.fmax(summary.std, summary.deviation / MAX_DEVIATION)
        if summary.bounds is None:
            return cls(summary.mean, scale)
        low, high = summary.bounds.low, summary.bounds.high
        # Nothing but outliers varies: they are clipped to the largest deviation.
        is_rare = (summary.var == 0) & np.isfinite(high)
        scale[is_rare] = (high - low)[is_rare] / (2 * MAX_DEVIATION)
        low, high = (
            np.clip((bound - summary.mean) / scale, cls.low, cls.high)
            for bound in (low, high)
        )
        if not LIKELIHOODS[likelihood].has_discrete:
            return cls(summary.mean, scale, low, high)
        center, binary = summary.mean.copy(), summary.binary
        center[binary.index], scale[binary.index] = binary.low, binary.high - binary.low
        low[binary.index], high[binary.index] = 0.0, 1.0
        return cls(center, scale, low, high, binary=tuple(binary.index.tolist()))

    @property
    def columns(self) -> Index:
        """Columns that are features: their indices, or a slice of all."""
        is_feature = np.isnan(self.constant)
        return slice(None) if is_feature.all() else np.flatnonzero(is_feature)

    @property
    def log_det(self) -> float:
        """Log-density of standardized rows minus that of rows in the user's units."""
        return float(np.delete(np.log(self.scale), self.binary).sum())

    def transform(
        self, rows: np.ndarray | sparse.csr_array | Tensor
    ) -> NDArray[np.float64] | Tensor:
        """Standardize the features of rows, and drop the constant columns.

        Arrays and sparse rows become arrays of float64; tensors keep their dtype.
        """
        rows = rows[..., self.columns]
        if sparse.issparse(rows):
            rows = rows.toarray()
        center, scale = self._units(rows)
        return (rows - center) / scale

    def inverse_transform(self, rows: NDArray | Tensor) -> NDArray[np.float64] | Tensor:
        """Return rows of the model in the user's units, with the constant columns."""
        center, scale = self._units(rows)
        return self._insert(rows * scale + center, self.constant)

    def restore_variance(self, variance: NDArray) -> NDArray[np.float64]:
        """Return variances in the user's units; those of constant columns are 0."""
        return self._insert(variance * np.square(self.scale), 0.0 * self.constant)

    def _units(self, rows: NDArray | Tensor) -> tuple[NDArray | Tensor, ...]:
        """Return center and scale as arrays, or as tensors like others."""
        arrays = self.center, self.scale
        if not isinstance(rows, Tensor):
            return arrays
        return tuple(torch.as_tensor(values).to(rows) for values in arrays)

    def _insert(
        self, features: NDArray | Tensor, constant: NDArray[np.float64] | float
    ) -> NDArray | Tensor:
        """Return rows of all columns, with the values of the constant ones."""
        columns = self.columns
        if isinstance(columns, slice):
            return features
        shape = *features.shape[:-1], len(constant)
        if isinstance(features, Tensor):
            rows = torch.as_tensor(constant).to(features).expand(shape).clone()
        else:
            rows = np.broadcast_to(constant, shape).copy()
        rows[..., columns] = features
        return rows


def resolve_likelihood(
    summary: DataSummary, likelihood: str, is_image: bool = False
) -> str:
    """Choose the likelihood for "auto", and check that it supports the data.

    Parameters
    ----------
    summary : DataSummary
        Statistics of the data.
    likelihood : str
        "auto" or the name of a likelihood.
    is_image : bool, default=False
        Whether the data are images.

    Returns
    -------
    likelihood : str
        For "auto", "bernoulli" if all values lie in [0, 1] up to rounding errors, and
        are those of images, amounts or only 0 and 1. A scaled table is "gaussian", as
        are other data; "mixed" instead of "gaussian" if there are columns of two
        values. Whole numbers may be codes or gray levels, so a likelihood of counts is
        never chosen.

    Raises
    ------
    InvalidParameterError
        If the likelihood doesn't support a value of the data.
    """
    if likelihood == "auto":
        # Relative to the range: tiny values around zero aren't rounding errors.
        margin = ROUNDING * min(max(summary.high, 0.0), 1.0)
        fits = summary.low >= -margin and summary.high <= 1 + margin
        is_tiny = 0 < summary.high < ROUNDING
        is_whole = summary.fractional_value is None and not is_tiny
        if fits and (is_image or summary.has_amounts or is_whole):
            return "bernoulli"
        has_binary = summary.binary is not None and len(summary.binary.index) > 0
        return "mixed" if has_binary else "gaussian"
    violation = _support_violation(
        likelihood, summary.low, summary.high, summary.fractional_value
    )
    if violation is not None:
        raise InvalidParameterError(violation)
    return likelihood


def _support_violation(
    likelihood: str, low: float, high: float, fractional_value: float | None
) -> str | None:
    """Return the message of an error if a likelihood doesn't support some data.

    Parameters
    ----------
    likelihood : str
        Name of the likelihood.
    low, high : float
        Range of the data.
    fractional_value : float or None
        A value that isn't a whole number, if there is one.

    Returns
    -------
    message : str or None
        Names the likelihood, a value and what is allowed; None if all is supported.
    """
    kind = LIKELIHOODS[likelihood]
    margin = 0.0 if kind.is_count else ROUNDING
    value = fractional_value if kind.is_count else None
    if low < kind.low - margin:
        value = low
    elif high > kind.high + margin:
        value = high
    if value is None:
        return None
    return (
        f"likelihood={likelihood!r} needs {kind.allowed}, but X has the value "
        f"{value:.17g}. {kind.remedy}"
    )


def check_support(values: NDArray[np.number], likelihood: str) -> None:
    """Check that a likelihood supports unseen values, in the user's units.

    Unseen data that is scaled like the training data may lie somewhat outside [0, 1].

    Raises
    ------
    ValueError
        If values aren't counts, or are further from [0, 1] than its length.

    Warns
    -----
    UserWarning
        If values are closer to [0, 1]: the caller clips them.
    """
    kind = LIKELIHOODS[likelihood]
    if kind.standardize or not values.size:
        return
    low, high = float(values.min()), float(values.max())
    fractional_value = _first_nonzero(_fractions(values)) if kind.is_count else None
    violation = _support_violation(likelihood, low, high, fractional_value)
    if violation is None:
        return
    length = kind.high - kind.low
    is_far = low < kind.low - length or high > kind.high + length
    if kind.is_count or is_far:
        raise ValueError(violation)
    warnings.warn(
        f"X has values outside [0, 1], where likelihood={likelihood!r} needs values "
        "between 0 and 1. They are clipped. Scale X by MinMaxScaler(clip=True), or fit "
        "a model with likelihood='gaussian'.",
        UserWarning,
        stacklevel=2,
    )


def _ends(chunk: np.ndarray | sparse.csr_array) -> NDArray[np.float64]:
    """Return the smallest and the largest value of each column, without NaN."""
    if sparse.issparse(chunk):
        return np.stack(min_max_axis(chunk, axis=0))
    return np.stack([np.fmin.reduce(chunk), np.fmax.reduce(chunk)])


def _unite(one: NDArray, other: NDArray) -> NDArray:
    """Return the smallest and the largest values of two parts of the rows."""
    return np.stack([np.fmin(one[0], other[0]), np.fmax(one[1], other[1])])


def _further(one: NDArray, other: NDArray) -> NDArray:
    """Return the furthest values of two parts; see `FeatureBounds.outliers`."""
    return np.where(other[0] >= one[0], other, one)


def _fractions(
    rows: NDArray[np.float64] | sparse.csr_array,
) -> NDArray[np.float64] | sparse.csr_array:
    """Return rows with 0 in the place of whole numbers up to rounding."""
    rows = rows.copy()
    values = rows.data if sparse.issparse(rows) else rows
    values[np.abs(values - np.round(values)) <= ROUNDING] = 0.0
    return rows


def _first_nonzero(values: NDArray[np.float64]) -> float | None:
    """Return the first value that isn't 0, or None."""
    found = values[values != 0]
    return float(found[0]) if found.size else None
