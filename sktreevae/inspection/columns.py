"""Columns of the user's X, as they were before the steps of a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array

from ..tree.arrays import Ints
from ..tree.names import check_feature_names
from ..utils.extras import import_extra
from ..utils.text import format_date, format_number
from .effects import Floats, GroupMoments, as_dense, row_chunks, row_moments

if TYPE_CHECKING:
    import pandas

    from ..data import Matrix


@dataclass(frozen=True)
class Feature:
    """Feature of an explanation: a column of X, or one of its categories.

    Parameters
    ----------
    name : str
        Name of the column, and of the category.
    column : int
        Position of the column.
    is_date : bool, default=False
        Whether the values are years, with the part of the last one.
    """

    name: str
    column: int
    is_date: bool = False

    def text(self, value: float, spread: float = 0.0) -> str:
        """Return a value as a person writes it; see `format_number`."""
        if self.is_date and np.isfinite(value):
            return format_date(value)
        return format_number(value, spread)


def number_features(names: Sequence[str]) -> list[Feature]:
    """Return a feature for each column."""
    return [Feature(name, column) for column, name in enumerate(names)]


def row_index(X: Any) -> Sequence[object] | None:
    """Return the index of a data frame, or None if there is none."""
    # Sequences have a method of this name.
    index = getattr(X, "index", None)
    return None if callable(index) else index


def last_step(estimator: BaseEstimator) -> BaseEstimator:
    """Return the last step of a pipeline, or the estimator if it is no pipeline."""
    while isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    return estimator


def transform_rows(estimator: BaseEstimator, X: Any) -> Any:
    """Return X as the last step of a pipeline gets it."""
    while isinstance(estimator, Pipeline):
        if len(estimator) > 1:
            X = estimator[:-1].transform(X)
        estimator = estimator[-1]
    return X


def read_columns(
    estimator: BaseEstimator, X: Any, feature_names: Sequence[str] | None
) -> MatrixColumns | FrameColumns:
    """Return the columns of X that people know: those that enter a pipeline.

    Columns of a data frame or of an array are read as they are. Other input of a
    pipeline, such as texts, is described by what the last step gets.

    Parameters
    ----------
    estimator : TreeVAEClustering or Pipeline
        Fitted estimator.
    X : object
        Rows, as for `predict`.
    feature_names : sequence of str or None
        Names of the columns, by default those of X or of the estimator.

    Raises
    ------
    ImportError
        If X is a data frame that enters a pipeline, and pandas isn't installed.
    ValueError
        If X isn't valid, or there is not exactly one name for each column.
    """
    if isinstance(estimator, Pipeline):
        if hasattr(X, "columns"):
            return read_table(X, feature_names)
        if getattr(X, "ndim", 0) == 2 and X.dtype.kind in "biuf":
            default = getattr(estimator, "feature_names_in_", None)
            return read_table(X, default if feature_names is None else feature_names)
    names = name_features(estimator, feature_names)
    matrix = last_step(estimator)._validate(transform_rows(estimator, X))
    return MatrixColumns(matrix, number_features(names))


def read_table(
    X: Any, feature_names: Sequence[str] | None
) -> MatrixColumns | FrameColumns:
    """Return the columns of a data frame, or of an array or a sparse matrix.

    Names of columns are by default those of X, or x0, x1, ...

    Raises
    ------
    ImportError
        If X is a data frame, and pandas isn't installed.
    ValueError
        If X is no table, or there is not exactly one name for each column.
    """
    if hasattr(X, "columns"):
        frame = _to_pandas(X)
        names = frame.columns if feature_names is None else feature_names
        return FrameColumns(frame, check_feature_names(names, frame.shape[1]))
    matrix = check_array(X, accept_sparse="csr", ensure_all_finite=False)
    names = check_feature_names(feature_names, matrix.shape[1], "x{}")
    return MatrixColumns(matrix, number_features(names))


def name_features(
    estimator: BaseEstimator, feature_names: Sequence[str] | None
) -> list[str]:
    """Return names of the features of the last step: x0, x1, ... if there are none."""
    model = last_step(estimator)
    if feature_names is None:
        feature_names = getattr(model, "feature_names_in_", None)
    if feature_names is None and isinstance(estimator, Pipeline):
        try:
            feature_names = estimator[:-1].get_feature_names_out()
        except (AttributeError, ValueError):  # a step doesn't tell its names
            pass
    return check_feature_names(feature_names, model.n_features_in_, "x{}")


class MatrixColumns:
    """Columns of a matrix, each of which is a feature.

    Parameters
    ----------
    matrix : ndarray, CSR matrix or LazyRows of shape (n_samples, n_features)
        Rows; NaN in an array is an unknown value.
    features : list of Feature of length n_features
        The features.
    """

    def __init__(self, matrix: Matrix, features: list[Feature]) -> None:
        self._matrix = matrix
        self.features = features

    def moments(self, labels: Ints, n_groups: int) -> GroupMoments:
        """Return the moments of groups of rows, with labels from 0."""
        return row_moments(self._matrix, labels, n_groups)

    def read(self, features: Ints) -> Floats:
        """Return the values of some features, (n_samples, n_selected)."""
        chunks = (self._matrix[rows] for rows in row_chunks(self._matrix))
        selected = [as_dense(chunk[:, features]) for chunk in chunks]
        return np.concatenate(selected, dtype=np.float64)


class FrameColumns:
    """Columns of a data frame: numbers, and shares of categories in percent.

    A date is a number of years, with the part of the last one. Each category is a
    feature, and so are missing values; of two categories it is the second in sorted
    order.

    Parameters
    ----------
    frame : pandas DataFrame of shape (n_samples, n_columns)
        Rows.
    names : sequence of str of length n_columns
        Names of the columns.

    Attributes
    ----------
    features : list of Feature
        The features.
    """

    def __init__(self, frame: pandas.DataFrame, names: Sequence[str]) -> None:
        self._parts = [
            part
            for column, name in enumerate(names)
            for part in _read_series(frame.iloc[:, column], name, column)
        ]
        self.features = [feature for part in self._parts for feature in part.features]

    def moments(self, labels: Ints, n_groups: int) -> GroupMoments:
        """Return the moments of groups of rows, with labels from 0."""
        parts = [part.moments(labels, n_groups) for part in self._parts]
        return GroupMoments.join(np.hstack, parts)

    def read(self, features: Ints) -> Floats:
        """Return the values of some features, (n_samples, n_selected)."""
        places = [
            (part, [i]) for part in self._parts for i in range(len(part.features))
        ]
        selected = (places[feature] for feature in features)
        return np.hstack([part.read(i) for part, i in selected])


def _read_series(series: pandas.Series, name: str, column: int) -> list[MatrixColumns]:
    """Return a column of a frame as numbers or categories, and what is missing."""
    from pandas.api import types

    is_date = types.is_datetime64_any_dtype(series)
    if is_date:
        date = series.dt
        series = date.year + (date.day_of_year - 1) / (365 + date.is_leap_year)
    elif types.is_bool_dtype(series) or not types.is_numeric_dtype(series):
        return [_read_categories(series, name, column)]
    values = series.to_numpy(np.float64, na_value=np.nan)[:, None]
    is_missing = ~np.isfinite(values)
    numbers = np.where(is_missing, np.nan, values)
    columns = [MatrixColumns(numbers, [Feature(name, column, is_date)])]
    if is_missing.any():
        missing = Feature(f"{name} missing (%)", column)
        columns.append(MatrixColumns(100.0 * is_missing, [missing]))
    return columns


def _read_categories(series: pandas.Series, name: str, column: int) -> MatrixColumns:
    """Return the categories of a column; missing values are one of them.

    A category is 100 in its rows, and 0 in all others. The matrix is sparse, since a
    column of texts may have as many categories as rows.
    """
    texts = series.astype(object).map(str, na_action="ignore")
    codes, categories = texts.factorize(sort=True)
    codes = np.where(codes < 0, len(categories), codes)
    names = [f"{name} = {category} (%)" for category in categories]
    if series.isna().any():
        names.append(f"{name} missing (%)")
    entries = np.full(len(codes), 100.0), (np.arange(len(codes)), codes)
    matrix = sparse.csr_array(entries, shape=(len(codes), len(names)))
    # The share of the first of two categories is what the second leaves.
    first = 1 if len(categories) == 2 else 0
    features = [Feature(category, column) for category in names[first:]]
    return MatrixColumns(matrix[:, first:], features)


def _to_pandas(X: Any) -> pandas.DataFrame:
    """Return a data frame of any package as one of pandas."""
    purpose = "Columns of a data frame before a pipeline are read with pandas"
    pandas = import_extra("pandas", purpose, "pandas")
    if isinstance(X, pandas.DataFrame):
        return X
    return pandas.DataFrame({name: X[name].to_numpy() for name in X.columns})
