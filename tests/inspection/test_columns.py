import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from sktreevae import TreeVAEClustering, diagnose, explain, export_html
from sktreevae.display import SplitDisplay, TreeDisplay
from sktreevae.inspection.columns import (
    FrameColumns,
    MatrixColumns,
    number_features,
    read_table,
)
from sktreevae.inspection.effects import row_moments


@pytest.fixture
def frame(rng):
    """Return numbers, dates, categories and booleans, some of which are missing."""
    n = 60
    table = pd.DataFrame(
        {
            "mass": rng.normal(4000.0, 300.0, n).round(),
            "born": pd.Timestamp("2000-01-01") + pd.to_timedelta(np.arange(n), "D"),
            "island": rng.choice(["Biscoe", "Dream", "Torgersen"], n),
            "sex": rng.choice(["female", "male"], n),
            "alone": rng.random(n) < 0.5,
            "n_eggs": pd.array(rng.integers(0, 3, n), dtype="Int64"),
        }
    )
    table.loc[:4, ["mass", "sex"]] = None
    table.loc[:1, ["born", "n_eggs"]] = None
    return table


def test_columns_of_a_frame_are_numbers_years_and_shares(frame):
    expected = {
        ("mass", 0): frame["mass"],
        ("mass missing (%)", 0): 100 * frame["mass"].isna(),
        ("born", 1): np.append([np.nan, np.nan], 2000 + np.arange(2, 60) / 366),
        ("born missing (%)", 1): 100 * frame["born"].isna(),
        ("island = Biscoe (%)", 2): 100 * (frame["island"] == "Biscoe"),
        ("island = Dream (%)", 2): 100 * (frame["island"] == "Dream"),
        ("island = Torgersen (%)", 2): 100 * (frame["island"] == "Torgersen"),
        ("sex = male (%)", 3): 100 * (frame["sex"] == "male"),
        ("sex missing (%)", 3): 100 * frame["sex"].isna(),
        ("alone = True (%)", 4): 100 * frame["alone"],
        ("n_eggs", 5): frame["n_eggs"].to_numpy(float, na_value=np.nan),
        ("n_eggs missing (%)", 5): 100 * frame["n_eggs"].isna(),
    }
    read = FrameColumns(frame, frame.columns)
    assert [(found.name, found.column) for found in read.features] == [*expected]
    values = read.read(np.arange(len(expected)))
    np.testing.assert_allclose(values, np.column_stack([*expected.values()]))


def test_means_of_dates_are_dates(frame):
    read = FrameColumns(frame, frame.columns)
    born = next(found for found in read.features if found.is_date)
    mean = read.moments(np.zeros(len(frame), dtype=int), 1).mean[0]
    expected = frame["born"].mean()
    assert born.text(mean[read.features.index(born)]) == str(expected.date())
    assert born.text(np.nan) == "nan"


def test_moments_of_a_frame_are_those_of_its_values(frame, rng):
    labels = rng.integers(0, 2, len(frame))
    read = FrameColumns(frame, frame.columns)
    actual = read.moments(labels, 3)
    values = read.read(np.arange(len(read.features)))
    expected = row_moments(values, labels, 3)
    np.testing.assert_allclose(actual.mean, expected.mean)
    np.testing.assert_allclose(actual.variance, expected.variance)
    np.testing.assert_array_equal(actual.weight, expected.weight)


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_columns_of_a_matrix_are_its_values(rng, convert):
    X = rng.normal(size=(50, 4))
    read = MatrixColumns(convert(X), number_features("abcd"))
    np.testing.assert_array_equal(read.read(np.array([2, 0])), X[:, [2, 0]])


def test_frames_of_polars_are_read_alike():
    values = {
        "mass": [3700.0, None, 4100.0],
        "sex": ["male", None, "female"],
        "born": [datetime(2000, 1, 1), None, datetime(2001, 1, 1)],
    }
    expected = read_table(pd.DataFrame(values), None)
    read = read_table(pl.DataFrame(values), None)
    assert read.features == expected.features
    features = np.arange(len(read.features))
    np.testing.assert_array_equal(read.read(features), expected.read(features))


def birds():
    """Return a table of two groups with categories, and numbers that are missing."""
    n, rng = 240, np.random.default_rng(0)
    y = np.arange(n) % 2
    home, is_home = np.where(y, "Biscoe", "Dream"), rng.random(n) < 0.9
    frame = pd.DataFrame(
        {
            "name": [f"bird {i}" for i in range(n)],
            "mass": rng.normal(3700.0 + 1300.0 * y, 200.0),
            "island": np.where(is_home, home, "Torgersen"),
        }
    )
    frame["weight"] = frame["mass"] / 1000
    frame.loc[::7, "mass"] = np.nan
    return frame


def penguins():
    path = Path(__file__).parents[2] / "examples" / "data" / "penguins.csv"
    return pd.read_csv(path).drop(columns="species")


