"""Messages about the columns of a table that a fit can't use, with remedies."""

from __future__ import annotations

import warnings
from datetime import date

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from ..utils.text import shorten

REMEDIES = {
    "dates": "Turn dates into numbers, such as years.",
    "a different text in each row": "Drop columns that only name the rows.",
    "texts": "Encode texts with OneHotEncoder, in a ColumnTransformer of a Pipeline.",
}
"""What helps with each kind of column that has no numbers."""


def check_frame(X: object) -> None:
    """Check that a data frame has numbers; accept anything else.

    Raises
    ------
    ValueError
        If columns have texts or dates.
    """
    kinds = {name: _kind_of(X[name]) for name in _columns_of(X, "OSUmM")}
    found = [f"{name!r} ({kind})" for name, kind in kinds.items() if kind in REMEDIES]
    if found:
        remedies = (REMEDIES[kind] for kind in REMEDIES if kind in kinds.values())
        raise ValueError(
            f"X must have numbers, but has {shorten(found)}. {' '.join(remedies)}"
        )


def warn_of_row_numbers(X: object) -> None:
    """Warn of columns of a data frame that are consecutive integers in some order."""
    for name in _columns_of(X, "iu"):
        values = np.asarray(X[name])
        is_integer = values.dtype.kind in "iu" and len(values) > 2
        if is_integer and (np.diff(np.sort(values)) == 1).all():
            warnings.warn(
                f"Column {name!r} numbers the {len(values)} rows of X. Drop it, unless "
                f"their order has a meaning: X.drop(columns={name!r}).",
                stacklevel=5,
            )


def name_columns(X: object, error: ValueError) -> ValueError:
    """Return an error about values that aren't finite with the columns that have them.

    Parameters
    ----------
    X : object
        What the user passed.
    error : ValueError
        The error of scikit-learn's `validate_data`, which is returned if it is about
        something else.
    """
    text = str(error).splitlines()[0].rstrip(".")
    if not text.startswith("Input X contains") or sparse.issparse(X):
        return error
    values = check_array(X, dtype=np.float64, ensure_all_finite=False)
    counts = np.count_nonzero(~np.isfinite(values), axis=0)
    names = getattr(X, "columns", range(len(counts)))
    found = [
        f"column {name!r} ({n} of {len(values)} rows)"
        for name, n in zip(names, counts, strict=True)
        if n
    ]
    remedy = "Correct them, or drop the rows."
    if "NaN" in text:
        remedy = (
            "Fill missing values with SimpleImputer in a Pipeline, or drop the rows: "
            "X = X.dropna()."
        )
    return ValueError(f"{text}, in {shorten(found)}. {remedy}")


def _columns_of(X: object, kinds: str) -> list[object]:
    """Return the columns of a data frame whose types may be of some kinds.

    Types of other packages than numpy and pandas have no kind.
    """
    types = zip(getattr(X, "columns", ()), getattr(X, "dtypes", ()), strict=False)
    return [name for name, dtype in types if getattr(dtype, "kind", kinds) in kinds]


def _kind_of(column: object) -> str:
    """Return what a column of a data frame has, if these aren't numbers."""
    values = np.asarray(column)
    if values.dtype.kind in "mM":
        return "dates"
    if values.dtype.kind not in "OSU":
        return "numbers"
    texts = [value for value in values if isinstance(value, str)]
    if not texts:
        has_dates = any(isinstance(value, date) for value in values)
        return "dates" if has_dates else "numbers"
    try:
        np.array(texts, dtype=np.float64)
    except ValueError:
        is_name = len(set(texts)) == len(values)
        return "a different text in each row" if is_name else "texts"
    return "numbers"
