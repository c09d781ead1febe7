"""From a trained model and data to a dendrogram: contraction and heights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from .data import TrainingData
from .dendrogram import Dendrogram
from .model import Topology, TreeVAE

__all__ = [
    "LeafStatistics",
    "build_dendrogram",
    "cut_proba",
    "make_dendrogram",
    "update_dendrogram",
]

MAX_HEIGHT_SAMPLES = 200
"""Maximum number of samples of each leaf that heights are estimated from."""


@dataclass(frozen=True)
class LeafStatistics:
    """Statistics of samples at the leaves of a tree.

    Parameters
    ----------
    weight : ndarray of shape (n_leaves,)
        Share of the probability mass at each leaf.
    labels : ndarray of int of shape (n_samples,)
        Leaf of each sample.
    subset : ndarray of int of shape (n_subset,)
        Samples that `leaf_elbo` is computed for.
    leaf_elbo : ndarray of shape (n_subset, n_leaves)
        Lower bounds of log p(x | leaf), in nats.
    """

    weight: NDArray[np.float64]
    labels: NDArray[np.int64]
    subset: NDArray[np.int64]
    leaf_elbo: NDArray[np.float64]

    @classmethod
    def from_model(
        cls, model: TreeVAE, data: TrainingData, max_samples: int = MAX_HEIGHT_SAMPLES
    ) -> LeafStatistics:
        """Compute the statistics in one pass over the features.

        Parameters
        ----------
        model : TreeVAE
            The model.
        data : TrainingData
            Samples and features.
        max_samples : int, default=200
            Maximum number of samples of each leaf in `subset`.
        """
        labels = np.empty(len(data.samples), dtype=np.int64)
        weight = np.zeros(len(model.topology.leaves))
        for rows in data.features.chunks():
            log_proba = data.features.map(model.leaf_log_proba, rows)
            labels[rows] = log_proba.argmax(1).numpy(force=True)
            proba = log_proba.exp().numpy(force=True).astype(np.float64)
            weight += proba.sum(axis=0)
        subset = _sample_each(labels, max_samples)
        index = torch.from_numpy(subset).to(data.samples.device)
        leaf_elbo = data.samples.map(model.leaf_elbo, index).numpy(force=True)
        return cls(weight / len(labels), labels, subset, leaf_elbo.astype(np.float64))

    def jeffreys_divergence(self, left: list[int], right: list[int]) -> float:
        """Return the Jeffreys divergence between two sets of leaves, in nats."""
        counts = np.bincount(self.labels, minlength=len(self.weight))

        def log_density(leaves: list[int], x: NDArray[np.bool_]) -> NDArray[np.float64]:
            # One is added so that a leaf without samples keeps a density.
            share = (counts[leaves] + 1.0) / (counts[leaves] + 1.0).sum()
            return logsumexp(self.leaf_elbo[x][:, leaves], axis=1, b=share)

        divergence = 0.0
        for branch, other in ((left, right), (right, left)):
            x = np.isin(self.labels[self.subset], branch)
            if x.any():
                divergence += np.mean(log_density(branch, x) - log_density(other, x))
        return float(divergence)


def _sample_each(labels: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return the indices of up to n evenly spaced samples of each leaf."""
    chosen = []
    for leaf in np.unique(labels):
        members = np.flatnonzero(labels == leaf)
        spaced = np.linspace(0, len(members) - 1, min(n, len(members)))
        chosen.append(members[spaced.astype(np.int64)])
    return np.concatenate(chosen)


def make_dendrogram(model: TreeVAE, data: TrainingData) -> Dendrogram:
    """Return the dendrogram of a model, with the labels of some samples."""
    return build_dendrogram(model.topology, LeafStatistics.from_model(model, data))