def fit_table(frame, n_clusters, names):
    """Fit a pipeline to the numbers and to some categories of a table."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    steps = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (OneHotEncoder(sparse_output=False), names),
    )
    model = TreeVAEClustering(n_clusters, max_iter=10, random_state=0)
    return make_pipeline(steps, model).fit(frame), frame


@pytest.fixture(scope="module")
def fitted():
    return fit_table(birds(), 2, ["island"])


@pytest.fixture(scope="module")
def fitted_penguins():
    return fit_table(penguins(), 4, ["island", "sex"])


def value_of(table, rows, name):
    """Return the mean or the percentage that a feature names, by pandas."""
    column, _, category = name.removesuffix(" (%)").partition(" = ")
    if name.endswith(" missing (%)"):
        return 100 * table.loc[rows, name.removesuffix(" missing (%)")].isna().mean()
    if category:
        return 100 * (table.loc[rows, column].astype(str) == category).mean()
    return table.loc[rows, column].mean()


@pytest.mark.parametrize("name", ["fitted", "fitted_penguins"])
@pytest.mark.parametrize("n_features", [10, None])
def test_means_and_shares_are_those_of_the_table(name, n_features, request):
    pipeline, table = request.getfixturevalue(name)
    labels = pipeline.predict(table)
    np.testing.assert_array_equal(labels, pipeline[-1].labels_)
    for found in explain(pipeline, None, table, n_features=n_features):
        groups = [np.isin(labels, clusters) for clusters in found.clusters]
        assert found.n_rows == tuple(group.sum() for group in groups)
        means = found.left_mean, found.right_mean
        for rows, actual in zip(groups, means, strict=True):
            expected = [value_of(table, rows, name) for name in found.feature_names]
            np.testing.assert_allclose(actual, expected)
        for name, column in zip(found.feature_names, found.features, strict=True):
            assert name.startswith(table.columns[column])


def test_correlated_columns_appear_once(fitted):
    pipeline, frame = fitted
    names = set(explain(pipeline, 0, frame).feature_names)
    assert len(names & {"mass", "weight"}) == 1
    assert not any(name.startswith("name") for name in names)
    names = explain(pipeline, 0, frame, n_features=None).feature_names
    assert {"mass", "weight", "name = bird 0 (%)"} <= set(names)


def test_without_rows_the_features_of_the_last_step_are_explained(fitted):
    pipeline, _ = fitted
    found = explain(pipeline, 0)
    assert set(found.feature_names) <= set(pipeline[:-1].get_feature_names_out())
    assert found.n_rows is found.auc is None


def test_a_pipeline_is_drawn_exported_and_diagnosed(fitted, tmp_path):
    pipeline, frame = fitted
    for display in (TreeDisplay, SplitDisplay):
        texts = display.from_estimator(pipeline, X=frame).figure_.findobj(
            lambda artist: hasattr(artist, "get_text")
        )
        assert any("island = " in text.get_text() for text in texts)
    export_html(pipeline, tmp_path / "tree.html", frame)
    page = (tmp_path / "tree.html").read_text(encoding="utf-8")
    assert "island = Biscoe (%)" in page
    expected = pipeline[-1].diagnose(pipeline[:-1].transform(frame))
    assert diagnose(pipeline, frame) == expected


def test_numbers_that_enter_a_pipeline_keep_their_units():
    iris = load_iris()
    model = TreeVAEClustering(2, max_iter=5, random_state=0)
    pipeline = make_pipeline(StandardScaler(), model).fit(iris.data)
    for X in (iris.data, sparse.csr_array(iris.data)):
        if sparse.issparse(X):
            X = sparse.csr_array(iris.data)
            pipeline.set_params(standardscaler__with_mean=False).fit(X)
        found = explain(pipeline, 0, X, feature_names=iris.feature_names)
        left = np.isin(pipeline.predict(X), found.clusters[0])
        expected = iris.data[left].mean(axis=0)[found.features]
        np.testing.assert_allclose(found.left_mean, expected)
        names = np.array(iris.feature_names)[found.features]
        assert found.feature_names.tolist() == names.tolist()
        assert explain(pipeline, 0, X).feature_names[0] == f"x{found.features[0]}"


def test_texts_are_explained_by_their_terms():
    texts = ["cats purr softly", "dogs bark loudly"] * 30
    model = TreeVAEClustering(2, max_iter=5, random_state=0)
    pipeline = make_pipeline(TfidfVectorizer(), model).fit(texts)
    found = explain(pipeline, 0, texts)
    assert set(found.feature_names) <= set(pipeline[0].get_feature_names_out())


def test_steps_without_names_have_numbered_features():
    X = load_iris().data
    model = TreeVAEClustering(2, max_iter=5, random_state=0)
    pipeline = make_pipeline(FunctionTransformer(), model).fit(X)
    assert explain(pipeline, 0).feature_names[0] in {"x0", "x1", "x2", "x3"}


def test_a_pipeline_of_one_step_is_that_step():
    X = load_iris().data
    model = TreeVAEClustering(2, max_iter=5, random_state=0).fit(X)
    pipeline = make_pipeline(make_pipeline(model))
    assert repr(explain(pipeline, 0, X)) == repr(explain(model, 0, X))
    assert diagnose(pipeline, X) == diagnose(model, X)


def test_a_frame_needs_pandas(fitted, monkeypatch):
    pipeline, frame = fitted
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="read with pandas. Install it with: pip"):
        explain(pipeline, 0, frame, labels=pipeline[-1].labels_)


def test_names_replace_those_of_the_frame(fitted):
    pipeline, frame = fitted
    found = explain(pipeline, 0, frame, feature_names=["a", "b", "c", "d"])
    assert {name.split(" ")[0] for name in found.feature_names} <= set("abcd")
    with pytest.raises(ValueError, match="one name for each of the 4 features, got 1"):
        explain(pipeline, 0, frame, feature_names=["a"])
