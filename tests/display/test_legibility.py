"""All texts of all drawings can be read."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sktreevae.display import (
    ContingencyMatrixDisplay,
    EmbeddingDisplay,
    HistoryDisplay,
    ProfileDisplay,
    SplitDisplay,
    TreeDisplay,
)

from .cases import (
    FittedModel,
    assert_disjoint,
    assert_legible,
    make_explanation,
    random_tree,
)
from .test_history import GROWN, GROWN_EPOCHS, history


def contingency(tree, ax):
    counts = np.random.default_rng(0).integers(0, 2000, (3, tree.n_clusters))
    counts[:, ::4], counts[:, 1] = 0, 1234
    names = [f"talk.politics.{i}" for i in range(3)]
    return ContingencyMatrixDisplay(counts, class_names=names).plot(ax)


def profile(tree, ax):
    values = np.random.default_rng(0).normal(size=(20, tree.n_clusters))
    names = [f"a feature, no. {i}" for i in range(20)]
    return ProfileDisplay(tree, values, feature_names=names).plot(ax)


def embedding(tree, ax):
    model, names = FittedModel(tree), [f"cluster {i}" for i in range(tree.n_clusters)]
    X = model.training_data()
    return EmbeddingDisplay.from_estimator(model, X, ax=ax, cluster_names=names)


def nodes_of_images(tree, ax):
    images = np.random.default_rng(0).uniform(size=(tree.n_nodes, 8, 8))
    return TreeDisplay(tree, images=images).plot(ax)


DRAWINGS = [
    lambda tree, ax: tree.plot(ax),
    lambda tree, ax: tree.plot(ax, orientation="left"),
    *(contingency, profile, embedding, nodes_of_images),
]


def assert_nodes_are_apart(display):
    artists = [*display.boxes_, display.legend_, display.note_]
    assert_disjoint([artist for artist in artists if artist is not None])


@pytest.mark.parametrize("n_leaves", [4, 20, 100])
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "given"])
@pytest.mark.parametrize("draw", DRAWINGS)
def test_drawings_of_trees_are_legible(draw, is_new, n_leaves):
    ax = None if is_new else plt.subplots(figsize=(5, 4))[1]
    display = draw(random_tree(n_leaves), ax)
    assert_legible(display.figure_)
    if draw is contingency:
        assert (display.text_ is None) == (n_leaves > 4 and not is_new)
    if draw is nodes_of_images:
        assert_nodes_are_apart(display)


@pytest.mark.parametrize(
    ("n_leaves", "shape", "content", "is_new"),
    [
        (40, "random", "features", True),
        (10, "balanced", "features", True),
        (40, "chain", "classes", True),
        (40, "random", "features", False),
        (10, "random", "classes", False),
    ],
)
def test_nodes_of_every_content_are_legible(n_leaves, shape, content, is_new):
    tree = random_tree(n_leaves, shape)
    if content == "features":
        names = [["petal width (cm)", "stem"]] * tree.n_nodes
        display = TreeDisplay(tree, features=names)
    else:
        counts = np.random.default_rng(0).integers(0, 10, (tree.n_nodes, 6))
        display = TreeDisplay(tree, class_counts=counts, class_names=list("abcdef"))
    ax = None if is_new else plt.subplots(figsize=(5, 4))[1]
    orientation = "left" if content == "features" and is_new else "top"
    assert_legible(display.plot(ax, orientation=orientation).figure_)
    assert_nodes_are_apart(display)


@pytest.mark.parametrize("layout", [None, "constrained"])
@pytest.mark.parametrize("draw", DRAWINGS[:4])
def test_drawings_beside_others_are_legible(draw, layout):
    figure, axes = plt.subplots(1, 2, figsize=(9, 6), layout=layout)
    draw(random_tree(10), axes[1])
    axes[0].remove()
    assert_legible(figure)


@pytest.mark.parametrize("orientation", ["top", "left"])
def test_long_names_are_legible(orientation):
    names = [f"a name of the cluster {i}" for i in range(10)]
    tree, settings = random_tree(10), {"orientation": orientation}
    assert_legible(tree.plot(cluster_names=names, **settings).figure_)
    ax = plt.subplots(figsize=(5, 6))[1]
    assert_legible(tree.plot(ax, cluster_names=names, **settings).figure_)


@pytest.mark.parametrize("layout", [None, "constrained"])
@pytest.mark.parametrize(
    ("n_epochs", "size"), [(1, (5, 4)), (5, (10, 3)), (400, (5, 4))]
)
def test_histories_are_legible(layout, size, n_epochs):
    columns = history(["joint"] * n_epochs, list(range(n_epochs)))
    figure, ax = plt.subplots(figsize=size, layout=layout)
    HistoryDisplay(columns).plot(ax)
    assert_legible(figure)
    columns = history(GROWN, GROWN_EPOCHS)
    columns |= dict.fromkeys(("contrast", "validation_elbo"), columns["elbo"])
    assert_legible(HistoryDisplay(columns).plot().figure_)


@pytest.mark.parametrize("n_features", [1, 10, 30])
def test_splits_are_legible(n_features):
    found = make_explanation(n_features, "a rather long name of a feature")
    assert_legible(SplitDisplay(found).plot().figure_)
