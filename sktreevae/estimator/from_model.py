"""From a trained model and data to a dendrogram."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..data import TrainingData
from ..model import Topology, TreeVAE
from ..tree import Dendrogram
from ..tree.arrays import sum_below


def leaf_statistics(
    model: TreeVAE, data: TrainingData
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return statistics of samples at the leaves, in one pass over the features.

    Parameters
    ----------
    model : TreeVAE
        The model.
    data : TrainingData
        Samples and features.

    Returns
    -------
    weight : ndarray of shape (n_leaves,)
        Share of the probability mass at each leaf.
    labels : ndarray of int of shape (n_samples,)
        Leaf of each sample.
    """
    labels = np.empty(len(data.samples), dtype=np.int64)

    def weights(rows: Tensor) -> tuple[Tensor]:
        log_proba = data.features.map(model.leaf_log_proba, rows)
        labels[rows.numpy(force=True)] = log_proba.argmax(1).numpy(force=True)
        return (log_proba.exp().double().sum(0),)

    (weight,) = data.sum(weights, data.all_rows)
    return weight.numpy(force=True) / len(labels), labels


def build_dendrogram(
    topology: Topology,
    height: NDArray[np.float64],
    leaf_weight: NDArray[np.float64],
    labels: NDArray[np.int64],
) -> Dendrogram:
    """Contract a tree to its leaves and splits.

    Parameters
    ----------
    topology : Topology
        The tree; nodes with one child are contracted away.
    height : ndarray of shape (n_nodes,)
        Height of each node of the tree.
    leaf_weight : ndarray of shape (n_leaves,)
        Share of the probability mass at each leaf.
    labels : ndarray of int of shape (n_samples,)
        Leaf of each sample.
    """
    change = topology.contract()
    parent, leaves = np.array(change.topology.parent), list(change.topology.leaves)
    weight = sum_below(parent, leaves, leaf_weight)
    return Dendrogram(parent, height[list(change.source)], labels, weight)


def update_dendrogram(
    old: Dendrogram,
    n_old: int,
    leaf_weight: NDArray[np.float64],
    labels: NDArray[np.int64],
) -> Dendrogram:
    """Return a dendrogram with the labels of new samples.

    Weights become means over all samples. Heights and p-values stay.

    Parameters
    ----------
    old : Dendrogram
        The tree before.
    n_old : int
        Number of samples that its weights are means of.
    leaf_weight : ndarray of shape (n_leaves,)
        Share of the probability mass of the new samples at each leaf.
    labels : ndarray of int of shape (n_samples,)
        Leaf of each new sample.
    """
    n_new = len(labels)
    mass = n_old * old.weight[old.leaves] + n_new * leaf_weight
    weight = sum_below(old.parent, old.leaves, mass / (n_old + n_new))
    dendrogram = Dendrogram(old.parent, old.height, labels, weight)
    dendrogram.p_values = old.p_values
    return dendrogram


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
    starts = np.arange(dendrogram.n_clusters)
    if n_clusters is not None:
        # The leaves of a cluster have consecutive numbers.
        starts = np.searchsorted(dendrogram.cut(n_clusters), np.arange(n_clusters))
    # In float64, different log-probabilities keep their order.
    proba = np.exp(leaf_log_proba.astype(np.float64))
    proba = np.maximum.reduceat(proba, starts, axis=1)
    return proba / proba.sum(axis=1, keepdims=True)
