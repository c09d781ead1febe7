import numpy as np
import pytest
import torch

from sktreevae import Dendrogram, TreeVAEClustering
from sktreevae.data import FeatureTable
from sktreevae.diagnostics import add_support
from sktreevae.graph import split_support


class Data:
    """Training data that has nothing but features."""

    def __init__(self, X):
        self.features = FeatureTable.from_tensor(torch.from_numpy(X))


def test_support_is_that_of_the_node(rng):
    # Leaf 0 is far from leaves 1 and 2, which are halves of one Gaussian.
    X = rng.standard_normal((900, 3))
    X[:300, 0] += 30.0
    labels = np.repeat([0, 1, 2], 300)
    tree = Dendrogram([-1, 0, 0, 2, 2], [9, 0, 4, 0, 0], labels)
    assert np.isnan(tree.support).all()
    add_support(tree, Data(X), np.random.default_rng(0))
    merges = np.array([[1, 2], [0, 3]])
    expected, error = split_support(
        Data(X).features, labels, merges, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(tree.support[[2, 0]], expected)
    np.testing.assert_array_equal(tree.support_error[[2, 0]], error)
    assert tree.support[0] > 1.0 > abs(tree.support[2])
    assert np.isnan(tree.support[tree.leaves]).all()
    assert tree.to_pandas()["support"].notna().sum() == 2


def test_a_fit_finds_the_support_of_its_splits(rng):
    X = rng.standard_normal((300, 3))
    X[:100, 0] += 20.0
    X[100:200, 1] += 20.0
    model = TreeVAEClustering(3, random_state=0).fit(X)
    tree = model.dendrogram_
    supported = tree.support > 2 * tree.support_error
    assert (supported == (tree.leaf_label < 0)).all()
    model.partial_fit(X[:50])
    np.testing.assert_array_equal(model.dendrogram_.support, tree.support)


def test_a_warning_counts_the_supported_clusters(rng):
    X = rng.standard_normal((400, 3))
    X[:200, 0] += 20.0
    model = TreeVAEClustering(4, random_state=0)
    with pytest.warns(UserWarning, match="support 2 of the 4 clusters"):
        model.fit(X)
    tree = model.dendrogram_
    assert (tree.support > 2 * tree.support_error).sum() == 1
