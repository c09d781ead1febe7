"""Data that several modules are tested on."""

import numpy as np
import torch
from scipy import sparse
from torch.utils.data import TensorDataset

from sktreevae.data import FeatureTable, Samples, Standardizer, as_matrix
from sktreevae.graph.density import Moments
from sktreevae.graph.linkage import square_distances
from sktreevae.graph.micro_clusters import MicroClusters, SampleGraph
from sktreevae.model import FeatureMap


def random_weights(n, seed):
    weight = np.random.default_rng(seed).random((n, n)) ** 4
    weight = weight + weight.T
    return weight / weight.sum()


def nested_gaussians(n=480, seed=0):
    """Eight Gaussians in pairs of pairs."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 8
    bits = np.stack([y & 4, 3 * (y & 2), 20 * (y & 1)], axis=1).astype(float)
    return bits * [3.0, 3.0, 3.0] + rng.standard_normal((n, 3)), y


def lazy_table(X):
    """Return features that are computed by batch."""
    n_features = X.shape[1]
    standardizer = Standardizer(np.zeros(n_features), np.ones(n_features))
    return FeatureTable(
        Samples(as_matrix(TensorDataset(torch.tensor(X))), standardizer),
        FeatureMap(n_features),
    )


def sample_graph(edges, place=None, component=None):
    """Return the graph of samples at some positions, all at one by default."""
    n = edges.shape[0]
    place = np.zeros((n, 1)) if place is None else place
    return SampleGraph(
        edges,
        edges,
        sparse.csr_array((n, n)),
        (place,),
        np.zeros(n, dtype=np.int64) if component is None else component,
        np.empty((n, 0)),
        0,
        np.arange(n),
    )


def micro_clusters(edge_weight, component=None, place=None):
    """Return micro-clusters of one sample each, at random positions by default."""
    n = len(edge_weight)
    if place is None:
        place = np.random.default_rng(0).standard_normal((n, 2))
    half = np.arange(n) % 2
    centroid = place if place.size else np.zeros((n, 1))
    return MicroClusters(
        edge_weight,
        20.0 * n,
        edge_weight,
        20.0 * n * edge_weight,
        np.ones(n),
        (centroid,),
        np.zeros(n, dtype=np.int64) if component is None else component,
        np.sqrt(square_distances(centroid)),
        Moments.of_groups(place, half, np.arange(n), n),
        place.shape[1],
    )
