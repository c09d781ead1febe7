import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.neighbors import KNeighborsClassifier

from sktreevae.data import FeatureTable
from sktreevae.graph import nearest_neighbors, umap
from sktreevae.graph.umap import embed_graph, fuzzy_graph


def graph_of(X, k=10):
    features = FeatureTable.from_tensor(torch.tensor(X, dtype=torch.float32))
    generator = torch.Generator().manual_seed(0)
    return fuzzy_graph(*nearest_neighbors(features, k, generator))


def test_graph_is_symmetric_with_weights_up_to_one(rng):
    graph = graph_of(rng.standard_normal((100, 3))).toarray()
    np.testing.assert_allclose(graph, graph.T)
    assert graph.min() >= 0
    assert graph.max() <= 1 + 1e-12
    assert not graph.diagonal().any()


def test_directed_weights_sum_to_the_logarithm_of_their_number():
    # One row whose neighbors don't have it as theirs: its weights are kept.
    distance = torch.tensor([[1.0, 1.5, 2.0, 4.0]])
    index = torch.tensor([[1, 2, 3, 4]])
    n = 5
    far = torch.full((n - 1, 4), 1.0)
    others = torch.tensor(
        [[j for j in range(1, n) if j != i] + [i] for i in range(1, n)]
    )
    weights = fuzzy_graph(torch.cat([index, others]), torch.cat([distance, far]))
    assert weights.toarray()[0].sum() == pytest.approx(2.0, rel=1e-4)


@pytest.mark.parametrize(("n_dimensions", "max_dense_samples"), [(5, 10), (2, 1000)])
def test_groups_are_apart_in_the_embedding(n_dimensions, max_dense_samples):
    X, y = make_blobs(300, 10, centers=3, random_state=0)
    embedding = embed_graph(
        graph_of(X),
        torch.Generator().manual_seed(0),
        n_dimensions=n_dimensions,
        max_dense_samples=max_dense_samples,
    )
    assert embedding.shape == (300, n_dimensions)
    knn = KNeighborsClassifier(2).fit(embedding, y)  # itself and one other
    assert knn.score(embedding, y) == 1.0


@pytest.mark.parametrize("max_dense_samples", [10, 1000])
def test_the_embedding_starts_from_the_leading_eigenvectors(max_dense_samples, rng):
    graph = graph_of(rng.standard_normal((60, 2)))
    actual = umap._eigenvectors(graph, 4, max_dense_samples)
    degree = graph.toarray().sum(axis=1)
    normalized = graph.toarray() / np.sqrt(np.outer(degree, degree))
    expected = np.linalg.eigh(normalized)[1][:, -5:-1]
    # Their signs are arbitrary.
    overlap = np.abs((actual * expected).sum(axis=0))
    np.testing.assert_allclose(overlap, 1, atol=0.01)


def test_all_others_repel_a_sample():
    y = torch.tensor([[0.0, 1.0, 5.0], [0.0, 0.0, 2.0]])
    others = torch.tensor([[1, 2, 0], [2, 0, 1]])
    expected = torch.zeros_like(y)
    for first_or_second in others:
        for i, j in enumerate(first_or_second):
            difference = y[:, i] - y[:, j]
            square = difference.square().sum()
            force = 2 * difference / ((0.001 + square) * (1 + square))
            expected[:, i] += force.clamp(-4, 4)
    torch.testing.assert_close(umap._repulsion(y, others.flatten()), expected)
