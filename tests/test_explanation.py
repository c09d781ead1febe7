import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from sktreevae import TreeVAEClustering


@pytest.fixture(scope="module")
def iris():
    return TreeVAEClustering(3, random_state=0).fit(load_iris(as_frame=True).data)


def test_node_means_are_those_of_generated_samples(iris):
    # The labels of `sample` follow the routers, so each leaf has its own latents.
    X, labels = iris.sample(20_000)
    leaves = iris.dendrogram_.leaves
    generated = np.array([X[labels == label].mean(0) for label in range(3)])
    np.testing.assert_allclose(iris.node_means()[leaves], generated, atol=0.03)


def test_node_means_are_near_those_of_the_training_samples(iris):
    X = load_iris().data
    true = np.array([X[iris.labels_ == label].mean(0) for label in range(3)])
    means = iris.node_means()[iris.dendrogram_.leaves]
    assert np.abs(means - true).max() < 0.15 * X.std(0).max()


def test_the_mean_of_a_node_is_the_weighted_mean_of_its_children(iris):
    tree, means = iris.dendrogram_, iris.node_means()
    for node in tree.internal_nodes:
        children = [tree.children_left[node], tree.children_right[node]]
        expected = np.average(means[children], axis=0, weights=tree.weight[children])
        np.testing.assert_allclose(means[node], expected)


def test_node_means_of_one_node(iris):
    means = iris.node_means()
    assert means.shape == (5, 4)
    for node in range(5):
        np.testing.assert_allclose(iris.node_means(node), means[node], rtol=1e-12)


@pytest.mark.parametrize("node", [-1, 5, 1.0, True, "0"])
def test_node_means_of_an_unknown_node(iris, node):
    with pytest.raises(ValueError, match=r"one of the nodes \[0, 1, 2, 3, 4\].*got"):
        iris.node_means(node)


def test_node_means_need_a_fit():
    with pytest.raises(NotFittedError):
        TreeVAEClustering().node_means()