def build_dendrogram(topology: Topology, statistics: LeafStatistics) -> Dendrogram:
    """Contract a tree to its leaves and splits, and compute the heights of the splits.

    The height of a node is the Jeffreys divergence between its branches A and B,

        E_{x in A}[log p_A(x) - log p_B(x)] + E_{x in B}[log p_B(x) - log p_A(x)],

    where p_A is the mixture of the leaves below A, in proportion to their samples.

    Parameters
    ----------
    topology : Topology
        The tree; nodes with one child are contracted away.
    statistics : LeafStatistics
        Samples at the leaves.
    """
    parent, nodes = _contract(topology)
    leaf_of_node = {node: leaf for leaf, node in enumerate(topology.leaves)}
    below: list[list[int]] = [
        [leaf_of_node[node]] if node in leaf_of_node else [] for node in nodes
    ]
    for node in range(len(parent) - 1, 0, -1):
        below[parent[node]] += below[node]
    weight = np.array([statistics.weight[leaves].sum() for leaves in below])
    height = np.zeros(len(parent))
    for node in range(len(parent)):
        children = [i for i in range(1, len(parent)) if parent[i] == node]
        if children:
            left, right = (below[child] for child in children)
            height[node] = statistics.jeffreys_divergence(left, right)
    return Dendrogram(parent, height, statistics.labels, weight)


def update_dendrogram(old: Dendrogram, n_old: int, new: Dendrogram) -> Dendrogram:
    """Combine the dendrogram of new samples with that of earlier samples.

    Weights become means over all samples below a node. So do the heights of nodes with
    new samples in both branches; other heights stay. A leaf without new samples keeps
    its weight.

    Parameters
    ----------
    old : Dendrogram
        The tree before.
    n_old : int
        Number of samples that its weights and heights are means of.
    new : Dendrogram
        The same tree with statistics of the new samples.

    Returns
    -------
    dendrogram : Dendrogram
        With the labels of the new samples.
    """
    n_new = len(new.labels)
    old_mass, new_mass = n_old * old.weight, n_new * new.weight
    height = old.height.copy()
    for node in new.internal_nodes:
        children = [new.children_left[node], new.children_right[node]]
        if new.n_node_samples[children].all():
            height[node] = np.average(
                [old.height[node], new.height[node]],
                weights=[old_mass[node], new_mass[node]],
            )
    weight = (old_mass + new_mass) / (n_old + n_new)
    return Dendrogram(new.parent, height, new.labels, weight)


def cut_proba(
    dendrogram: Dendrogram,
    leaf_log_proba: NDArray[np.floating],
    n_clusters: int | None,
) -> NDArray[np.float64]:
    """Return the probabilities of the clusters of a cut.

    The probability of a cluster is proportional to that of its most probable leaf, so
    that cuts nest.

    Parameters
    ----------
    dendrogram : Dendrogram
        The tree.
    leaf_log_proba : ndarray of shape (n_samples, n_leaves)
        log P(l | x).
    n_clusters : int or None
        Number of clusters of the cut; all leaves if None.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_clusters)
        Rows sum to 1.
    """
    starts = np.arange(dendrogram.n_leaves)
    if n_clusters is not None:
        # The leaves of a cluster have consecutive numbers.
        starts = np.searchsorted(dendrogram.cut(n_clusters), np.arange(n_clusters))
    # In float64, different log-probabilities keep their order.
    proba = np.exp(leaf_log_proba.astype(np.float64))
    proba = np.maximum.reduceat(proba, starts, axis=1)
    return proba / proba.sum(axis=1, keepdims=True)


def _contract(topology: Topology) -> tuple[list[int], list[int]]:
    """Drop nodes with one child.

    Returns
    -------
    parent : list of int
        Parent of each kept node, in breadth-first numbers of the kept nodes.
    nodes : list of int
        Number of each kept node in the topology.
    """

    def skip(node: int) -> int:
        while len(topology.children[node]) == 1:
            (node,) = topology.children[node]
        return node

    parent, nodes = [-1], [skip(0)]
    for position, node in enumerate(nodes):  # grows: a queue
        for child in topology.children[node]:
            parent.append(position)
            nodes.append(skip(child))
    return parent, nodes
