"""From a fitted model to its dendrogram: contraction, and heights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from .dendrogram import Dendrogram
from .model import Topology

__all__ = ["build_dendrogram", "update_dendrogram"]


def build_dendrogram(
    topology: Topology,
    leaf_mass: NDArray[np.float64],
    labels: NDArray[np.int64],
    leaf_elbo: NDArray[np.float64],
    elbo_labels: NDArray[np.int64],
) -> tuple[Dendrogram, NDArray[np.int64]]:
    """Contract a tree to its leaves and decisions, and give the decisions a height.

    The height of a node is the Jeffreys divergence between its branches A and B,

        E_{x in A}[log p_A(x) - log p_B(x)] + E_{x in B}[log p_B(x) - log p_A(x)],

    where p_A is the mixture of the leaves below A, in proportion to their samples.

    Parameters
    ----------
    topology : Topology
        The tree; nodes with one child are contracted away.
    leaf_mass : ndarray of shape (n_leaves,)
        Share of the probability mass at each leaf, in the order of the topology.
    labels : ndarray of int of shape (n_samples,)
        Position of each sample's leaf in the order of the topology.
    leaf_elbo : ndarray of shape (n_subsample, n_leaves)
        Bounds of log p(x | leaf) in nats, for some samples.
    elbo_labels : ndarray of int of shape (n_subsample,)
        Positions of these samples' leaves.

    Returns
    -------
    dendrogram : Dendrogram
        Its leaves are labelled from left to right.
    leaf_order : ndarray of int of shape (n_leaves,)
        Position, in the order of the topology, of the leaf with each label.
    """
    parent, nodes = _contract(topology)
    position = {leaf: i for i, leaf in enumerate(topology.leaves)}
    # Leaves below each node, as positions in the order of the topology.
    below: list[list[int]] = [[position[n]] if n in position else [] for n in nodes]
    for node in range(len(parent) - 1, 0, -1):
        below[parent[node]] += below[node]
    weight = np.array([leaf_mass[leaves].sum() for leaves in below])
    counts = np.bincount(labels, minlength=len(position))
    height = np.zeros(len(parent))
    for node in range(len(parent)):
        children = [i for i in range(1, len(parent)) if parent[i] == node]
        if children:
            left, right = (below[child] for child in children)
            height[node] = _jeffreys(left, right, counts, leaf_elbo, elbo_labels)
    # Labels are needed to make the dendrogram, which is what numbers them.
    shape = Dendrogram(parent, height, labels=[])
    leaf_order = np.array([below[node][0] for node in shape.leaves])
    leaf_label = np.argsort(leaf_order)
    return Dendrogram(parent, height, leaf_label[labels], weight), leaf_order


def update_dendrogram(old: Dendrogram, n_old: int, new: Dendrogram) -> Dendrogram:
    """Let the dendrogram of new samples remember earlier ones.

    Weights, and the heights of the decisions that new samples take both ways, become
    means over all samples below a node; other heights stay. A leaf that no new sample
    is in so keeps its place and its size.

    Parameters
    ----------
    old : Dendrogram
        The tree before.
    n_old : int
        Samples that its weights and heights are means of.
    new : Dendrogram
        The same tree, as the new samples alone show it.

    Returns
    -------
    dendrogram : Dendrogram
        With the labels of the new samples.
    """
    n_new = len(new.labels)
    before, now = n_old * old.weight, n_new * new.weight
    height = old.height.copy()
    for node in new.internal_nodes:
        children = [new.children_left[node], new.children_right[node]]
        if new.n_node_samples[children].all():
            height[node] = np.average(
                [old.height[node], new.height[node]], weights=[before[node], now[node]]
            )
    weight = (before + now) / (n_old + n_new)
    return Dendrogram(new.parent, height, new.labels, weight)


def _contract(topology: Topology) -> tuple[list[int], list[int]]:
    """Drop nodes with one child; return parents, and the nodes that are kept."""
    nodes = [i for i, c in enumerate(topology.children) if len(c) != 1]
    kept = set(nodes)
    ancestor = {}
    for node in nodes:
        parent = topology.parent[node]
        while parent != -1 and parent not in kept:
            parent = topology.parent[parent]
        ancestor[node] = parent
    # Contraction changes depths: number the kept nodes breadth first again.
    order = [node for node in nodes if ancestor[node] == -1]
    for node in order:
        order.extend(child for child in nodes if ancestor[child] == node)
    number = {node: i for i, node in enumerate(order)} | {-1: -1}
    return [number[ancestor[node]] for node in order], order


def _jeffreys(
    left: list[int],
    right: list[int],
    counts: NDArray[np.int64],
    leaf_elbo: NDArray[np.float64],
    elbo_labels: NDArray[np.int64],
) -> float:
    """Jeffreys divergence in nats between two sets of leaves."""

    def log_density(leaves: list[int], x: NDArray[np.bool_]) -> NDArray[np.float64]:
        # One is added so that a leaf without samples keeps a density.
        share = (counts[leaves] + 1.0) / (counts[leaves] + 1.0).sum()
        return logsumexp(leaf_elbo[x][:, leaves], axis=1, b=share)

    divergence = 0.0
    for own, other in ((left, right), (right, left)):
        x = np.isin(elbo_labels, own)
        if x.any():
            divergence += np.mean(log_density(own, x) - log_density(other, x))
    return float(divergence)
