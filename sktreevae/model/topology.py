"""Shape of a tree: its nodes, levels, leaves and splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..tree.arrays import depths_of, parents_of_merges


@dataclass(frozen=True)
class Topology:
    """An immutable rooted tree whose nodes have at most two children.

    Nodes are numbered breadth first, left to right. The nodes of a level are therefore
    consecutive and siblings are adjacent. The sequence of parents is non-decreasing
    and describes the tree completely. Leaves are counted from left to right, so the
    leaves below a node are consecutive.

    Pruning a leaf leaves its parent with a single child. Such a node keeps its latent
    variable, but has no decision.

    Parameters
    ----------
    parent : tuple of int
        Parent of each node; -1 for the root, which is node 0.

    Examples
    --------
    >>> tree = Topology.stump().split_leaf(0).topology
    >>> tree.parent
    (-1, 0, 0, 1, 1)
    >>> tree.leaves
    (3, 4, 2)
    >>> tree.levels
    ((0,), (1, 2), (3, 4))
    """

    parent: tuple[int, ...]

    def __post_init__(self) -> None:
        parent = self.parent
        valid = (
            len(parent) > 0
            and parent[0] == -1
            and all(0 <= p < i for i, p in enumerate(parent) if i > 0)
            and all(a <= b for a, b in zip(parent, parent[1:], strict=False))
            and max(Counter(parent).values()) <= 2
        )
        if not valid:
            raise ValueError(
                "parent must list a binary tree breadth first: -1 for the root, then "
                f"non-decreasing parents, each at most twice; got {parent!r}."
            )

    @classmethod
    def single_leaf(cls) -> Topology:
        """Return the tree whose root is its only node."""
        return cls((-1,))

    @classmethod
    def stump(cls) -> Topology:
        """Return the tree of a root and two leaves."""
        return cls((-1, 0, 0))

    @classmethod
    def from_merges(cls, merges: Sequence[Sequence[int]]) -> Restructuring:
        """Build a tree from a sequence of merges.

        Parameters
        ----------
        merges : sequence of pairs of int
            Nodes merged at each step, numbered as in `scipy.cluster.hierarchy.linkage`:
            0 to n - 1 for the leaves, then one number for the result of each merge.

        Returns
        -------
        restructuring : Restructuring
            The tree. The source of a node is its number in `merges`.
        """
        parents = parents_of_merges(np.reshape(merges, (-1, 2)).astype(np.int64))
        return _renumber(parents.tolist(), sources=range(len(parents))[::-1])

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.parent)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Children of each node, left to right: none, one or two."""
        children: list[list[int]] = [[] for _ in self.parent]
        for node, parent in enumerate(self.parent[1:], start=1):
            children[parent].append(node)
        return tuple(map(tuple, children))

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """Nodes without children, left to right (depth first)."""
        leaves = []
        stack = [0]
        while stack:
            node = stack.pop()
            children = self.children[node]
            if not children:
                leaves.append(node)
            stack.extend(reversed(children))
        return tuple(leaves)

    @cached_property
    def splits(self) -> tuple[int, ...]:
        """Nodes with two children. Each has a decision."""
        return tuple(i for i, c in enumerate(self.children) if len(c) == 2)

    @cached_property
    def node_depths(self) -> tuple[int, ...]:
        """Depth of each node; 0 for the root."""
        return tuple(depths_of(self.parent).tolist())

    @property
    def depth(self) -> int:
        """Depth of the deepest node."""
        return self.node_depths[-1]

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Nodes of each depth, from the root down."""
        levels: list[list[int]] = [[] for _ in range(self.depth + 1)]
        for node, depth in enumerate(self.node_depths):
            levels[depth].append(node)
        return tuple(map(tuple, levels))

    def path(self, node: int) -> tuple[int, ...]:
        """Return the nodes from the root to `node`, both included."""
        path = [node]
        while path[-1] != 0:
            path.append(self.parent[path[-1]])
        return tuple(reversed(path))

    def split_leaf(self, leaf: int) -> Restructuring:
        """Attach two children to a leaf. Their source is -1.

        Parameters
        ----------
        leaf : int
            Position in `leaves`.
        """
        node = self._leaf_node(leaf)
        n = self.n_nodes
        return _renumber((*self.parent, node, node), sources=(*range(n), -1, -1))

    def prune(self, leaf: int) -> Restructuring:
        """Remove a leaf, and every ancestor that is left without children.

        Parameters
        ----------
        leaf : int
            Position in `leaves`.
        """
        node = self._leaf_node(leaf)
        removed = set()
        while node != -1 and set(self.children[node]) <= removed:
            removed.add(node)
            node = self.parent[node]
        if 0 in removed:
            raise ValueError("The last leaf of a tree can't be pruned.")
        kept = [i for i in range(self.n_nodes) if i not in removed]
        new_number = {old: new for new, old in enumerate(kept)} | {-1: -1}
        parents = [new_number[self.parent[i]] for i in kept]
        return _renumber(parents, sources=kept)

    def contract(self) -> Restructuring:
        """Drop nodes with one child."""

        def skip(node: int) -> int:
            while len(self.children[node]) == 1:
                (node,) = self.children[node]
            return node

        parents, nodes = [-1], [skip(0)]
        for position, node in enumerate(nodes):  # a queue: it grows
            for child in self.children[node]:
                parents.append(position)
                nodes.append(skip(child))
        return Restructuring(Topology(tuple(parents)), tuple(nodes))

    def _leaf_node(self, leaf: int) -> int:
        """Return the node of the leaf at a position, which is checked."""
        if not 0 <= leaf < len(self.leaves):
            raise ValueError(
                f"leaf must be the position of one of the {len(self.leaves)} leaves, "
                f"0 to {len(self.leaves) - 1}; got {leaf!r}."
            )
        return self.leaves[leaf]


@dataclass(frozen=True)
class Restructuring:
    """A new topology and the source of each of its nodes.

    Parameters
    ----------
    topology : Topology
        The tree after the change.
    source : tuple of int
        Number of each new node before the change; -1 for an added node.
    """

    topology: Topology
    source: tuple[int, ...]


def _renumber(parents: Sequence[int], sources: Sequence[int]) -> Restructuring:
    """Renumber the nodes breadth first, keeping the order of siblings."""
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(parents):
        children.setdefault(parent, []).append(node)
    order = [0]
    for node in order:  # a queue: it grows while it is iterated over
        order.extend(children.get(node, ()))
    number = {old: new for new, old in enumerate(order)} | {-1: -1}
    return Restructuring(
        Topology(tuple(number[parents[old]] for old in order)),
        tuple(sources[old] for old in order),
    )
