"""What the nodes of a fitted tree are like, and which features tell branches apart."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ._effects import GroupMoments, mix_moments
from ._parameters import Number
from .data import Standardizer
from .dendrogram import Dendrogram
from .model import TreeVAE, leaf_moments

__all__ = ["ExplanationMixin"]


class ExplanationMixin:
    """Methods that describe the nodes of the tree in the user's units."""

    dendrogram_: Dendrogram
    module_: TreeVAE
    n_features_in_: int
    _standardizer: Standardizer
    _threads: Callable[[int], AbstractContextManager[None]]

    def node_means(self, node: int | None = None) -> NDArray[np.float64]:
        """Return the mean of what the model generates at a node, E[x | node].

        The mean of a leaf is the mean of the decoded latent variables, drawn from the
        prior with a fixed seed. The mean of another node is that of its leaves,
        weighted by ``dendrogram_.weight``.

        Parameters
        ----------
        node : int, default=None
            Node of ``dendrogram_``. All nodes by default.

        Returns
        -------
        mean : ndarray of shape (n_features,) or (n_nodes, n_features)
            In the units of X: probabilities with a Bernoulli likelihood, rates with one
            of counts.

        Raises
        ------
        ValueError
            If there is no such node.

        Examples
        --------
        >>> from sklearn.datasets import make_blobs
        >>> from sktreevae import TreeVAEClustering
        >>> X, y = make_blobs([40, 40, 40], cluster_std=0.5, random_state=0)
        >>> model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X)
        >>> model.node_means().shape
        (5, 2)
        >>> model.node_means(0).shape
        (2,)
        """
        check_is_fitted(self)
        share = _leaf_shares(self.dendrogram_)
        if node is not None:
            share = share[[_check_node(node, range(len(share)))]]
        mean = mix_moments(self._leaf_moments(), share).mean
        return mean if node is None else mean[0]

    def _leaf_moments(self) -> GroupMoments:
        """Return the moments of what the model generates at each leaf."""
        with self._threads(self.dendrogram_.n_leaves * self.n_features_in_):
            moments = leaf_moments(self.module_)
        maps = self._standardizer
        return GroupMoments(
            maps.inverse_transform(moments.mean.numpy()),
            moments.variance.numpy() * np.square(maps.scale),
        )


def _check_node(node: object, allowed: range | NDArray[np.int64]) -> int:
    """Return the number of a node.

    Raises
    ------
    ValueError
        If it isn't among those that are allowed.
    """
    if not Number(Integral, 0).accepts(node) or node not in allowed:
        raise ValueError(
            f"node must be one of the nodes {list(map(int, allowed))} of dendrogram_, "
            f"got {node!r}."
        )
    return int(node)


def _leaf_shares(tree: Dendrogram) -> NDArray[np.float64]:
    """Return the share of each leaf in each node, (n_nodes, n_leaves).

    The leaves of a node without weight have equal shares.
    """
    share = np.zeros((tree.n_nodes, tree.n_leaves))
    share[tree.leaves, np.arange(tree.n_leaves)] = 1.0
    for node in range(tree.n_nodes - 1, 0, -1):
        share[tree.parent[node]] += share[node]
    weighted = share * tree.weight[tree.leaves]
    has_weight = weighted.sum(axis=1) > 0
    share[has_weight] = weighted[has_weight]
    return share / share.sum(axis=1, keepdims=True)
