"""Heights of the splits of a tree that was grown from the top down."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from ..data import TrainingData
from ..model import Topology, TreeVAE
from .initialization import ROWS_PER_LEAF


def divergence_heights(
    model: TreeVAE, data: TrainingData, generator: torch.Generator
) -> NDArray[np.float64]:
    """Return the height of each node in nats, (n_nodes,); 0 for leaves.

    The height of a split is its Jeffreys divergence plus the height of its higher
    branch: the largest sum of divergences on a path down from it. So heights never fall
    toward the root. The Jeffreys divergence between branches A and B is

        E_{x in A}[log p_A(x) - log p_B(x)] + E_{x in B}[log p_B(x) - log p_A(x)],

    where p_A is the mixture of the leaves below A, in proportion to their samples.

    Parameters
    ----------
    model : TreeVAE
        The model.
    data : TrainingData
        Samples and features. At most 500 samples of each leaf are used.
    generator : torch.Generator
        Draws these samples.
    """
    n_leaves = len(model.topology.leaves)
    leaf = data.assign(model)
    members = [torch.nonzero(leaf == i)[:, 0] for i in range(n_leaves)]
    index = torch.cat(
        [data.draw(max(ROWS_PER_LEAF), rows, generator) for rows in members]
    )
    leaf_elbo = data.samples.map(model.leaf_elbo, index).numpy(force=True)
    return sum_divergences(
        model.topology,
        leaf_elbo.astype(np.float64),
        leaf[index].numpy(force=True),
        data.count(leaf, n_leaves).numpy(force=True),
    )


def sum_divergences(
    topology: Topology,
    leaf_elbo: NDArray[np.float64],
    labels: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the heights of a tree from log-densities of samples.

    Parameters
    ----------
    topology : Topology
        The tree.
    leaf_elbo : ndarray of shape (n_samples, n_leaves)
        Lower bounds of log p(x | leaf), in nats.
    labels : ndarray of int of shape (n_samples,)
        Leaf of each sample.
    counts : ndarray of int of shape (n_leaves,)
        Number of samples of each leaf; `leaf_elbo` may have fewer.
    """
    below = [
        [i for i, leaf in enumerate(topology.leaves) if node in topology.path(leaf)]
        for node in range(topology.n_nodes)
    ]

    def log_density(leaves: list[int]) -> NDArray[np.float64]:
        # One is added so that a leaf without samples keeps a density.
        share = (counts[leaves] + 1.0) / (counts[leaves] + 1.0).sum()
        return logsumexp(leaf_elbo[:, leaves], axis=1, b=share)

    height = np.zeros(topology.n_nodes)
    for node in range(topology.n_nodes - 1, -1, -1):
        children = topology.children[node]
        height[node] = max((height[child] for child in children), default=0.0)
        if len(children) == 2:
            left, right = (below[child] for child in children)
            ratio = log_density(left) - log_density(right)
            is_left, is_right = np.isin(labels, left), np.isin(labels, right)
            divergence = sum(
                sign * ratio[rows].mean()
                for rows, sign in ((is_left, 1.0), (is_right, -1.0))
                if rows.any()
            )
            # An estimate of few samples may be negative.
            height[node] += max(float(divergence), 0.0)
    return height
