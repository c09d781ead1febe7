"""Statistics of the data, the choice of the likelihood, and standardization."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.preprocessing import StandardScaler
from sklearn.utils.sparsefuncs import min_max_axis
from torch import Tensor

from ..exceptions import InvalidParameterError
from ..model.likelihoods import LIKELIHOODS, MAX_COUNT
from .binary import BinaryColumns
from .outliers import FeatureBounds, Outlier, find_outliers
from .sources import MAX_CHUNK_ROWS, Matrix, row_slices

__all__ = [
    "UNIT_INTERVAL_TOLERANCE",
    "DataSummary",
    "Standardizer",
    "check_support",
    "resolve_likelihood",
]

MAX_VALUE = 1e150
"""Largest absolute value of X: squares of larger ones overflow."""

MAX_EXCESS = 1.0
"""Maximum distance from [0, 1] of unseen values, which are clipped with a warning."""

MAX_STANDARDIZED = 1e12
"""Standardized values are clipped to this absolute value, so that they don't overflow
in the networks."""

MAX_DEVIATION = 5.0
"""Maximum absolute value of a standardized feature, without outliers. Normal features
of a million samples hardly reach it."""

UNIT_INTERVAL_TOLERANCE = 1e-6
"""Distance from [0, 1] up to which values are taken for rounding errors of 0 and 1."""


@dataclass(frozen=True, eq=False)
class DataSummary:
    """Statistics of a matrix.

    Parameters
    ----------
    n_samples, n_features : int
        Shape.
    low, high : float
        Smallest and largest value.
    mean, var, std : ndarray of shape (n_features,)
        Mean, variance and standard deviation of each feature, without outliers. The
        standard deviation of a constant feature is 1.
    deviation : ndarray of shape (n_features,)
        Largest distance of a value from the mean of its feature, without outliers.
    is_constant : ndarray of bool of shape (n_features,)
        Whether a feature varies by no more than rounding errors.
    n_nonzero : int
        Number of values that aren't zero, of the features that vary.
    fractional_value : float or None
        The first value that isn't a whole number, if there is one.
    bounds : FeatureBounds or None
        Bounds beyond which values are outliers, if any.
    outliers : tuple of Outlier
        The value of each feature that is furthest beyond its bounds, if any.
    binary : BinaryColumns or None
        Columns of two values; None without bounds.
    """

    n_samples: int
    n_features: int
    low: float
    high: float
    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    std: NDArray[np.float64]
    deviation: NDArray[np.float64]
    is_constant: NDArray[np.bool_]
    n_nonzero: int
    fractional_value: float | None
    bounds: FeatureBounds | None = None
    outliers: tuple[Outlier, ...] = ()
    binary: BinaryColumns | None = None

    @property
    def n_varying(self) -> int:
        """Number of features that aren't constant."""
        return int((~self.is_constant).sum())

    @classmethod
    def from_matrix(
        cls,
        X: Matrix,
        chunk_size: int = MAX_CHUNK_ROWS,
        *,
        bounds: FeatureBounds | None = None,
    ) -> Self:
        """Compute the statistics in one pass over X.

        Parameters
        ----------
        X : ndarray, CSR matrix or LazyRows of shape (n_samples, n_features)
            Data in the user's units.
        chunk_size : int, default=MAX_CHUNK_ROWS
            Maximum number of rows that are read at a time.
        bounds : FeatureBounds, default=None
            Bounds beyond which values don't count for the moments; not for sparse
            matrices.

        Raises
        ------
        ValueError
            If X has values whose squares overflow.
        """
        # The scaler doesn't center sparse features, but it computes their means.
        is_sparse = sparse.issparse(X)
        scaler = StandardScaler(with_mean=not is_sparse)
        low, high = (0.0, 0.0) if is_sparse else (np.inf, -np.inf)
        smallest, largest = np.full((2, X.shape[1]), np.nan)
        n_nonzero = 0
        fractional_value = None
        outliers: dict[int, Outlier] = {}
        for rows in row_slices(*X.shape, chunk_size):
            chunk = X[rows]
            values = chunk.data if is_sparse else chunk
            if values.size:
                low = min(low, float(values.min()))
                high = max(high, float(values.max()))
                n_nonzero += int(np.count_nonzero(values))
                if fractional_value is None:
                    fractional_value = _fractional_value(values)
            if max(-low, high) > MAX_VALUE:
                raise ValueError(
                    "X has values too large to standardize: their squares overflow. "
                    f"Scale X to at most {MAX_VALUE:g}."
                )
            chunk = chunk.astype(np.float64)
            if bounds is not None:
                for outlier in find_outliers(chunk, bounds, rows.start):
                    known = outliers.setdefault(outlier.feature, outlier)
                    if outlier.excess > known.excess:
                        outliers[outlier.feature] = outlier
                # The scaler leaves them out.
                chunk[(chunk < bounds.low) | (chunk > bounds.high)] = np.nan
            scaler.partial_fit(chunk)
            ends = (
                min_max_axis(chunk, axis=0)
                if is_sparse
                else (np.fmin.reduce(chunk), np.fmax.reduce(chunk))
            )
            smallest, largest = np.fmin(smallest, ends[0]), np.fmax(largest, ends[1])
        # The scaler replaces the standard deviation of these by 1.
        is_constant = scaler.scale_ != np.sqrt(scaler.var_)
        is_constant[list(outliers)] = False
        n_nonzero -= X.shape[0] * np.count_nonzero(scaler.mean_[is_constant])
        return cls(
            n_samples=X.shape[0],
            n_features=X.shape[1],
            low=low,
            high=high,
            mean=scaler.mean_,
            var=scaler.var_,
            std=scaler.scale_,
            deviation=np.fmax(largest - scaler.mean_, scaler.mean_ - smallest),
            is_constant=is_constant,
            n_nonzero=n_nonzero,
            fractional_value=fractional_value,
            bounds=bounds,
            outliers=tuple(outliers.values()),
            binary=None if bounds is None else BinaryColumns.from_matrix(X, bounds),
        )


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Affine map between the units of the user and those of the model.

    Parameters
    ----------
    center, scale : ndarray of shape (n_features,)
        A row x becomes (x - center) / scale.
    low, high : ndarray of shape (n_features,) or float, default=-1e12, 1e12
        Bounds that standardized rows of the data are clipped to. Those of a constant
        feature are equal.
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
            return cls(np.zeros(n_features), np.ones(n_features))
        if not as_a_whole:
            return cls._fit_features(summary, likelihood)._with_constants(summary)
        mean = summary.mean.mean()
        variance = np.mean(summary.var + np.square(summary.mean - mean))
        scale = np.sqrt(variance) if variance > 0 else 1.0
        center, scale = np.full(n_features, mean), np.full(n_features, scale)
        return cls(center, scale)._with_constants(summary)

    def _with_constants(self, summary: DataSummary) -> Self:
        """Return a standardizer whose bounds of constant features are equal."""
        is_constant = summary.is_constant.copy()
        is_constant[list(self.binary)] = False
        value = self.transform(summary.mean)
        low, high = (
            np.where(is_constant, value, bound) for bound in (self.low, self.high)
        )
        return replace(self, low=low, high=high)

    @classmethod
    def _fit_features(cls, summary: DataSummary, likelihood: str) -> Self:
        """Return a standardizer with a center and a scale for each feature."""
        # A feature with rare large values, such as a pixel at the border, would have
        # values of a hundred standard deviations, and training would diverge.
        scale = np.fmax(summary.std, summary.deviation / MAX_DEVIATION)
        bounds = summary.bounds
        if bounds is None:
            return cls(summary.mean, scale)
        index = [outlier.feature for outlier in summary.outliers]
        # Nothing but outliers varies: they are clipped to the largest deviation.
        index = np.extract(summary.var[index] == 0, index).astype(np.int64)
        distance = (bounds.high[index] - bounds.low[index]) / 2
        scale[index] = distance / MAX_DEVIATION
        standardizer = cls(summary.mean, scale)
        low, high = (
            np.clip(standardizer.transform(bound), cls.low, cls.high)
            for bound in (bounds.low, bounds.high)
        )
        if likelihood != "mixed":
            return replace(standardizer, low=low, high=high)
        center, scale = summary.mean.copy(), scale.copy()
        binary = summary.binary
        center[binary.index], scale[binary.index] = binary.low, binary.high - binary.low
        low[binary.index], high[binary.index] = 0.0, 1.0
        return cls(center, scale, low, high, tuple(binary.index.tolist()))

    @property
    def is_identity(self) -> bool:
        """Whether rows stay as they are."""
        return not self.center.any() and bool((self.scale == 1).all())

    @property
    def is_constant(self) -> NDArray[np.bool_]:
        """Whether a feature is constant, (n_features,): it has no density."""
        return np.broadcast_to(np.equal(self.low, self.high), self.scale.shape)

    @property
    def log_det(self) -> float:
        """Log-density of standardized rows minus that of rows in the user's units."""
        has_density = ~self.is_constant
        has_density[list(self.binary)] = False
        return float(np.log(self.scale[has_density]).sum())

    def transform(self, rows: NDArray | Tensor) -> NDArray[np.float64] | Tensor:
        """Standardize rows: arrays in float64, tensors in their own dtype."""
        if isinstance(rows, Tensor):
            center, scale, _, _ = self._as_tensors(rows)
            return (rows - center) / scale
        # One copy, whatever the size of the chunk.
        values = rows.astype(np.float64)
        values -= self.center
        values /= self.scale
        return values

    def inverse_transform(self, rows: NDArray | Tensor) -> NDArray[np.float64] | Tensor:
        """Return standardized rows in the user's units.

        Constant features have their constant, whatever a decoder gives for them.
        """
        if isinstance(rows, Tensor):
            center, scale, low, high = self._as_tensors(rows)
            return torch.where(low == high, low, rows) * scale + center
        values = np.where(self.is_constant, self.low, rows).astype(np.float64)
        values *= self.scale
        values += self.center
        return values

    def to_tensors(self, device: torch.device | None = None) -> Self:
        """Return a standardizer of float32 tensors, to save copies to a device."""
        example = torch.empty(0, dtype=torch.float32, device=device)
        return type(self)(*self._as_tensors(example))

    def _as_tensors(self, example: Tensor) -> tuple[Tensor, ...]:
        """Return center, scale and bounds with the dtype and the device of a tensor."""
        arrays = self.center, self.scale, self.low, self.high
        return tuple(torch.as_tensor(values).to(example) for values in arrays)


