import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sktreevae.display import ProfileDisplay, TreeDisplay

from .cases import random_tree, tick_labels

draw = ProfileDisplay.from_estimator


def test_cells_are_standardized_means(fitted, rows):
    display = draw(fitted, rows)
    means = rows.groupby(fitted.labels_).mean()
    expected = (means - rows.mean()) / rows.std(ddof=0)
    names = list(display.feature_names)
    np.testing.assert_allclose(display.profiles, expected[names].T)
    assert tick_labels(display.ax_.yaxis) == names
    np.testing.assert_array_equal(display.im_.get_array(), display.profiles)


def test_the_model_has_profiles_without_data(fitted, rows):
    difference = draw(fitted).profiles - draw(fitted, rows).profiles
    assert np.abs(difference).max() < 0.5


def test_features_that_differ_most_are_shown_where_they_deviate(fitted, rows):
    display = draw(fitted, rows, n_features=1)
    share = {}
    for name in rows:
        groups = rows[name].groupby(fitted.labels_)
        share[name] = groups.transform("mean").var() / rows[name].var()
    assert display.feature_names == [max(share, key=share.get)]
    at = np.abs(draw(fitted, rows).profiles).argmax(axis=1)
    assert (np.diff(at) >= 0).all()


def test_numbers_of_features_are_counts(fitted):
    for display, n_features in ((ProfileDisplay, 0), (TreeDisplay, -1)):
        with pytest.raises(ValueError, match=f"n_features must be .* got {n_features}"):
            display.from_estimator(fitted, n_features=n_features)


def test_features_can_be_named(fitted):
    names = draw(fitted, feature_names=["length", "mass"]).feature_names
    assert sorted(names) == ["length", "mass"]


def test_constant_features_and_empty_clusters_are_drawn(fitted, rows):
    X = pd.DataFrame({"age": rows["age"], "size": 5.0})[fitted.labels_ > 0]
    profiles = draw(fitted, X, feature_names=["age", "size"]).profiles
    empty = np.isnan(profiles).all(axis=0)
    assert empty.sum() == 3 - len(np.unique(fitted.predict(X)))
    assert (profiles[1, ~empty] == 0.0).all()


def test_leaves_are_above_their_columns():
    display = ProfileDisplay(random_tree(7), np.eye(7)).plot(n_clusters=2)
    assert display.tree_ax_.get_xlim() == display.ax_.get_xlim()
    assert len(display.branches_.get_segments()) == 12
    assert len(np.unique(display.branches_.get_colors(), axis=0)) == 2
    assert tick_labels(display.ax_.xaxis) == list("0123456")


def test_the_middle_of_the_colors_is_the_mean():
    values = np.arange(12.0).reshape(4, 3) - 2.0
    low, high = ProfileDisplay(random_tree(3), values).plot().im_.get_clim()
    assert -low == high > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"profiles": np.eye(2)}, "one column for each of the 3 clusters, got 2"),
        ({"feature_names": ["a"]}, "one name for each of the 3 features, got 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tree, arguments, message):
    with pytest.raises(ValueError, match=message):
        ProfileDisplay(tree, **{"profiles": np.eye(3), **arguments}).plot()
    assert not plt.get_fignums()
