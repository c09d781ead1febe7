from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from sktreevae.data import FeatureTable
from sktreevae.graph.micro_clusters import find_separate_groups
from sktreevae.graph.neighbors import nearest_neighbors
from sktreevae.graph.umap import fuzzy_graph

from .cases import micro_clusters, random_weights, sample_graph


def make_graph(n, seed):
    """Return a graph of which half of the edges are missing, and its dense weights."""
    rng = np.random.default_rng(seed)
    weight = np.triu(rng.random((n, n)) * rng.integers(2, size=(n, n)), 1)
    weight = (weight + weight.T).astype(np.float32)
    return sample_graph(sparse.csr_array(weight)), weight


@given(st.integers(2, 30), st.integers(1, 5), st.integers(0, 99))
def test_shares_of_clusters_are_those_of_the_weights_of_edges(n, n_clusters, seed):
    graph, weight = make_graph(n, seed)
    cluster = np.random.default_rng(seed).integers(n_clusters, size=n)
    share = graph.cluster_shares(cluster)
    assert share.shape == (n, cluster.max() + 1)
    for row in range(n):
        # The sample itself is a neighbor, of weight 1, and stands for others.
        edges = weight[row].copy()
        n_others = (cluster == cluster[row]).sum() - 1
        missing = max(0.0, 1.0 - n_others / max((edges > 0).sum(), 1))
        edges[row] = 1.0 + missing * edges.sum()
        expected = [
            edges[cluster == c].sum() / edges.sum() for c in range(len(share[0]))
        ]
        np.testing.assert_allclose(share[row], expected, rtol=1e-5, atol=1e-7)


def separate(X):
    """Return the groups of the graph that a fit builds."""
    x = torch.from_numpy(X).float()
    index, distance = nearest_neighbors(
        FeatureTable.from_tensor(x),
        round(np.log2(len(x))),
        torch.Generator().manual_seed(0),
    )
    return find_separate_groups(index.numpy(), fuzzy_graph(index, distance))


@pytest.mark.parametrize("sizes", [(495, 5), (990, 10), (300, 6, 5), (200, 200)])
@pytest.mark.parametrize("dim", [2, 3, 10])
def test_groups_down_to_five_samples_stand_apart(sizes, dim, rng):
    y = np.repeat(np.arange(len(sizes)), sizes)
    X = rng.standard_normal((len(y), dim))
    X[np.arange(len(y)), y % dim] += 12.0 * (y > 0)
    assert adjusted_rand_score(y, separate(X)) == 1.0


@pytest.mark.parametrize("n_outliers", [0, 1, 2, 3])
def test_outliers_do_not_stand_apart(n_outliers, rng):
    X = rng.standard_normal((300, 3))
    X[:n_outliers] += 12.0
    assert (separate(X) == 0).all()


def test_duplicates_among_other_samples_do_not_stand_apart(rng):
    X = rng.standard_normal((300, 2))
    X[:7] = X[0]
    assert (separate(X) == 0).all()


@given(st.integers(1, 10), st.integers(1, 30), st.integers(0, 99))
def test_merged_components_are_large_enough(n, min_size, seed):
    size = np.random.default_rng(seed).integers(1, 10, n).astype(float)
    groups = micro_clusters(random_weights(n, seed), np.arange(n))
    component = replace(groups, size=size).merge_small_components(min_size)
    merged = np.bincount(component, size)
    assert len(merged) == 1 or merged.min() >= min_size
    if size.min() >= min_size:
        assert (component == np.arange(n)).all()


def test_a_small_component_joins_its_heaviest_neighbor():
    weight = np.array([[5, 1, 2], [1, 5, 3], [2, 3, 1.0]])
    groups = micro_clusters(weight, np.arange(3))
    groups = replace(groups, size=np.array([9.0, 9.0, 2.0]))
    assert groups.merge_small_components(3).tolist() == [0, 1, 1]
