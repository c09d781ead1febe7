"""The shape of a tree: which nodes there are and how they hang together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Restructuring", "Topology"]


@dataclass(frozen=True)
class Topology:
    """An immutable rooted tree whose nodes have at most two children.

    Nodes are numbered breadth first, left to right, so the nodes of a level are
    consecutive and the siblings adjacent. The sequence of parents is then
    non-decreasing, and describes the tree completely.

    A node with a single child is what pruning its sibling leaves behind: it keeps its
    latent variable, but there is nothing left to decide.

    Parameters
    ----------
    parent : tuple of int
        Parent of each node; -1 for the root, which is node 0.

    Examples
    --------
    >>> tree = Topology.single_leaf().split(0).topology.split(1).topology
    >>> tree.parent
    (-1, 0, 0, 1, 1)
    >>> tree.leaves
    (2, 3, 4)
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
            and all(parent.count(p) <= 2 for p in set(parent))
        )
        if not valid:
            raise ValueError(
                "parent must list a binary tree breadth first: -1 for the root, then "
                f"non-decreasing parents, each at most twice; got {parent!r}."
            )

    @classmethod
    def single_leaf(cls) -> Topology:
        """Return the tree that is nothing but a root."""
        return cls((-1,))

    @classmethod
    def from_merges(cls, merges: Sequence[Sequence[int]]) -> Restructuring:
        """Build a tree bottom-up.

        Parameters
        ----------
        merges : sequence of pairs of int
            What is merged, numbered as in `scipy.cluster.hierarchy.linkage`: 0 to n
            for the leaves, and one more for the result of each merge.

        Returns
        -------
        restructuring : Restructuring
            The tree; the source of a leaf is its number in `merges`.
        """
        n_leaves = len(merges) + 1
        root = 2 * n_leaves - 2
        # Numbered from the root, as the nodes of a tree are.
        parents = [-1] * (root + 1)
        for step, pair in enumerate(merges):
            for child in pair:
                parents[root - child] = root - (n_leaves + step)
        sources = [root - i if root - i < n_leaves else -1 for i in range(root + 1)]
        return _renumber(parents, sources)

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
        """Nodes without children, in the order of their numbers."""
        return tuple(i for i, c in enumerate(self.children) if not c)

    @cached_property
    def branchings(self) -> tuple[int, ...]:
        """Nodes with two children: those where a decision is taken."""
        return tuple(i for i, c in enumerate(self.children) if len(c) == 2)

    @cached_property
    def node_depths(self) -> tuple[int, ...]:
        """Depth of each node; 0 for the root."""
        depths = [0]
        for parent in self.parent[1:]:
            depths.append(depths[parent] + 1)
        return tuple(depths)

    @property
    def depth(self) -> int:
        """Depth of the deepest node."""
        return self.node_depths[-1]

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """The nodes of each depth, from the root downwards."""
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

    def split(self, leaf: int) -> Restructuring:
        """Attach two children to a leaf; they have no counterpart in the old tree."""
        self._check_leaf(leaf)
        n = self.n_nodes
        return _renumber((*self.parent, leaf, leaf), sources=(*range(n), -1, -1))

    def prune(self, leaf: int) -> Restructuring:
        """Remove a leaf, and every ancestor that it leaves without children."""
        self._check_leaf(leaf)
        removed = {leaf}
        node = self.parent[leaf]
        while node != -1 and set(self.children[node]) <= removed:
            removed.add(node)
            node = self.parent[node]
        if 0 in removed:
            raise ValueError("The last leaf of a tree can't be pruned.")
        kept = [i for i in range(self.n_nodes) if i not in removed]
        position = {old: new for new, old in enumerate(kept)} | {-1: -1}
        parents = [position[self.parent[i]] for i in kept]
        return _renumber(parents, sources=kept)

    def _check_leaf(self, leaf: int) -> None:
        if leaf not in self.leaves:
            raise ValueError(
                f"Node {leaf} is not a leaf; the leaves are {self.leaves}."
            )


@dataclass(frozen=True)
class Restructuring:
    """A new topology, and where each of its nodes comes from.

    Parameters
    ----------
    topology : Topology
        The tree after the change.
    source : tuple of int
        For each new node its number before the change, or -1 for a node without one.
    """

    topology: Topology
    source: tuple[int, ...]


def _renumber(parents: Sequence[int], sources: Sequence[int]) -> Restructuring:
    """Give a tree breadth-first numbers, keeping the order of siblings."""
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(parents):
        children.setdefault(parent, []).append(node)
    order = [0]
    for node in order:  # grows while it is walked through: a queue
        order.extend(children.get(node, ()))
    number = {old: new for new, old in enumerate(order)} | {-1: -1}
    return Restructuring(
        Topology(tuple(number[parents[old]] for old in order)),
        tuple(sources[old] for old in order),
    )
