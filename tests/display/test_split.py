import copy
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sktreevae import TreeVAEClustering
from sktreevae.display import SplitDisplay
from sktreevae.display._node_values import as_images

from .cases import make_explanation, tick_labels


def test_bars_are_the_effects():
    found = make_explanation()
    display = SplitDisplay(found).plot()
    widths = [bar.get_width() for bar in display.bars_]
    np.testing.assert_allclose(widths, found.effect)
    assert tick_labels(display.ax_.yaxis) == found.feature_names.tolist()
    assert display.figure_ is display.ax_.figure
    assert display.axes_.item() is display.ax_
    assert display.images_ == []


def test_larger_in_the_left_branch_is_on_the_left():
    ax = SplitDisplay(make_explanation()).plot().ax_
    left, right = ax.get_xlim()
    assert left == -right > 0
    bottom, top = ax.get_ylim()
    assert bottom > top  # the largest effect is on top


def test_ticks_are_positive_on_both_sides():
    effect = np.array([-30.0, 12.0, -2.0, 1.0])
    found = replace(make_explanation(), effect=effect)
    ax = SplitDisplay(found).plot().ax_
    assert ax.get_xlim() == (10.0, -10.0)
    labels = [ax.xaxis.get_major_formatter()(x) for x in (-10.0, -2.5, 0.0, 2.5, 10.0)]
    assert labels == [">10", "2.5", "0", "2.5", ">10"]


def test_colors_are_the_directions():
    found = make_explanation()
    display = SplitDisplay(found).plot()
    legend = display.ax_.get_legend()
    color_of = {
        text.get_text().split(":")[0]: patch.get_facecolor()
        for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)
    }
    for bar, effect in zip(display.bars_, found.effect, strict=True):
        side = "left" if effect > 0 else "right"
        assert bar.get_facecolor() == color_of[side]
    assert legend.get_title().get_text() == "node 3"
    assert legend.get_texts()[1].get_text() == "right: larger in node 6 (clusters 1-2)"


def test_means_stand_beside_the_bars():
    found = make_explanation()
    (means,) = SplitDisplay(found).plot().ax_.child_axes
    expected = [f"{a} vs {b}" for a, b in found.mean_texts]
    assert tick_labels(means.yaxis) == expected


@pytest.mark.parametrize("shape", [(8, 9), (1, 8, 9), (8, 9, 3), (3, 8, 9)])
def test_images_are_the_means_and_their_difference(shape):
    found = make_explanation(np.prod(shape))
    display = SplitDisplay(found, image_shape=shape).plot()
    assert display.axes_.shape == (1, 3)
    assert display.bars_ is None
    left, right, difference = (np.asarray(i.get_array()) for i in display.images_)
    means = np.empty((2, np.prod(shape)))
    means[:, found.features] = found.left_mean, found.right_mean
    images = as_images(means, shape)
    scaled = (images - images.min()) / (images.max() - images.min())
    np.testing.assert_allclose([left, right], scaled)
    expected = (images[0] - images[1]).reshape(8, 9, -1).mean(axis=2)
    np.testing.assert_allclose(difference, expected)


def test_images_name_the_branches():
    display = SplitDisplay(make_explanation(64), image_shape=(8, 8)).plot()
    titles = [axis.get_title() for axis in display.axes_[0]]
    assert titles == [
        "node 5\n(cluster 0)",
        "node 6\n(clusters 1-2)",
        "difference\nleft - right",
    ]


def test_images_need_all_features():
    message = "means 64 features, but the explanation has 10.*n_features=None"
    with pytest.raises(ValueError, match=message):
        SplitDisplay(make_explanation(10), image_shape=(8, 8))


def test_images_divide_a_subplot():
    _, axes = plt.subplots(1, 2)
    display = SplitDisplay(make_explanation(64), image_shape=(8, 8)).plot(axes[0])
    assert not axes[0].axison
    assert all(
        a.get_position().x1 <= axes[1].get_position().x0 for a in display.axes_.flat
    )
    free = plt.figure().add_axes((0.1, 0.1, 0.8, 0.8))
    with pytest.raises(ValueError, match="ax must be a subplot"):
        SplitDisplay(make_explanation(64), image_shape=(8, 8)).plot(free)


def test_an_estimator_explains_the_split(fitted, rows):
    names = {"feature_names": ["length", "mass"]}
    display = SplitDisplay.from_estimator(fitted, 0, rows, n_features=1, **names)
    expected = fitted.explain(0, rows, n_features=1, **names)
    assert tick_labels(display.ax_.yaxis) == expected.feature_names.tolist()
    assert display.bars_[0].get_width() == expected.effect[0]


def test_images_of_an_estimator_are_drawn_by_default(fitted):
    model = copy.copy(fitted).set_params(image_shape=(1, 2))
    left, right, _ = SplitDisplay.from_estimator(model).images_
    assert left.get_array().shape == right.get_array().shape == (1, 2)
    assert SplitDisplay.from_estimator(model, image_shape=None).bars_ is not None
    images = SplitDisplay.from_estimator(fitted, image_shape=(2, 1)).images_
    assert images[0].get_array().shape == (2, 1)


def test_images_have_all_features_and_bars_ten(rng):
    model = TreeVAEClustering(2, max_iter=1, hidden_dim=8, random_state=0)
    model.fit(rng.standard_normal((60, 12)) + 9.0 * np.repeat([[0], [1]], 30, axis=0))
    images = SplitDisplay.from_estimator(model, image_shape=(3, 4)).images_
    assert images[0].get_array().shape == (3, 4)
    assert len(SplitDisplay.from_estimator(model).bars_) == 10


def test_images_that_cannot_be_drawn_are_bars(fitted):
    model = copy.copy(fitted).set_params(image_shape=(8, 8, 2))
    assert SplitDisplay.from_estimator(model).bars_ is not None
    with pytest.raises(ValueError, match="with 1, 3 or 4 channels first or last, got"):
        SplitDisplay.from_estimator(model, image_shape=model.image_shape)
    with pytest.raises(ValueError, match="'auto' or None, got 'all'"):
        SplitDisplay.from_estimator(model, image_shape="all")
