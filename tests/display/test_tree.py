import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.offsetbox import DrawingArea, OffsetImage

from sktreevae.display import TreeDisplay
from sktreevae.display.tree import DOWN, UP, tidy_positions
from sktreevae.tree.arrays import leaves_below

from .cases import FittedModel, assert_disjoint, assert_legible, random_tree

draw = TreeDisplay.from_dendrogram


SHAPES = pytest.mark.parametrize("shape", ["random", "balanced", "chain"])


def parts(box, kind):
    """Return the parts of a kind that a drawn node has."""
    return [part for part in box.offsetbox.get_children() if isinstance(part, kind)]


def texts(box):
    """Return the texts at a drawn node, from top to bottom."""
    children = box.offsetbox.get_children()
    return [part.get_text() for part in children if hasattr(part, "get_text")]


def drawn_images(display):
    images = [parts(box, OffsetImage)[0] for box in display.boxes_]
    return [np.asarray(image.get_data()) for image in images]


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (8, 8, 3), (8, 8, 4)])
@pytest.mark.parametrize("is_flat", [True, False])
def test_every_node_shows_the_mean_of_its_samples(tree, shape, is_flat):
    images = np.arange(4.0).reshape(4, *(1 for _ in shape)) / 3 * np.ones((4, *shape))
    X = images.reshape(4, -1) if is_flat else images
    display = draw(tree, X, image_shape=shape if is_flat else None)
    means = [image.mean() for image in drawn_images(display)]
    np.testing.assert_allclose(means, np.divide([1.5, 1.0, 3.0, 0.5, 2.0], 3))


def test_colors_outside_of_the_unit_interval_are_scaled(tree):
    images = np.random.default_rng(0).uniform(0, 255, (5, 8, 8, 3))
    drawn = drawn_images(TreeDisplay(tree, images=images).plot())
    assert (np.min(drawn), np.max(drawn)) == (0.0, 1.0)
    unit = images / 255
    drawn = drawn_images(TreeDisplay(tree, images=unit).plot())
    np.testing.assert_array_equal(drawn, unit)


def test_gray_images_share_a_scale(tree):
    images = np.arange(5.0)[:, None, None] * np.ones((5, 8, 8))
    display = TreeDisplay(tree, images=images).plot(cmap="viridis")
    for box in display.boxes_:
        (image,) = parts(box, OffsetImage)
        assert image.image.get_clim() == (0.0, 4.0)
        assert image.image.get_cmap().name == "viridis"


def test_new_data_goes_where_the_estimator_predicts(tree):
    X = np.full((4, 4, 4), [[[0.0]], [[1.0]], [[1.0]], [[0.0]]])
    display = TreeDisplay.from_estimator(FittedModel(tree), X)
    np.testing.assert_array_equal(display.n_node_samples, [4, 4, 0, 2, 2])
    np.testing.assert_allclose(display.images[:, 0, 0], [0.5, 0.5, np.nan, 0, 1])
    assert [len(parts(box, OffsetImage)) for box in display.boxes_] == [1, 1, 0, 1, 1]
    assert [texts(box)[0] for box in display.boxes_] == ["4", "4", "0", "2", "2"]


def test_estimators_generate_the_images_without_data(fitted):
    images = TreeDisplay.from_estimator(fitted, image_shape=(1, 2)).images
    np.testing.assert_array_equal(images, fitted.node_means()[:, None])


FEATURES = re.compile(f"[{UP}{DOWN}] (age|size) ([\\d.]+)")


@pytest.mark.parametrize("source", ["rows", "model", "dendrogram"])
def test_nodes_show_what_tells_them_from_their_sibling(fitted, rows, source):
    if source == "dendrogram":
        display = draw(fitted.dendrogram_, rows)
    else:
        X = rows if source == "rows" else None
        display = TreeDisplay.from_estimator(fitted, X)
    tree = display.dendrogram
    assert texts(display.boxes_[0]) == ["240", "node 0"]  # the root
    means = {"age": {10, 20, 40}, "size": {5, 90}}
    for leaf in tree.leaves:
        lines = display.features[leaf]
        assert lines == texts(display.boxes_[leaf])[1].split("\n")
        for line in lines:
            name, mean = FEATURES.fullmatch(line).groups()
            assert min(abs(float(mean) - other) for other in means[name]) <= 1
    for pair in zip(display.features[1::2], display.features[2::2], strict=True):
        for left, right in zip(*pair, strict=True):
            is_up = float(left.split()[2]) > float(right.split()[2])
            assert (left[0], right[0]) == ((UP, DOWN) if is_up else (DOWN, UP))


