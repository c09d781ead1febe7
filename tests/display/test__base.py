import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError

from sktreevae import TreeVAEClustering
from sktreevae.display import (
    ContingencyMatrixDisplay,
    DendrogramDisplay,
    EmbeddingDisplay,
    HistoryDisplay,
    TreeDisplay,
)
from sktreevae.display._base import category_colors, node_clusters

from .cases import FittedModel, random_tree

HISTORY = {
    "phase": ["joint"] * 2,
    "epoch": [0, 1],
    **dict.fromkeys(
        ["elbo", "reconstruction", "kl_root", "kl_nodes", "kl_decisions"], [1.0, 2.0]
    ),
    **dict.fromkeys(["contrast", "validation_elbo"], [np.nan, np.nan]),
}

X = np.arange(4.0).reshape(4, 1)

FROM_ESTIMATOR = pytest.mark.parametrize(
    "draw",
    [
        DendrogramDisplay.from_estimator,
        lambda model, **ax: TreeDisplay.from_estimator(model, y=[0, 0, 1, 1], **ax),
        HistoryDisplay.from_estimator,
        lambda model, **ax: EmbeddingDisplay.from_estimator(model, X, **ax),
        lambda model, **ax: ContingencyMatrixDisplay.from_estimator(
            model, X, [0, 0, 1, 1], **ax
        ),
    ],
    ids=["dendrogram", "tree", "history", "embedding", "contingency"],
)

FROM_DENDROGRAM = pytest.mark.parametrize(
    "draw", [DendrogramDisplay.from_dendrogram, TreeDisplay.from_dendrogram]
)


@pytest.fixture
def model():
    model = FittedModel(random_tree(3), n_features=1)
    model.dendrogram_.labels = np.array([0, 0, 1, 2])
    model.predict = lambda X, n_clusters=3: np.array([0, 0, 1, 2])
    model.history_ = HISTORY
    return model


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
def test_missing_matplotlib_is_named(draw, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'sktreevae\[plot\]'"):
        draw(model)


@FROM_ESTIMATOR
def test_a_new_figure_is_created_by_default(draw, model):
    ax = plt.subplots()[1]
    display = draw(model)
    assert display.figure_ is display.ax_.figure is not ax.figure
    assert not ax.has_data()


@FROM_ESTIMATOR
def test_displays_draw_on_given_axes(draw, model):
    figure, axes = plt.subplots(2)
    display = draw(model, ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert figure.axes[:2] == list(axes)
    assert not axes[0].has_data()
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("n_categories", [1, 10, 11, 20, 21, 100])
def test_categories_have_different_colors(n_categories):
    colors = category_colors(n_categories)
    assert colors.shape == (n_categories, 4)
    assert len(np.unique(colors, axis=0)) == n_categories


@pytest.mark.parametrize("n_clusters", [1, 2, 5, 12])
def test_nodes_lie_in_the_cluster_of_all_their_leaves(n_clusters):
    tree = random_tree(12)
    below = np.eye(tree.n_nodes, dtype=bool)
    for node in range(tree.n_nodes - 1, 0, -1):
        below[tree.parent[node]] |= below[node]
    cut = np.full(tree.n_nodes, -1)
    cut[tree.leaves] = tree.cut(n_clusters)
    for node, cluster in enumerate(node_clusters(tree, n_clusters)):
        found = set(cut[below[node] & (cut >= 0)].tolist())
        assert found == {cluster} if cluster >= 0 else len(found) > 1
