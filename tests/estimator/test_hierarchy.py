import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from sktreevae import TreeVAEClustering
from sktreevae.tree import Dendrogram

ATTRIBUTES = (
    "children_",
    "distances_",
    "n_leaves_",
    "cluster_layers_",
    "cluster_tree_",
)


class Clusterer(TreeVAEClustering):
    def fit(self, tree):
        self.dendrogram_, self.n_clusters_ = tree, tree.n_leaves
        return self


@pytest.fixture
def fitted():
    parent = [-1, 0, 0, 1, 1, 2, 2]
    return Clusterer().fit(
        Dendrogram(parent, [9, 1, 1, 0, 0, 0, 0], labels=[0, 3, 1, 2, 0])
    )


def test_layers_are_the_labels_and_the_coarser_levels(fitted):
    fine, coarse = fitted.cluster_layers_
    assert fine.tolist() == [0, 3, 1, 2, 0]
    assert coarse.tolist() == [0, 1, 0, 1, 0]


def test_the_tree_of_layers_goes_from_the_root_to_the_labels(fitted):
    assert fitted.cluster_tree_ == {
        (1, 0): [(0, 0), (0, 1)],
        (1, 1): [(0, 2), (0, 3)],
        (2, 0): [(1, 0), (1, 1)],
    }


def test_one_cluster_is_one_layer():
    fitted = Clusterer().fit(Dendrogram([-1], [0], labels=[0, 0]))
    (layer,) = fitted.cluster_layers_
    assert layer.tolist() == [0, 0]
    assert fitted.cluster_tree_ == {(1, 0): [(0, 0)]}


def test_the_finest_layer_stays_if_it_has_no_support(fitted):
    tree = fitted.dendrogram_
    tree.support[:3], tree.support_error[:3] = 0.0, 1.0
    (layer,) = fitted.cluster_layers_
    np.testing.assert_array_equal(layer, tree.labels)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_need_a_fit(name):
    with pytest.raises(NotFittedError):
        getattr(TreeVAEClustering(), name)
