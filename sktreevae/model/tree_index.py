"""Index tensors that relate the nodes of a tree to those of the next level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .precision import no_autocast
from .topology import Topology

__all__ = ["TreeIndex"]


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
        self.level_sizes = [len(level) for level in topology.levels]
        splits = set(topology.splits)
        self.split_sizes = [len(splits & set(level)) for level in topology.levels]
        self._levels = nn.ModuleList(
            _LevelIndex(topology, depth) for depth in range(topology.depth + 1)
        )
        ancestry = torch.zeros(
            topology.n_nodes, len(topology.leaves), dtype=torch.float32
        )
        for position, leaf in enumerate(topology.leaves):
            ancestry[list(topology.path(leaf)), position] = 1.0
        self.register_buffer("ancestry", ancestry, persistent=False)
        self.register_buffer("decisions", _decisions(topology), persistent=False)
        _register_index(self, "leaves", topology.leaves)
        _register_index(self, "parent", [0, *topology.parent[1:]])

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(n_nodes={len(self.parent)}, "
            f"n_leaves={len(self.leaves)}, depth={len(self.level_sizes) - 1})"
        )

    def parents(self, depth: int) -> Tensor:
        """Return the position of each node's parent in the level above."""
        return self._levels[depth].parents

    def splits(self, depth: int) -> Tensor:
        """Return the positions of the splits among the nodes of their level."""
        return self._levels[depth].splits

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
        return rows.index_select(0, self._levels[depth].child_rows)

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


def _decisions(topology: Topology) -> Tensor:
    """Return the decisions on the path to each node; see `TreeIndex.decisions`."""
    n_splits = len(topology.splits)
    result = torch.zeros(topology.n_nodes, 2 * n_splits, dtype=torch.float32)
    for position, split in enumerate(topology.splits):
        for side, child in enumerate(topology.children[split]):
            result[child, side * n_splits + position] = 1.0
    for node in range(1, topology.n_nodes):  # parents come first
        result[node] += result[topology.parent[node]]
    return result


class _LevelIndex(nn.Module):
    """Index tensors of one level.

    Attributes
    ----------
    parents : Tensor of int of shape (n_nodes,)
        Position of each node's parent in the level above; empty for the root.
    splits : Tensor of int of shape (n_splits,)
        Positions of the level's splits.
    child_rows : Tensor of int of shape (n_nodes_below,)
        Row of each node below in [left of each split, right of each split, certain].
    """

    def __init__(self, topology: Topology, depth: int) -> None:
        super().__init__()
        level = topology.levels[depth]
        above = topology.levels[max(depth - 1, 0)]
        below = topology.levels[depth + 1] if depth < topology.depth else ()
        splits = [node for node in level if node in topology.splits]
        rows = {}
        for row, node in enumerate(splits):
            left, right = topology.children[node]
            rows |= {left: row, right: row + len(splits)}
        parents = [above.index(topology.parent[node]) for node in level if node > 0]
        _register_index(self, "parents", parents)
        _register_index(self, "splits", [level.index(node) for node in splits])
        certain = 2 * len(splits)
        _register_index(self, "child_rows", [rows.get(node, certain) for node in below])


def _register_index(module: nn.Module, name: str, values: Sequence[int]) -> None:
    tensor = torch.tensor(values, dtype=torch.long)
    module.register_buffer(name, tensor, persistent=False)
