"""The learned hierarchy as plain numpy arrays, usable without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import networkx
    import pandas
    from matplotlib.axes import Axes

__all__ = ["Dendrogram", "DendrogramPlotData"]

_RISE = 1e-6
"""Least height of an internal node in nats, and least relative rise to its parent."""


@dataclass(frozen=True)
class DendrogramPlotData:
    """Coordinates of a drawn dendrogram.

    Attributes
    ----------
    x : ndarray of shape (n_nodes,)
        Horizontal positions: the label of a leaf, the middle of two children.
    y : ndarray of shape (n_nodes,)
        Heights in nats.
    links : ndarray of shape (n_leaves - 1, 4, 2)
        One line of four points for each internal node, from its left child up and
        across to its right child.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    links: NDArray[np.float64]


class Dendrogram:
    """A binary tree of clusters.

    Nodes are numbered breadth first from the root, node 0. Leaves are labelled 0, 1,
    ... from left to right. All attributes have one entry for each node.

    Parameters
    ----------
    parent : array-like of int of shape (n_nodes,)
        Parent of each node, non-decreasing; -1 for the root. Every node has two
        children or none.
    height : array-like of float of shape (n_nodes,)
        How different the two branches of a node are, in nats. Entries of leaves are
        ignored; others are raised where they are not above those of their children.
    labels : array-like of int of shape (n_samples,)
        Leaf label of each sample.
    weight : array-like of float of shape (n_nodes,), default=None
        Share of the probability mass that reaches each node, where it is soft. The
        share of the samples by default.

    Attributes
    ----------
    parent, children_left, children_right : ndarray of int of shape (n_nodes,)
        Neighbours in the tree; -1 where there is none.
    depth : ndarray of int of shape (n_nodes,)
        Steps from the root.
    height : ndarray of float of shape (n_nodes,)
        Nats; 0 for the leaves, strictly increasing towards the root.
    n_node_samples : ndarray of int of shape (n_nodes,)
        Samples below each node.
    weight : ndarray of float of shape (n_nodes,)
        Share of the probability mass.
    leaf_label : ndarray of int of shape (n_nodes,)
        Label of each leaf; -1 for internal nodes.
    labels : ndarray of int of shape (n_samples,)
        Leaf label of each sample.

    Raises
    ------
    ValueError
        If the arrays don't describe such a tree.

    Examples
    --------
    >>> from sktreevae.dendrogram import Dendrogram
    >>> tree = Dendrogram([-1, 0, 0, 1, 1], [9, 4, 0, 0, 0], labels=[0, 0, 1, 2])
    >>> print(tree.export_text())
    node 0: height 9, 4 samples
    |-- node 1: height 4, 3 samples
    |   |-- cluster 0: 2 samples
    |   `-- cluster 1: 1 samples
    `-- cluster 2: 1 samples
    >>> tree.cut(n_clusters=2)
    array([0, 0, 1])
    >>> tree.to_newick()
    '((0:4,1:4):5,2:9);'
    """

    def __init__(
        self,
        parent: ArrayLike,
        height: ArrayLike,
        labels: ArrayLike,
        weight: ArrayLike | None = None,
    ) -> None:
        self.parent = np.array(parent, dtype=np.int64)
        n_nodes = len(self.parent)
        self.children_left = np.full(n_nodes, -1)
        self.children_right = np.full(n_nodes, -1)
        self.depth = np.zeros(n_nodes, dtype=np.int64)
        self._link()
        self.leaf_label = self._label_leaves()
        self.height = self._raise(np.array(height, dtype=np.float64))
        self.labels = np.array(labels, dtype=np.int64)
        if len(self.labels) and not (
            0 <= self.labels.min() and self.labels.max() < self.n_leaves
        ):
            raise ValueError(f"labels must lie between 0 and {self.n_leaves - 1}.")
        self.n_node_samples = self._count_samples()
        if weight is None:
            weight = self.n_node_samples / max(len(self.labels), 1)
        self.weight = np.array(weight, dtype=np.float64)
        if self.weight.shape != self.parent.shape:
            raise ValueError(
                f"weight must have one entry for each of the {n_nodes} nodes, "
                f"got shape {self.weight.shape}."
            )

    def _link(self) -> None:
        """Fill in the children and the depths."""
        parent = self.parent
        if len(parent) == 0 or parent[0] != -1 or (np.diff(parent) < 0).any():
            raise ValueError(
                "parent must start with -1, the root's, and be non-decreasing, "
                f"got {parent.tolist()}."
            )
        if (parent[1:] >= np.arange(1, len(parent))).any() or (parent[1:] < 0).any():
            raise ValueError(
                f"each parent must come before its children, got {parent.tolist()}."
            )
        if not np.isin(np.bincount(parent[1:], minlength=1), (0, 2)).all():
            raise ValueError(
                f"every node must have two children or none, got {parent.tolist()}."
            )
        left, right = np.arange(1, len(parent), 2), np.arange(2, len(parent), 2)
        self.children_left[parent[left]] = left
        self.children_right[parent[right]] = right
        for node in range(1, len(parent)):
            self.depth[node] = self.depth[parent[node]] + 1

    def _label_leaves(self) -> NDArray[np.int64]:
        """Label the leaves from left to right."""
        leaf_label = np.full(self.n_nodes, -1)
        stack, label = [0], 0
        while stack:
            node = stack.pop()
            if self.children_left[node] < 0:
                leaf_label[node] = label
                label += 1
            else:
                stack += [self.children_right[node], self.children_left[node]]
        return leaf_label

    def _raise(self, height: NDArray[np.float64]) -> NDArray[np.float64]:
        """Make the heights strictly increase towards the root."""
        if height.shape != self.parent.shape or not np.isfinite(height).all():
            raise ValueError(
                f"height must have one finite entry for each of the {self.n_nodes} "
                f"nodes, got {height!r}."
            )
        height[self.leaf_label >= 0] = 0.0
        for node in self.internal_nodes[::-1]:
            below = max(
                height[self.children_left[node]], height[self.children_right[node]]
            )
            height[node] = max(height[node], below * (1 + _RISE), _RISE)
        return height

    def _count_samples(self) -> NDArray[np.int64]:
        counts = np.zeros(self.n_nodes, dtype=np.int64)
        counts[self.leaves] = np.bincount(self.labels, minlength=self.n_leaves)
        for node in range(self.n_nodes - 1, 0, -1):
            counts[self.parent[node]] += counts[node]
        return counts

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.parent)

    @property
    def n_leaves(self) -> int:
        """Number of leaves, the clusters of the finest cut."""
        return (self.n_nodes + 1) // 2

    @property
    def leaves(self) -> NDArray[np.int64]:
        """Node of each leaf label, (n_leaves,)."""
        return np.argsort(self.leaf_label, kind="stable")[
            self.n_nodes - self.n_leaves :
        ]

    @property
    def internal_nodes(self) -> NDArray[np.int64]:
        """Nodes with children, in the order of their numbers, (n_leaves - 1,)."""
        return np.flatnonzero(self.leaf_label < 0)

    def __repr__(self) -> str:
        return (
            f"<Dendrogram: {self.n_leaves} leaves, depth {self.depth.max()}, "
            f"{len(self.labels)} samples>"
        )

    def cut(
        self, n_clusters: int | None = None, *, height: float | None = None
    ) -> NDArray[np.int64]:
        """Merge the leaves into fewer clusters.

        Parameters
        ----------
        n_clusters : int, default=None
            Number of clusters, from 1 to `n_leaves`: the lowest nodes are merged
            first. A cut into more clusters refines a cut into fewer.
        height : float, default=None
            Merge everything below this height in nats, instead.

        Returns
        -------
        cluster : ndarray of int of shape (n_leaves,)
            Cluster of each leaf label; clusters are numbered from left to right.
            ``tree.cut(4)[labels]`` gives the clusters of samples.

        Raises
        ------
        ValueError
            If not exactly one of the two is given, or there is no such cut.
        """
        if (n_clusters is None) == (height is None):
            raise ValueError("Give either n_clusters or height.")
        internal = self.internal_nodes
        if height is not None:
            if not isinstance(height, Real) or not height >= 0:
                raise ValueError(f"height must be a number >= 0, got {height!r}.")
            opened = self.height[internal] > height
        else:
            self._check_n_clusters(n_clusters)
            opened = np.zeros(len(internal), dtype=bool)
            # Stable, so that among equals a parent's sibling comes before later ones.
            highest = np.argsort(-self.height[internal], kind="stable")
            opened[highest[: n_clusters - 1]] = True
        # A leaf belongs to its lowest ancestor that hangs from an opened node.
        cluster_node = np.arange(self.n_nodes)
        is_open = np.zeros(self.n_nodes, dtype=bool)
        is_open[internal[opened]] = True
        for node in range(1, self.n_nodes):
            if not is_open[self.parent[node]]:
                cluster_node[node] = cluster_node[self.parent[node]]
        return _number_in_order(cluster_node[self.leaves])

    def _check_n_clusters(self, n_clusters: object) -> None:
        valid = isinstance(n_clusters, Integral) and not isinstance(n_clusters, bool)
        if not valid or not 1 <= n_clusters <= self.n_leaves:
            raise ValueError(
                f"n_clusters must be an int from 1 to {self.n_leaves}, the number of "
                f"leaves of the tree, got {n_clusters!r}."
            )

    def to_linkage(self, over: str = "leaves") -> NDArray[np.float64]:
        """Return the tree as a linkage matrix of `scipy.cluster.hierarchy`.

        Parameters
        ----------
        over : {"leaves", "samples"}, default="leaves"
            What the original observations are: the leaves by their labels, or the
            samples. Merges of samples inside a leaf have height 0 and are balanced.

        Returns
        -------
        Z : ndarray of shape (n_observations - 1, 4)
            Sorted by height. The last column counts observations.

        Raises
        ------
        ValueError
            If `over` is neither of the two.
        """
        if over == "leaves":
            return self._linkage(list(range(self.n_leaves)), self.n_leaves, [])
        if over != "samples":
            raise ValueError(f"over must be 'leaves' or 'samples', got {over!r}.")
        return self._sample_linkage.copy()

    @cached_property
    def _sample_linkage(self) -> NDArray[np.float64]:
        n_samples = len(self.labels)
        merges: list[tuple[int, int]] = []
        roots: list[int | None] = []
        order = np.argsort(self.labels, kind="stable")
        sizes = np.bincount(self.labels, minlength=self.n_leaves)
        for members in np.split(order, np.cumsum(sizes)[:-1]):
            queue = members.tolist()
            while len(queue) > 1:
                pairs = list(zip(queue[::2], queue[1::2], strict=False))
                odd = queue[len(queue) - len(queue) % 2 :]
                first = n_samples + len(merges)
                queue = [*range(first, first + len(pairs)), *odd]
                merges += pairs
            roots.append(queue[0] if queue else None)
        return self._linkage(roots, n_samples, merges)

    def _linkage(
        self, roots: Sequence[int | None], n: int, merges: list[tuple[int, int]]
    ) -> NDArray[np.float64]:
        """Continue the `merges` of `n` observations up to the root.

        `roots` has the cluster that each leaf has become, or None for an empty one.
        """
        cluster: dict[int, int | None] = dict(
            zip(self.leaves.tolist(), roots, strict=True)
        )
        merges = list(merges)
        heights = [0.0] * len(merges)
        internal = self.internal_nodes
        # Among equal heights the deeper nodes come first: children before parents.
        for node in internal[::-1][
            np.argsort(self.height[internal][::-1], kind="stable")
        ]:
            left = cluster[self.children_left[node]]
            right = cluster[self.children_right[node]]
            if left is None or right is None:
                cluster[node] = right if left is None else left
                continue
            cluster[node] = n + len(merges)
            merges.append((left, right))
            heights.append(self.height[node])
        Z = np.zeros((len(merges), 4))
        counts = [1] * n
        for row, (left, right) in enumerate(merges):
            counts.append(counts[left] + counts[right])
            Z[row] = min(left, right), max(left, right), heights[row], counts[-1]
        return Z

    def to_newick(self) -> str:
        """Return the tree in Newick format; leaves by label, lengths in nats."""
        text: dict[int, str] = {}
        for node in range(self.n_nodes - 1, -1, -1):
            if self.leaf_label[node] >= 0:
                name = str(self.leaf_label[node])
            else:
                name = (
                    f"({text[self.children_left[node]]},"
                    f"{text[self.children_right[node]]})"
                )
            parent = self.parent[node]
            length = self.height[parent] - self.height[node]
            text[node] = name if parent < 0 else f"{name}:{length:.6g}"
        return text[0] + ";"

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table with a row for each node and the attributes as columns.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "to_pandas needs pandas. Install it with: pip install pandas"
            ) from error
        table = pandas.DataFrame(self._node_attributes())
        table.index.name = "node"
        return table

    def to_networkx(self) -> networkx.DiGraph:
        """Return a directed graph, from parents to children, with node attributes.

        Raises
        ------
        ImportError
            If networkx is not installed.
        """
        try:
            import networkx
        except ImportError as error:
            raise ImportError(
                "to_networkx needs networkx. Install it with: pip install networkx"
            ) from error
        graph = networkx.DiGraph()
        attributes = self._node_attributes()
        for node in range(self.n_nodes):
            graph.add_node(node, **{k: v[node].item() for k, v in attributes.items()})
        graph.add_edges_from(
            (int(parent), node) for node, parent in enumerate(self.parent) if node
        )
        return graph

    def _node_attributes(self) -> dict[str, NDArray[Any]]:
        names = (
            "parent",
            "children_left",
            "children_right",
            "depth",
            "height",
            "n_node_samples",
            "weight",
            "leaf_label",
        )
        return {name: getattr(self, name) for name in names}

    def export_text(self, cluster_names: Sequence[str] | None = None) -> str:
        """Return the tree as text, one line for each node.

        Parameters
        ----------
        cluster_names : sequence of str of length n_leaves, default=None
            Names of the leaves; "cluster 0" and so on by default.
        """
        lines = []
        stack = [(0, "", "", "")]
        while stack:
            node, lead, branch, indent = stack.pop()
            label = self.leaf_label[node]
            samples = f"{self.n_node_samples[node]} samples"
            if label >= 0:
                name = cluster_names[label] if cluster_names else f"cluster {label}"
                lines.append(f"{lead}{branch}{name}: {samples}")
                continue
            height = f"height {self.height[node]:.3g}"
            lines.append(f"{lead}{branch}node {node}: {height}, {samples}")
            below = lead + indent
            stack.append((int(self.children_right[node]), below, "`-- ", "    "))
            stack.append((int(self.children_left[node]), below, "|-- ", "|   "))
        return "\n".join(lines)

    def get_plot_data(self) -> DendrogramPlotData:
        """Return the coordinates of a drawing, without matplotlib."""
        x = self.leaf_label.astype(np.float64)
        links = []
        for node in self.internal_nodes[::-1]:
            left, right = self.children_left[node], self.children_right[node]
            x[node] = (x[left] + x[right]) / 2
            top = self.height[node]
            links.append(
                [
                    (x[left], self.height[left]),
                    (x[left], top),
                    (x[right], top),
                    (x[right], self.height[right]),
                ]
            )
        return DendrogramPlotData(
            x, self.height.copy(), np.array(links[::-1]).reshape(-1, 4, 2)
        )

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Axes:
        """Draw the tree; see `sktreevae.plotting.plot_dendrogram` for the arguments.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from .plotting import plot_dendrogram

        return plot_dendrogram(self, ax=ax, **kwargs)


def _number_in_order(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Replace values by 0, 1, ... in the order in which they first appear."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]
