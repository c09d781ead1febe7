import sys
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError

from sktreevae import TreeVAEClustering
from sktreevae.display import (
    ContingencyMatrixDisplay,
    DendrogramDisplay,
    EmbeddingDisplay,
    HistoryDisplay,
    ProfileDisplay,
    SplitDisplay,
    TreeDisplay,
)
from sktreevae.display._base import (
    category_colors,
    node_clusters,
    plain,
    select_disjoint,
    short,
)
from sktreevae.inspection.columns import number_features
from sktreevae.tree.arrays import leaves_below

from .cases import make_explanation, random_tree, visible_texts

X = pd.DataFrame(np.arange(8.0).reshape(4, 2), columns=["age", "size"])

FROM_ESTIMATOR = pytest.mark.parametrize(
    "draw",
    [
        DendrogramDisplay.from_estimator,
        TreeDisplay.from_estimator,
        HistoryDisplay.from_estimator,
        ProfileDisplay.from_estimator,
        partial(EmbeddingDisplay.from_estimator, X=X),
        partial(ContingencyMatrixDisplay.from_estimator, X=X, y=[0, 0, 1, 1]),
    ],
    ids=["dendrogram", "tree", "history", "profile", "embedding", "contingency"],
)

FROM_DENDROGRAM = pytest.mark.parametrize(
    "draw", [DendrogramDisplay.from_dendrogram, TreeDisplay.from_dendrogram]
)


@FROM_ESTIMATOR
def test_estimators_must_be_fitted(draw):
    message = "TreeVAEClustering instance is not fitted yet"
    with pytest.raises(NotFittedError, match=message):
        draw(TreeVAEClustering())


@FROM_ESTIMATOR
@pytest.mark.parametrize(
    "estimator", [KMeans(1).fit([[0], [1]]), [[0, 1, 1.0, 2]], None, TreeVAEClustering]
)
def test_estimators_of_another_kind_are_refused(draw, estimator):
    with pytest.raises(TypeError, match="estimator must be a fitted estimator with"):
        draw(estimator)


@FROM_DENDROGRAM
@pytest.mark.parametrize("tree", [[[0, 1, 1.0, 2]], None, TreeVAEClustering()])
def test_objects_of_another_kind_are_refused(draw, tree):
    with pytest.raises(TypeError, match="dendrogram must be a Dendrogram"):
        draw(tree)


@FROM_ESTIMATOR
def test_missing_matplotlib_is_named(draw, fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'sktreevae\[plot\]'"):
        draw(fitted)


@FROM_ESTIMATOR
def test_displays_draw_on_given_axes_or_a_new_figure(draw, fitted):
    figure, axes = plt.subplots(2)
    display = draw(fitted, ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert figure.axes[:2] == list(axes)
    assert len(plt.get_fignums()) == 1
    other = draw(fitted)
    assert other.figure_ is other.ax_.figure is not figure
    assert not axes[0].has_data()


@pytest.mark.parametrize("n_categories", [1, 10, 11, 20, 21, 100])
def test_categories_have_different_colors(n_categories):
    colors = category_colors(n_categories)
    assert colors.shape == (n_categories, 4)
    assert len(np.unique(colors, axis=0)) == n_categories


@pytest.mark.parametrize("n_clusters", [1, 2, 5, 12])
def test_nodes_lie_in_the_cluster_of_all_their_leaves(n_clusters):
    tree = random_tree(12)
    below, cut = leaves_below(tree.parent, tree.leaves), tree.cut(n_clusters)
    for node, cluster in enumerate(node_clusters(tree, n_clusters)):
        found = set(cut[below[node]].tolist())
        assert found == {cluster} if cluster >= 0 else len(found) > 1


NAMES = [r"$\frac$", r"$\x$", "cost in $ (US$)"]


DRAWINGS = {
    "features": lambda tree: TreeDisplay.from_dendrogram(
        tree, np.eye(4)[:, 1:], feature_names=NAMES
    ),
    "classes": lambda tree: TreeDisplay.from_dendrogram(
        tree, y=[*NAMES, NAMES[0]], cluster_names=NAMES
    ),
    "titles": lambda tree: TreeDisplay.from_dendrogram(
        tree, titles=[*NAMES, *NAMES[:2]]
    ),
    "dendrogram": lambda tree: tree.plot(cluster_names=NAMES),
    "contingency": lambda tree: ContingencyMatrixDisplay(
        np.eye(3, dtype=int), class_names=NAMES
    ).plot(cluster_names=NAMES),
    "embedding": lambda tree: EmbeddingDisplay(
        np.outer([0.0, 1.0, 2.0], [1.0, 1.0]), [0, 1, 2], axis_names=NAMES[:2]
    ).plot(cluster_names=NAMES),
    "profile": lambda tree: ProfileDisplay(tree, np.eye(3), feature_names=NAMES).plot(
        cluster_names=NAMES
    ),
    "split": lambda tree: SplitDisplay(
        replace(make_explanation(3), columns=number_features(NAMES))
    ).plot(),
}


@pytest.mark.parametrize("kind", DRAWINGS)
def test_names_are_no_formulas(tree, kind):
    figure = DRAWINGS[kind](tree).figure_
    texts = [text.get_text() for text in visible_texts(figure)]
    for name in NAMES:
        assert any(plain(name) in text for text in texts)


@pytest.mark.parametrize("name", [*NAMES, r"\$a\$", r"\\$", "no dollar"])
def test_plain_text_is_drawn_as_it_is(name):
    texts = [
        plt.figure().text(0.5, 0.5, plain(name)),
        plt.figure().text(0.5, 0.5, name, parse_math=False),
    ]
    images = []
    for text in texts:
        text.figure.canvas.draw()
        images.append(np.asarray(text.figure.canvas.buffer_rgba()))
    np.testing.assert_array_equal(*images)


def test_selected_boxes_are_inside_and_apart(rng):
    corners = rng.uniform(-0.1, 1, (50, 2))
    boxes = np.hstack([corners, corners + rng.uniform(0.05, 0.2, (50, 2))])
    priority = rng.permutation(50)
    selected = select_disjoint(boxes, priority, np.array([0.0, 0.0, 1.0, 1.0]))

    def overlaps(i, j):
        low = np.maximum(boxes[i, :2], boxes[j, :2])
        return (low < np.minimum(boxes[i, 2:], boxes[j, 2:])).all()

    for i in range(50):
        is_inside = boxes[i].min() >= 0 and boxes[i].max() <= 1
        rivals = np.flatnonzero(selected & (priority > priority[i]))
        assert selected[i] == (is_inside and not any(overlaps(i, j) for j in rivals))


@given(st.lists(st.text("ab$ ", max_size=60), max_size=8))
def test_short_names_tell_as_much_as_the_names(names):
    shortened = short(names)
    assert len(set(shortened)) == len(set(names))
    for name, text in zip(names, shortened, strict=True):
        assert text == plain(name) or len(text.replace("\\", "")) <= 40