@pytest.mark.parametrize("n_features", [0, 1])
def test_features_can_be_named_and_limited(fitted, n_features):
    names = {"n_features": n_features, "feature_names": ["length", "mass"]}
    features = TreeDisplay.from_estimator(fitted, **names).features
    assert max(map(len, features)) == n_features
    assert not n_features or re.search("length|mass", features[1][0])


def test_a_note_explains_arrows_and_dashes(tree):
    assert draw(tree).note_ is None
    arrows = "\N{BLACK UP-POINTING TRIANGLE} \N{BLACK DOWN-POINTING TRIANGLE}: the mean"
    dashes = "dashed: split not supported by held-out samples"
    features = draw(tree, np.zeros((4, 2)))
    assert features.note_.get_text().startswith(arrows)
    tree.p_values[0] = 1.0
    assert draw(tree).note_.get_text() == dashes
    assert features.plot().note_.get_text().endswith(f"other branch\n{dashes}")
    display = TreeDisplay(tree, note="mean images").plot()
    assert display.note_.get_text() == f"mean images\n{dashes}"


@pytest.mark.parametrize("is_new", [True, False])
def test_notes_are_as_wide_as_their_figure(tree, is_new):
    ax = None if is_new else plt.subplots(figsize=(3, 3))[1]
    assert_legible(TreeDisplay(tree, note=20 * "a word ").plot(ax).figure_)


def test_bars_have_the_shares_of_the_classes(tree):
    y = np.array(["cat", "dog", "dog", "fish"])
    display = draw(tree, y=y)
    expected = [[1, 2, 1], [1, 2, 0], [0, 0, 1], [1, 1, 0], [0, 1, 0]]
    np.testing.assert_array_equal(display.class_counts, expected)
    assert display.class_names == ["cat", "dog", "fish"]
    assert [t.get_text() for t in display.legend_.get_texts()] == ["cat", "dog", "fish"]
    (area,) = parts(display.boxes_[0], DrawingArea)
    widths = [bar.get_width() for bar in area.get_children()]
    np.testing.assert_allclose(np.divide(widths, sum(widths)), [0.25, 0.5, 0.25])
    (area,) = parts(display.boxes_[2], DrawingArea)
    assert len(area.get_children()) == 1


def test_texts_are_numbers_of_samples_and_clusters_by_default(tree):
    display = draw(tree)
    expected = ["4 node 0", "3 node 1", "1 #2", "2 #0", "1 #1"]
    assert [" ".join(texts(box)) for box in display.boxes_] == expected
    assert display.legend_ is None


def test_nodes_are_apart_at_another_resolution(tree):
    rows = np.arange(8.0).reshape(4, 2) ** 3
    names = ["monthly expenditure (EUR)", "island = Torgersen (%)"]
    display = TreeDisplay.from_dendrogram(tree, rows, feature_names=names)
    display.figure_.set_dpi(80)
    display.figure_.draw_without_rendering()
    assert_disjoint([*display.boxes_, display.note_])


def test_frames_have_the_colors_of_a_cut(tree):
    display = draw(tree, n_clusters=2)
    colors = [box.patch.get_edgecolor() for box in display.boxes_[1:]]
    expected = ["C0", "C1", "C0", "C0"]
    assert plt.matplotlib.colors.same_color(colors, expected)
    assert plt.matplotlib.colors.same_color(display.edges_.get_colors()[:4], expected)


