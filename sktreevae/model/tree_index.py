"""Index tensors that relate the nodes, the splits and the leaves of a tree."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..tree.arrays import leaves_below
from .precision import no_autocast
from .topology import Topology


class TreeIndex(nn.Module):
    """Index tensors for computations on all nodes of a tree, or of a level, at once.

    Values of the nodes are stacked on the first dimension, in the order of their
    numbers, which is level by level. The tensors follow from the topology, so they are
    buffers that are not part of the state dict.

    Parameters
    ----------
    topology : Topology
        The tree.

    Attributes
    ----------
    level_sizes, split_sizes : list of int
        Number of nodes and number of splits of each level.
    leaves : Tensor of int of shape (n_leaves,)
        Node of each leaf.
    splits : Tensor of int of shape (n_splits,)
        Node of each split.
    ancestry : Tensor of shape (n_nodes, n_leaves)
        1 where a node lies on the path to a leaf, 0 elsewhere.
    decisions : Tensor of shape (n_nodes, 2 * n_splits)
        1 where the path to a node goes left (first half) or right at a split.

    Examples
    --------
    >>> index = TreeIndex(Topology.stump())
    >>> index
    TreeIndex(n_nodes=3, n_leaves=2, depth=1)
    >>> index.path_log_probs(torch.zeros(1, 1), torch.zeros(1)).exp()
    tensor([[1.0000],
            [0.5000],
            [0.5000]])
    """

    def __init__(self, topology: Topology) -> None:
        super().__init__()
        levels, splits = topology.levels, set(topology.splits)
        self.level_sizes = [len(level) for level in levels]
        self.split_sizes = [len(splits.intersection(level)) for level in levels]
        # Positions of the nodes in their levels, which are consecutive nodes.
        position = [i - level[0] for level in levels for i in level]
        self._register_index("leaves", topology.leaves)
        self._register_index("splits", topology.splits)
        parents = [position[parent] for parent in topology.parent[1:]]
        self._register_index("_parents", parents)
        # Which nodes, with itself, are below each node.
        is_below = leaves_below(topology.parent, list(range(topology.n_nodes)))
        is_below = torch.from_numpy(is_below)
        pairs = [topology.children[i] for i in topology.splits]
        children = [pair[side] for side in (0, 1) for pair in pairs]
        ancestry, decisions = is_below[:, self.leaves], is_below[children].T
        for name, matrix in (("ancestry", ancestry), ("decisions", decisions)):
            self.register_buffer(name, matrix.to(torch.float32), persistent=False)

    def _register_index(self, name: str, values: Sequence[int]) -> None:
        tensor = torch.tensor(values, dtype=torch.long)
        self.register_buffer(name, tensor, persistent=False)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(n_nodes={len(self.ancestry)}, "
            f"n_leaves={len(self.leaves)}, depth={len(self.level_sizes) - 1})"
        )

    @property
    def parents(self) -> Sequence[Tensor]:
        """Position of each node's parent in the level above, from depth 1 on."""
        return self._parents.split(self.level_sizes[1:])

    def path_log_probs(self, logit: Tensor, root_log_proba: Tensor) -> Tensor:
        """Return the log-probability of reaching each node, (n_nodes, batch).

        Parameters
        ----------
        logit : Tensor of shape (n_splits, batch)
            Logits of "left" at the splits.
        root_log_proba : Tensor of shape (batch,)
            Log-probability of reaching the root.
        """
        log_probs = F.logsigmoid(torch.cat([logit, -logit]))
        with no_autocast(logit):
            return torch.addmm(root_log_proba, self.decisions, log_probs)

    def path_sums(self, values: Tensor) -> Tensor:
        """Sum values of the nodes, (n_nodes, batch), over the path to each leaf."""
        with no_autocast(values):
            return self.ancestry.T @ values
