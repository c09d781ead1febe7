import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from .cases import sample_graph


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


def test_samples_without_edges_belong_to_their_cluster():
    graph = sample_graph(sparse.csr_array((3, 3)))
    share = graph.cluster_shares(np.array([1, 0, 1]))
    np.testing.assert_array_equal(share, [[0, 1], [1, 0], [0, 1]])
