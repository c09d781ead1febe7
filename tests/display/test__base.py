import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError

from sktreevae import TreeVAEClustering
from sktreevae.display import plot_dendrogram, plot_image_tree

FUNCTIONS = pytest.mark.parametrize(
    "plot",
    [plot_dendrogram, lambda tree: plot_image_tree(tree, np.zeros((4, 8, 8)))],
    ids=["dendrogram", "image_tree"],
)


def fit_model(tree):
    """Return an estimator as it is after a fit, without the training."""
    model = TreeVAEClustering(3)
    model.dendrogram_, model.n_clusters_ = tree, tree.n_leaves
    return model


@FUNCTIONS
def test_estimators_are_drawn_as_their_dendrograms(plot, tree):
    expected = [line.get_xydata().tolist() for line in plot(tree).lines]
    for estimator in (fit_model(tree), SimpleNamespace(dendrogram_=tree)):
        ax = plot(estimator)
        lines = [line.get_xydata().tolist() for line in ax.lines]
        assert lines[-len(expected) :] == expected


@FUNCTIONS
def test_estimators_must_be_fitted(plot):
    message = "TreeVAEClustering instance is not fitted yet"
    with pytest.raises(NotFittedError, match=message):
        plot(TreeVAEClustering())


@FUNCTIONS
@pytest.mark.parametrize(
    "tree", [KMeans(1).fit([[0], [1]]), [[0, 1, 1.0, 2]], None, TreeVAEClustering]
)
def test_objects_without_a_dendrogram_are_refused(plot, tree):
    message = "Expected a Dendrogram or a fitted estimator with a dendrogram_ attribute"
    with pytest.raises(TypeError, match=message):
        plot(tree)


@FUNCTIONS
@pytest.mark.usefixtures("no_matplotlib")
def test_missing_matplotlib_is_named(plot, tree):
    with pytest.raises(ImportError, match=r"pip install 'sktreevae\[plot\]'"):
        plot(tree)


def test_matplotlib_is_not_imported_with_the_package():
    code = "import sys, sktreevae.display; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
