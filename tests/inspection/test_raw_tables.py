"""Tables from raw files, through a pipeline, to explanations in their own columns."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sktreevae import TreeVAEClustering, explain, export_html
from sktreevae.display import TreeDisplay

DATA = Path(__file__).parents[2] / "examples" / "data"


def penguins(folder):
    return pd.read_csv(DATA / "penguins.csv").drop(columns="species")


def cars(folder):
    """Return the cars of vega-datasets, whose years are dates, without their names."""
    package = pytest.importorskip("vega_datasets").__name__
    path = str(files(package) / "_data" / "cars.json")
    pd.read_json(path).to_csv(folder / "cars.csv", index=False)
    table = pd.read_csv(folder / "cars.csv", parse_dates=["Year"])
    return table.assign(Year=table["Year"].dt.year).drop(columns="Name")


def titanic(folder):
    """Return a table with the columns of the passengers of the Titanic."""
    rng, n = np.random.default_rng(0), 400
    first = rng.random(n) < 0.3
    age = np.where(rng.random(n) < 0.2, np.nan, rng.normal(28 + 12 * first, 9, n))
    passengers = {
        "PassengerId": 1 + np.arange(n),
        "Survived": (rng.random(n) < 0.3 + 0.3 * first).astype(int),
        "Pclass": np.where(first, 1, rng.choice([2, 3], n)),
        "Name": [f"Passenger {i}" for i in range(n)],
        "Sex": rng.choice(["male", "female"], n),
        "Age": age.clip(1, 80).round(1),
        "SibSp": rng.poisson(0.5, n),
        "Fare": rng.lognormal(2.5 + 1.8 * first, 0.4).round(2),
        "Cabin": np.where(first, "C85", None),
        "Embarked": rng.choice(["S", "C", "Q", None], n, p=[0.7, 0.2, 0.09, 0.01]),
    }
    pd.DataFrame(passengers).to_csv(folder / "titanic.csv", index=False)
    table = pd.read_csv(folder / "titanic.csv")
    return table.drop(columns=["PassengerId", "Name", "Survived"])


@pytest.fixture(scope="module", params=[penguins, cars, titanic])
def fitted(request, tmp_path_factory):
    table = request.param(tmp_path_factory.mktemp("tables"))
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (
            OneHotEncoder(sparse_output=False),
            make_column_selector(dtype_exclude="number"),
        ),
    )
    model = TreeVAEClustering(4, max_iter=5, random_state=0)
    return make_pipeline(columns, model).fit(table), table


def value_of(table, rows, name):
    """Return the mean or the percentage that a feature names, by pandas."""
    column, _, category = name.removesuffix(" (%)").partition(" = ")
    if name.endswith(" missing (%)"):
        return 100 * table.loc[rows, name.removesuffix(" missing (%)")].isna().mean()
    if category:
        return 100 * (table.loc[rows, column].astype(str) == category).mean()
    return table.loc[rows, column].mean()


def test_means_and_shares_are_those_of_the_file(fitted):
    pipeline, table = fitted
    labels = pipeline.predict(table)
    np.testing.assert_array_equal(labels, pipeline[-1].labels_)
    for found in explain(pipeline, None, table):
        for clusters, means in zip(
            found.clusters, (found.left_mean, found.right_mean), strict=True
        ):
            rows = np.isin(labels, clusters)
            expected = [value_of(table, rows, name) for name in found.feature_names]
            np.testing.assert_allclose(means, expected)
    assert len(explain(pipeline, 0, table).features) > 0


def test_the_picture_and_the_page_have_the_columns_of_the_file(fitted, tmp_path):
    pipeline, table = fitted
    strongest = explain(pipeline, 0, table, n_features=1).feature_names[0]
    display = TreeDisplay.from_estimator(pipeline, table)
    shown = " ".join(" ".join(texts) for texts in display.features)
    assert strongest.split(" = ")[0] in shown
    export_html(pipeline, tmp_path / "tree.html", table)
    assert strongest in (tmp_path / "tree.html").read_text(encoding="utf-8")


def test_clusters_go_back_into_the_table(fitted):
    pipeline, table = fitted
    clustered = table.assign(cluster=pipeline[-1].labels_)
    assert len(clustered) == len(table)
    assert clustered["cluster"].nunique() == pipeline[-1].n_clusters_