@SHAPES
@pytest.mark.parametrize("orientation", ["top", "left"])
def test_parents_are_over_the_mean_of_their_leaves(shape, orientation):
    tree = random_tree(12, shape)
    display = draw(tree, orientation=orientation)
    center = np.array([box.xy for box in display.boxes_])
    n_leaves = leaves_below(tree.parent, tree.leaves).sum(axis=1)[:, None]
    total = (n_leaves * center)[1::2] + (n_leaves * center)[2::2]
    parent = tree.parent[1::2]
    across, down = (0, 1) if orientation == "top" else (1, 0)
    mean = (total / n_leaves[parent])[:, across]
    np.testing.assert_allclose(center[parent, across], mean)
    np.testing.assert_array_equal(center[:, down], tree.depth)
    assert (center[1::2, across] < center[2::2, across]).all()


@pytest.mark.parametrize("n_leaves", [4, 20, 100])
@SHAPES
def test_nodes_of_a_depth_are_apart_and_in_order(n_leaves, shape):
    tree = random_tree(n_leaves, shape)
    x = tidy_positions(tree)
    assert x.min() == 0.0
    # Breadth first, nodes of the same depth are numbered from left to right.
    assert np.diff(x)[np.diff(tree.depth) == 0].min(initial=np.inf) > 1 - 1e-9


@pytest.mark.parametrize("n_leaves", [2, 10, 100])
def test_chains_are_narrow(n_leaves):
    width = tidy_positions(random_tree(n_leaves, "chain")).max()
    # Below a node with k leaves, the chain goes on 1/k to the right of it.
    drift = (1 / np.arange(2, n_leaves + 1)).sum()
    assert width == pytest.approx(drift + 1 - 1 / n_leaves)


def test_small_nodes_become_points():
    tree, ax = random_tree(40, "balanced"), plt.subplots()[1]
    display = TreeDisplay(tree, images=np.zeros((tree.n_nodes, 8, 8))).plot(ax)
    is_point = np.array([box is None for box in display.boxes_])
    assert len(display.points_.get_offsets()) == is_point.sum()
    n_samples = tree.n_node_samples
    assert 0 < is_point.sum() < 79
    assert n_samples[is_point].mean() < n_samples[~is_point].mean()


def test_a_tree_of_one_leaf_is_drawn():
    display = draw(random_tree(1), np.zeros((1, 8, 8)))
    assert texts(display.boxes_[0]) == ["1", "#0"]
    assert_legible(display.figure_)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": np.zeros((3, 8, 8))}, "X must have one entry .* 4 samples .* got 3"),
        ({"y": [0, 1, 2]}, "y must have one entry .* 4 samples .* got 3"),
        ({"X": np.zeros((4, 2)), "feature_names": "ab"}, "a sequence of 2 names"),
        (
            {"X": np.zeros((4, 64)), "image_shape": (8, 9)},
            r"image_shape=\(8, 9\) means 72 features, but X has 64",
        ),
        ({"titles": ["a"]}, "one text for each of the 5 nodes, got 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tree, arguments, message):
    with pytest.raises(ValueError, match=message):
        draw(tree, **arguments)
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"images": np.zeros((4, 8, 8))}, "images .* each of the 5 nodes, got 4"),
        (
            {"images": np.zeros((5, 8, 8)), "class_counts": np.ones((5, 2))},
            r"only one of .* got \['images', 'class_counts'\]",
        ),
    ],
)
def test_there_is_one_content_for_each_node(tree, contents, message):
    with pytest.raises(ValueError, match=message):
        TreeDisplay(tree, **contents).plot()
    assert not plt.get_fignums()


@pytest.mark.parametrize("n_channels", [2, 5, 6, 7])
def test_images_that_cannot_be_drawn_are_features(tree, n_channels):
    model = FittedModel(tree, n_features=64 * n_channels)
    model.image_shape = (8, 8, n_channels)
    X = model.training_data()
    display = TreeDisplay.from_estimator(model, X)
    assert display.images is None
    assert len(display.features) == tree.n_nodes
    for shape in (model.image_shape, "ab", (2, None)):
        with pytest.raises(ValueError, match="channels first or last, got"):
            TreeDisplay.from_estimator(model, X, image_shape=shape)