def resolve_likelihood(summary: DataSummary, likelihood: str) -> str:
    """Choose the likelihood for "auto", and check that it supports the data.

    Parameters
    ----------
    summary : DataSummary
        Statistics of the data.
    likelihood : str
        "auto" or the name of a likelihood.

    Returns
    -------
    likelihood : str
        For "auto", "bernoulli" if all values lie in [0, 1] up to rounding errors, and
        "gaussian" otherwise; "mixed" instead of "gaussian" if there are columns of two
        values. Whole numbers may be codes or gray levels, so a likelihood of counts is
        never chosen.

    Raises
    ------
    InvalidParameterError
        If the likelihood doesn't support a value of the data.
    """
    if likelihood == "auto":
        # Relative to the range: tiny values around zero aren't rounding errors.
        margin = UNIT_INTERVAL_TOLERANCE * min(max(summary.high, 0.0), 1.0)
        fits = summary.low >= -margin and summary.high <= 1 + margin
        if fits:
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
    support = LIKELIHOODS[likelihood].support
    if support == "unit_interval":
        margin = UNIT_INTERVAL_TOLERANCE
        value = low if low < -margin else high if high > 1 + margin else None
        allowed = "values between 0 and 1"
        remedy = "Scale X to [0, 1], or fit a model with likelihood='gaussian'."
    elif support == "counts":
        value = low if low < 0 else high if high > MAX_COUNT else fractional_value
        allowed = f"counts, whole numbers from 0 to {MAX_COUNT}"
        remedy = (
            "Pass counts that aren't normalized or transformed, or fit a model with "
            "likelihood='gaussian'."
        )
    else:
        return None
    if value is None:
        return None
    return (
        f"likelihood={likelihood!r} needs {allowed}, but X has the value {value:.17g}. "
        f"{remedy}"
    )


