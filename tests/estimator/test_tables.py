import warnings
from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from sktreevae import TreeVAEClustering

N = 30


def columns(**others):
    return {"mass": np.linspace(0.0, 1.0, N), **others}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["f", "m"] * 15, r"\(texts\). Encode texts with OneHotEncoder"),
        (["f", None] * 15, r"\(texts\). Encode"),
        ([f"id {i}" for i in range(N)], r"\(a different text in each row\). Drop"),
        ([date(2020, 1, 1)] * N, r"\(dates\). Turn dates into numbers, such as"),
        (np.full(N, "2020-01-01", dtype="datetime64[ns]"), r"\(dates\). Turn dates"),
    ],
)
def test_columns_without_numbers_are_named_with_the_remedy(make, values, message):
    X = make(columns(bad=values))
    with pytest.raises(ValueError, match=f"must have numbers, but has 'bad' {message}"):
        TreeVAEClustering().fit(X)


def test_many_columns_are_counted():
    X = pd.DataFrame(columns(**{f"c{i}": ["a", "b"] * 15 for i in range(8)}))
    with pytest.raises(ValueError, match=r"'c4' \(texts\) and 3 more\. Encode"):
        TreeVAEClustering().fit(X)


@pytest.mark.parametrize(
    "values", [["1.5", "2"] * 15, [1, None] * 15, pd.array([True, False] * 15)]
)
def test_numbers_of_other_types_are_numbers(values):
    X = pd.DataFrame(columns(number=values))
    if not X["number"].isna().any():
        TreeVAEClustering(2, max_iter=1, random_state=0).fit(X)
    steps = make_pipeline(SimpleImputer(), TreeVAEClustering(2, max_iter=1))
    steps.fit(X.astype({"number": float}))


@pytest.mark.parametrize(
    "make",
    [
        np.asarray,
        np.ndarray.tolist,
        lambda X: pd.DataFrame(X, columns=["a", "b"]),
        lambda X: pd.DataFrame(X, columns=["a", "b"]).convert_dtypes(),
    ],
)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "contains NaN, in .* Fill missing values with SimpleImputer"),
        (np.inf, "contains infinity .*, in .* Correct them, or drop the rows"),
    ],
)
def test_values_that_are_not_finite_are_located(make, value, message):
    X = np.ones((10, 2))
    X[[3, 7], 1] = value
    X = make(X)
    name = "'b'" if hasattr(X, "columns") else "1"
    with pytest.raises(ValueError, match=message) as error:
        TreeVAEClustering().fit(X)
    assert f"in column {name} (2 of 10 rows)." in str(error.value)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_numbers_of_rows_are_named_once(make, rng):
    X = make(columns(id=100 + rng.permutation(N), n=np.arange(N) // 2))
    model = TreeVAEClustering(2, max_iter=1, random_state=0)
    with pytest.warns(UserWarning, match="Column 'id' numbers the 30 rows") as caught:
        model.fit(X)
    about_rows = [w for w in caught if "numbers the" in str(w.message)]
    assert [w.filename for w in about_rows] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(X)


def test_other_errors_stay():
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array instead"):
        TreeVAEClustering().fit([1.0, 2.0])
