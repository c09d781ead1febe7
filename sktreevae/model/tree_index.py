"""Index tensors that relate the nodes of a tree to those of the next level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..tree.arrays import leaves_below
from .precision import no_autocast
from .topology import Topology


class TreeIndex(nn.Module):
    """Index tensors for computations on all nodes of a level at once.

    Values of the nodes of a level are stacked on the first dimension, in the order of
    `Topology.levels`. The tensors follow from the topology, so they are buffers that
    are not part of the state dict.

    Parameters
    ----------
    topology : Topology
        The tree.

    Attributes
    ----------
    level_sizes, split_sizes : list of int
        Number of nodes and number of splits of each level.
    parent : Tensor of int of shape (n_nodes,)
        Parent of each node; 0 for the root.
    leaves : Tensor of int of shape (n_leaves,)
        Node of each leaf.
    ancestry : Tensor of shape (n_nodes, n_leaves)
        1 where a node lies on the path to a leaf, 0 elsewhere.
    decisions : Tensor of shape (n_nodes, 2 * n_splits)
        1 where the path to a node goes left (first half) or right at a split.

    Examples
    --------
    >>> index = TreeIndex(Topology.stump())
    >>> index
    TreeIndex(n_nodes=3, n_leaves=2, depth=1)
    >>> index.child_log_probs(torch.zeros(1, 1), depth=0).exp()
    tensor([[0.5000],
            [0.5000]])
    """

    def __init__(self, topology: Topology) -> None:
        super().__init__()
        levels, is_split = topology.levels, [len(c) == 2 for c in topology.children]
        self.level_sizes = [len(level) for level in levels]
        self.split_sizes = [sum(is_split[i] for i in level) for level in levels]
        # Positions of the nodes in their levels, which are consecutive nodes.
        position = [i - level[0] for level in levels for i in level]
        parent = [0, *topology.parent[1:]]
        pairs = [topology.children[i] for i in topology.splits]
        self._register_index("leaves", topology.leaves)
        self._register_index("parent", parent)
        self._register_index("_parents", [position[i] for i in parent])
        self._register_index("_splits", [position[i] for i in topology.splits])
        self._register_index("_child_rows", _child_rows(topology, self.split_sizes))
        nodes = list(range(topology.n_nodes))
        # Which nodes, with itself, are below each node.
        is_below = torch.from_numpy(leaves_below(topology.parent, nodes))
        children = [pair[side] for side in (0, 1) for pair in pairs]
        ancestry, decisions = is_below[:, self.leaves], is_below[children].T
        for name, matrix in (("ancestry", ancestry), ("decisions", decisions)):
            self.register_buffer(name, matrix.to(torch.float32), persistent=False)

    def _register_index(self, name: str, values: Sequence[int]) -> None:
        tensor = torch.tensor(values, dtype=torch.long)
        self.register_buffer(name, tensor, persistent=False)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(n_nodes={len(self.parent)}, "
            f"n_leaves={len(self.leaves)}, depth={len(self.level_sizes) - 1})"
        )

    def parents(self, depth: int) -> Tensor:
        """Return the position of each node's parent in the level above."""
        start = sum(self.level_sizes[:depth])
        return self._parents[start : start + self.level_sizes[depth]]

    def splits(self, depth: int) -> Tensor:
        """Return the positions of the splits among the nodes of their level."""
        start = sum(self.split_sizes[:depth])
        return self._splits[start : start + self.split_sizes[depth]]

    def pass_down(self, values: Tensor, depth: int) -> Tensor:
        """Give each node at `depth` the value of its parent."""
        return values.index_select(0, self.parents(depth))

    def child_log_probs(self, logit: Tensor, depth: int) -> Tensor:
        """Return log-probabilities of the nodes below a level, given their parents.

        Parameters
        ----------
        logit : Tensor of shape (n_splits, batch)
            Logits of "left" at the splits of the level.
        depth : int
            Depth of the level.

        Returns
        -------
        log_prob : Tensor of shape (n_nodes, batch)
            One row for each node at ``depth + 1``; 0 for an only child.
        """
        certain = logit.new_zeros(1, logit.shape[1])
        rows = torch.cat([F.logsigmoid(logit), F.logsigmoid(-logit), certain])
        start = sum(self.level_sizes[: depth + 1])
        child_rows = self._child_rows[start : start + self.level_sizes[depth + 1]]
        return rows.index_select(0, child_rows)

    def path_log_probs(self, logit: Tensor, root_log_proba: Tensor) -> Tensor:
        """Return the log-probability of reaching each node, (n_nodes, batch).

        Parameters
        ----------
        logit : Tensor of shape (n_splits, batch)
            Logits of "left" at the splits of the tree, level by level.
        root_log_proba : Tensor of shape (batch,)
            Log-probability of reaching the root.
        """
        log_probs = F.logsigmoid(torch.cat([logit, -logit]))
        with no_autocast(logit):
            return torch.addmm(root_log_proba, self.decisions, log_probs)

    def at_leaves(self, by_level: list[Tensor]) -> Tensor:
        """Select the rows of the leaves from values of the nodes of each level."""
        return torch.cat(by_level).index_select(0, self.leaves)


def _child_rows(topology: Topology, split_sizes: Sequence[int]) -> list[int]:
    """Return the row of each node in [left of splits, right of splits, certain].

    The splits are those in the level of the node's parent.
    """
    rows = [0] * topology.n_nodes
    rank = {node: i for i, node in enumerate(topology.splits)}
    start = 0
    for level, n_splits in zip(topology.levels, split_sizes, strict=True):
        for node in level:
            for side, child in enumerate(topology.children[node]):
                rows[child] = 2 * n_splits
                if node in rank:
                    rows[child] = rank[node] - start + side * n_splits
        start += n_splits
    return rows