def check_support(values: NDArray[np.number], likelihood: str) -> None:
    """Check that a likelihood supports unseen values, in the user's units.

    Unseen data that is scaled like the training data may lie somewhat outside [0, 1].

    Raises
    ------
    ValueError
        If values aren't counts, or are further from [0, 1] than `MAX_EXCESS`.

    Warns
    -----
    UserWarning
        If values are closer to [0, 1]: the caller clips them.
    """
    support = LIKELIHOODS[likelihood].support
    if support == "real" or not values.size:
        return
    low, high = float(values.min()), float(values.max())
    fractional_value = _fractional_value(values) if support == "counts" else None
    violation = _support_violation(likelihood, low, high, fractional_value)
    if violation is None:
        return
    if support == "counts" or low < -MAX_EXCESS or high > 1 + MAX_EXCESS:
        raise ValueError(violation)
    warnings.warn(
        f"X has values outside [0, 1], where likelihood={likelihood!r} needs values "
        "between 0 and 1. They are clipped. Scale X by MinMaxScaler(clip=True), or fit "
        "a model with likelihood='gaussian'.",
        UserWarning,
        stacklevel=2,
    )


def _fractional_value(values: NDArray[np.number]) -> float | None:
    """Return the first value that isn't a whole number, or None."""
    if values.dtype.kind != "f":
        return None
    is_fraction = values != np.floor(values)
    return float(values[is_fraction][0]) if is_fraction.any() else None
