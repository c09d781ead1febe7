import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

from sktreevae.data import FeatureTable
from sktreevae.graph.proposal import Proposal
from sktreevae.graph.selection import best_proposal, held_out_accuracy

X, Y = make_blobs(120, 4, centers=3, cluster_std=0.5, random_state=0)


def proposal(cluster):
    """Return a proposal of which only the clusters are known."""
    return Proposal(torch.from_numpy(cluster), None, None, None, None, {})


def choose(*clusters):
    features = FeatureTable.from_tensor(torch.from_numpy(X))
    proposals = list(map(proposal, clusters))
    return best_proposal(proposals, features, 2, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("position", [0, 1])
def test_clusters_that_features_tell_are_better_than_others(position):
    clusters = [np.random.default_rng(0).permutation(Y)] * 2
    clusters[position] = Y
    assert choose(*clusters) == position


def test_the_first_of_equal_proposals_is_chosen():
    assert choose(Y, Y) == 0


@pytest.mark.parametrize("n_clusters", [1, 2, 3])
def test_accuracy_does_not_depend_on_the_numbers_of_clusters(n_clusters):
    cluster = Y % n_clusters
    order = np.random.default_rng(1).permutation(n_clusters)
    expected = held_out_accuracy(X, cluster, 0)
    assert held_out_accuracy(X, order[cluster], 0) == pytest.approx(expected)


def test_clusters_of_noise_are_predicted_by_chance():
    x = np.random.default_rng(0).normal(size=(2000, 3))
    cluster = np.random.default_rng(1).integers(4, size=2000)
    assert held_out_accuracy(x, cluster, 0) == pytest.approx(0.25, abs=0.05)
