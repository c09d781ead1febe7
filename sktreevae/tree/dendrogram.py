"""Hierarchy of clusters as plain NumPy arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..utils.extras import import_extra
from ..utils.text import count, format_p_value
from .arrays import (
    SIGNIFICANCE,
    balanced_merges,
    children_of,
    depths_of,
    highest_first,
    label_leaves,
    salient_cuts,
    sum_below,
)
from .names import check_cluster_names, quote_newick

if TYPE_CHECKING:
    import networkx
    import pandas
    from matplotlib.axes import Axes

NODE_ATTRIBUTES = (
    "parent",
    "children_left",
    "children_right",
    "depth",
    "height",
    "n_node_samples",
    "weight",
    "p_values",
    "excess_costs",
    "leaf_label",
)


@dataclass(frozen=True)
class DendrogramPlotData:
    """Coordinates of the drawing of a dendrogram.

    Attributes
    ----------
    x : ndarray of shape (n_nodes,)
        Horizontal positions. A leaf is at its label, an internal node halfway between
        its children.
    y : ndarray of shape (n_nodes,)
        Heights in nats.
    links : ndarray of shape (n_clusters - 1, 4, 2)
        One line of four points for each internal node, from its left child up and
        across to its right child.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    links: NDArray[np.float64]


class Dendrogram:
    """Binary tree of clusters.

    Nodes are numbered breadth first from the root, node 0. Leaves are labeled 0, 1, ...
    from left to right.

    Parameters
    ----------
    parent : array-like of int of shape (n_nodes,)
        Parent of each node, non-decreasing; -1 for the root. Every node has two
        children or none.
    height : array-like of float of shape (n_nodes,)
        Height of each node in nats, at least 0 and not below the heights of its
        children: separation of the clusters of the cut that splits it. Entries of
        leaves are ignored.
    labels : array-like of int of shape (n_samples,)
        Leaf label of each sample.
    weight : array-like of float of shape (n_nodes,), default=None
        Probability mass that reaches each node, up to a common factor. By default the
        number of samples below each node.

    Attributes
    ----------
    parent : ndarray of int of shape (n_nodes,)
        Parent of each node; -1 for the root.
    children_left, children_right : ndarray of int of shape (n_nodes,)
        Children of each node; -1 for leaves.
    depth : ndarray of int of shape (n_nodes,)
        Number of edges between each node and the root.
    height : ndarray of float of shape (n_nodes,)
        Height of each node in nats; 0 for leaves. Heights never fall towards the root.
    n_node_samples : ndarray of int of shape (n_nodes,)
        Number of samples below each node.
    weight : ndarray of float of shape (n_nodes,)
        Share of the probability mass that reaches each node; exactly 1 for the root.
        All zeros if there are neither weights nor samples.
    p_values : ndarray of float of shape (n_nodes,)
        Probability that a split of one cluster has a gap as clear as that of a node, on
        held-out samples; NaN for leaves, and if not estimated. It is corrected for the
        number of splits: of 100 trees of data with a single cluster, at most 5 have any
        split with a value of 0.05 or less.
    excess_costs : ndarray of float of shape (n_nodes,)
        Cost of the coarsest cut with the split of each node, in bits above the best
        partition of the leaves into as many clusters that is known; NaN for leaves, and
        if not estimated. At 0, no other way to merge the leaves is better.
    leaf_label : ndarray of int of shape (n_nodes,)
        Label of each leaf; -1 for internal nodes.
    labels : ndarray of int of shape (n_samples,)
        Leaf label of each sample.

    Raises
    ------
    ValueError
        If the arrays do not describe a binary tree, or heights fall towards the root.

    Examples
    --------
    >>> from sktreevae import Dendrogram
    >>> tree = Dendrogram([-1, 0, 0, 1, 1], [9, 4, 0, 0, 0], labels=[0, 0, 1, 2])
    >>> print(tree.export_text())
    node 0: height 9, 4 samples
    |-- node 1: height 4, 3 samples
    |   |-- cluster 0: 2 samples
    |   `-- cluster 1: 1 sample
    `-- cluster 2: 1 sample
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
        self.children_left, self.children_right = children_of(self.parent)
        self.depth = depths_of(self.parent)
        self.leaf_label = label_leaves(self.children_left, self.children_right)
        self.height = self._check_heights(np.array(height, dtype=np.float64))
        self.p_values, self.excess_costs = np.full((2, n_nodes), np.nan)
        if not np.isin(labels, np.arange(self.n_clusters)).all():
            raise ValueError(
                f"labels must lie between 0 and {self.n_clusters - 1}, and be ints."
            )
        self.labels = np.array(labels, dtype=np.int64)
        n_samples = np.bincount(self.labels, minlength=self.n_clusters)
        self.n_node_samples = sum_below(self.parent, self.leaves, n_samples)
        if weight is None:
            self.weight = self.n_node_samples / max(len(self.labels), 1)
        else:
            self.weight = self._normalize(np.array(weight, dtype=np.float64))

    def _check_heights(self, height: NDArray[np.float64]) -> NDArray[np.float64]:
        """Check that heights don't fall towards the root; leaves have height 0."""
        if height.shape != self.parent.shape or not np.isfinite(height).all():
            raise ValueError(
                f"height must have one finite entry for each of the {self.n_nodes} "
                f"nodes, got {height!r}."
            )
        height[self.leaf_label >= 0] = 0.0
        if (height[1:] > height[self.parent[1:]]).any():
            raise ValueError(
                "the height of a node must not be below the heights of its children, "
                f"got {height.tolist()} for the parents {self.parent.tolist()}."
            )
        return height

    def _normalize(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scale weights so that the weight of the root is exactly 1."""
        if weight.shape != self.parent.shape:
            raise ValueError(
                f"weight must have one entry for each of the {self.n_nodes} nodes, "
                f"got shape {weight.shape}."
            )
        if not (np.isfinite(weight).all() and (weight >= 0).all() and weight[0] > 0):
            raise ValueError(
                "weight must be finite and non-negative, and positive for the root, "
                f"got {weight!r}."
            )
        return weight / weight[0]

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.parent)

    @property
    def n_clusters(self) -> int:
        """Number of leaves of the tree, which are the clusters of the finest cut.

        `TreeVAEClustering.n_leaves_` differs: as in AgglomerativeClustering, it is the
        number of leaves of the tree over the samples, hence the number of samples.
        """
        return (self.n_nodes + 1) // 2

    @property
    def leaves(self) -> NDArray[np.int64]:
        """Node of each leaf label, (n_clusters,)."""
        by_label = np.argsort(self.leaf_label, kind="stable")
        return by_label[self.n_nodes - self.n_clusters :]

    @property
    def internal_nodes(self) -> NDArray[np.int64]:
        """Nodes with children, in increasing order, (n_clusters - 1,)."""
        return np.flatnonzero(self.leaf_label < 0)

    def cut(
        self, n_clusters: int | None = None, *, height: float | None = None
    ) -> NDArray[np.int64]:
        """Merge the leaves into fewer clusters.

        Parameters
        ----------
        n_clusters : int, default=None
            Number of clusters, at most the number of leaves. The lowest nodes are
            merged first, so a cut into more clusters refines a cut into fewer clusters.
        height : float, default=None
            Height in nats up to which nodes are merged, as an alternative.

        Returns
        -------
        cluster : ndarray of int of shape (n_clusters,)
            Cluster of each leaf label. Clusters are numbered from left to right.
            ``tree.cut(4)[tree.labels]`` gives the clusters of the samples.

        Raises
        ------
        ValueError
            If both or no arguments are given, or the value is out of range.
        """
        if (n_clusters is None) == (height is None):
            raise ValueError("Give either n_clusters or height.")
        if height is not None:
            is_number = isinstance(height, Real) and not isinstance(height, bool)
            if not is_number or not height >= 0:
                raise ValueError(f"height must be a number >= 0, got {height!r}.")
            internal = self.internal_nodes
            split_nodes = internal[self.height[internal] > height]
        else:
            is_int = isinstance(n_clusters, Integral) and n_clusters is not True
            if not is_int or not 1 <= n_clusters <= self.n_clusters:
                raise ValueError(
                    f"n_clusters must be an int from 1 to {self.n_clusters}, the "
                    f"number of leaves of the tree, got {n_clusters!r}."
                )
            highest = highest_first(self.height, self.leaf_label)
            split_nodes = highest[: n_clusters - 1]
        # The cluster of a leaf is its lowest ancestor whose parent is split.
        cluster_node = np.arange(self.n_nodes)
        for node in np.flatnonzero(~np.isin(self.parent, split_nodes))[1:]:
            cluster_node[node] = cluster_node[self.parent[node]]
        cluster = cluster_node[self.leaves]
        return np.cumsum(np.diff(cluster, prepend=cluster[0]) != 0)

    def levels(self) -> NDArray[np.int64]:
        """Return the numbers of clusters of a few nested cuts that stand out.

        The persistence of a cut is the range of heights that lead to it; each bit of
        its excess cost halves it, if `excess_costs` are known. A cut stands out if no
        cut into up to 1.6 times more or fewer clusters is more persistent. Its lowest
        split must be supported, if `p_values` are known. The finest cut with a
        supported lowest split is always among the levels.

        Returns
        -------
        n_clusters : ndarray of int
            Numbers for `cut` and for ``predict(X, n_clusters)``, in increasing order.
            Empty if no split is supported.

        Examples
        --------
        >>> from sktreevae import Dendrogram
        >>> parent = [-1, 0, 0, 1, 1, 2, 2]
        >>> Dendrogram(parent, [9, 1, 1, 0, 0, 0, 0], labels=[]).levels()
        array([2, 4])
        """
        splits = highest_first(self.height, self.leaf_label)
        height = self.height[splits]
        # Range of heights at which the tree is cut into 2, 3, ... clusters.
        persistence = height - np.append(height[1:], 0.0)
        persistence *= np.exp2(-np.nan_to_num(self.excess_costs[splits]))
        return salient_cuts(persistence, self.is_supported[splits])

    @property
    def is_supported(self) -> NDArray[np.bool_]:
        """Whether `p_values` are at most 0.05, or aren't known, (n_nodes,)."""
        return ~(self.p_values > SIGNIFICANCE)

    def to_linkage(self, over: str = "leaves") -> NDArray[np.float64]:
        """Return the tree as a linkage matrix for `scipy.cluster.hierarchy`.

        Parameters
        ----------
        over : {"leaves", "samples"}, default="leaves"
            Original observations of the matrix. With "leaves", observation i is the
            leaf with label i. With "samples", merges of samples inside a leaf have
            height 0 and form a balanced tree; leaves without samples are left out.

        Returns
        -------
        Z : ndarray of shape (n_observations - 1, 4)
            Sorted by height. The last column counts observations.

        Raises
        ------
        ValueError
            If `over` is neither "leaves" nor "samples".
        """
        if over == "leaves":
            return self._linkage(np.arange(self.n_clusters))
        if over != "samples":
            raise ValueError(f"over must be 'leaves' or 'samples', got {over!r}.")
        return self._linkage(self.labels)

    def _linkage(self, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the linkage matrix of observations with some leaf labels."""
        merges, leaf_clusters = balanced_merges(labels, self.n_clusters)
        clusters = dict(zip(self.leaves.tolist(), leaf_clusters, strict=True))
        counts = np.concatenate(
            [np.ones(len(labels)), merges[:, 3], np.zeros(len(clusters))]
        )
        rows: list[tuple[float, ...]] = []
        # Among equal heights the deeper nodes come first: children before parents.
        for node in highest_first(self.height, self.leaf_label)[::-1].tolist():
            left = clusters[self.children_left[node]]
            right = clusters[self.children_right[node]]
            if left is None or right is None:
                clusters[node] = right if left is None else left
                continue
            clusters[node] = new = len(labels) + len(merges) + len(rows)
            counts[new] = counts[left] + counts[right]
            rows.append((*sorted((left, right)), self.height[node], counts[new]))
        return np.concatenate([merges, np.reshape(rows, (-1, 4))])

    def to_newick(self, cluster_names: Sequence[str] | None = None) -> str:
        """Return the tree in Newick format, with branch lengths in nats.

        Parameters
        ----------
        cluster_names : sequence of str of length n_clusters, default=None
            Names of the leaves, by default their labels. Names with characters other
            than letters, digits, ".", "+" and "-" are quoted.

        Raises
        ------
        ValueError
            If there is not exactly one name for each leaf.
        """
        names = check_cluster_names(cluster_names, self.n_clusters)
        text: dict[int, str] = {}
        for node in range(self.n_nodes - 1, -1, -1):
            label = self.leaf_label[node]
            if label >= 0:
                text[node] = quote_newick(names[label])
            else:
                left = text.pop(self.children_left[node])
                right = text.pop(self.children_right[node])
                text[node] = f"({left},{right})"
            if node > 0:
                length = self.height[self.parent[node]] - self.height[node]
                text[node] += f":{length:.6g}"
        return text[0] + ";"

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table with a row for each node and its attributes as columns.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        pandas = import_extra("pandas", "to_pandas needs pandas", "pandas")
        values = {name: getattr(self, name) for name in NODE_ATTRIBUTES}
        return pandas.DataFrame(values).rename_axis("node")

    def to_networkx(self) -> networkx.DiGraph:
        """Return a directed graph from parents to children, with node attributes.

        Raises
        ------
        ImportError
            If networkx is not installed.
        """
        networkx = import_extra("networkx", "to_networkx needs networkx", "networkx")
        graph = networkx.DiGraph()
        values = [getattr(self, name).tolist() for name in NODE_ATTRIBUTES]
        for node, row in enumerate(zip(*values, strict=True)):
            graph.add_node(node, **dict(zip(NODE_ATTRIBUTES, row, strict=True)))
        edges = zip(self.parent[1:].tolist(), range(1, self.n_nodes), strict=True)
        graph.add_edges_from(edges)
        return graph

    def export_text(self, cluster_names: Sequence[str] | None = None) -> str:
        """Return the tree as text with one line for each node.

        Parameters
        ----------
        cluster_names : sequence of str of length n_clusters, default=None
            Names of the leaves, by default "cluster 0", "cluster 1", ...

        Raises
        ------
        ValueError
            If there is not exactly one name for each leaf.
        """
        names = check_cluster_names(cluster_names, self.n_clusters, "cluster {}")
        lines, stack = [], [(0, "", "", "")]
        while stack:
            node, lead, branch, indent = stack.pop()
            label, n_samples = self.leaf_label[node], self.n_node_samples[node]
            samples = f"{n_samples} {'sample' if n_samples == 1 else 'samples'}"
            if label >= 0:
                lines.append(f"{lead}{branch}{names[label]}: {samples}")
                continue
            height = f"height {self.height[node]:.3g}"
            if np.isfinite(self.p_values[node]):
                height += f", p {format_p_value(self.p_values[node])}"
            lines.append(f"{lead}{branch}node {node}: {height}, {samples}")
            left, right = self.children_left[node], self.children_right[node]
            stack.append((right, lead + indent, "`-- ", "    "))
            stack.append((left, lead + indent, "|-- ", "|   "))
        return "\n".join(lines)

    def __repr__(self) -> str:
        # Tables of fitted attributes have space for 30 characters.
        return f"<Dendrogram: {count(self.n_clusters, 'leaf', 'leaves')}>"

    def _repr_html_(self) -> str:
        """Return the representation in notebooks."""
        style = "max-height: 40em; overflow: auto"
        return f'<pre style="{style}">{escape(self.export_text())}</pre>'

    def export_html(
        self,
        path: str | os.PathLike,
        X: ArrayLike | None = None,
        *,
        y: ArrayLike | None = None,
        feature_names: Sequence[str] | None = None,
        image_shape: tuple[int, ...] | None = None,
        cluster_names: Sequence[str] | None = None,
    ) -> None:
        """Write the tree as one HTML page that unfolds.

        See :meth:`TreeVAEClustering.export_html`, which also describes what a model
        generates, or other samples.

        Parameters
        ----------
        path : str or path-like
            File to write. Its name without the ending is the title of the page.
        X : array-like or sparse matrix of shape (n_samples, n_features), or images \
                of shape (n_samples, height, width[, channels]), default=None
            Samples whose labels the dendrogram holds, in the same order. Nodes show
            their mean image, or the features that tell nodes from their siblings.
        y : array-like of shape (n_samples,), default=None
            Known labels of the samples.
        feature_names : sequence of str of length n_features, default=None
            Names of the features, by default the column names of X, or x0, x1, ...
        image_shape : tuple of int, default=None
            Shape of the images in the rows of X: (height, width), or with 1, 3 or 4
            channels first or last.
        cluster_names : sequence of str of length n_clusters, default=None
            Names of the leaves, by default "cluster 0", "cluster 1", ...

        Raises
        ------
        ImportError
            If jinja2 or, for images, Pillow is not installed: the extra "plot".
        ValueError
            If X, `y`, `feature_names`, `image_shape` or `cluster_names` doesn't fit the
            dendrogram or each other.

        Examples
        --------
        >>> import tempfile
        >>> from sktreevae import Dendrogram
        >>> tree = Dendrogram([-1, 0, 0], [2, 0, 0], labels=[0, 0, 1])
        >>> X = [[4.0, 40.0], [4.0, 60.0], [2.0, 80.0]]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/animals.html"
        ...     tree.export_html(path, X, feature_names=["legs", "weight"])
        """
        # Imported here so that this module does not depend on the displays.
        from ..display.html import NodeData, write_page

        if X is None and not (feature_names is None and image_shape is None):
            raise ValueError("feature_names and image_shape describe X, but X is None.")
        data = NodeData.from_dendrogram(self, X, feature_names, image_shape)
        write_page(data, path, X, y, cluster_names)

    def get_plot_data(self) -> DendrogramPlotData:
        """Return the coordinates of a drawing. Matplotlib is not needed."""
        x, y = self.leaf_label.astype(np.float64), self.height.copy()
        internal = self.internal_nodes
        left, right = self.children_left[internal], self.children_right[internal]
        for i in range(len(internal) - 1, -1, -1):
            x[internal[i]] = (x[left[i]] + x[right[i]]) / 2
        corners = np.array(
            [
                [x[left], x[left], x[right], x[right]],
                [y[left], y[internal], y[internal], y[right]],
            ]
        )
        return DendrogramPlotData(x, y, links=corners.transpose(2, 1, 0))

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Any:
        """Draw the tree with `sktreevae.display.DendrogramDisplay`.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. By default a new figure is created.
        **kwargs : dict
            Further arguments of `sktreevae.display.DendrogramDisplay.plot`.

        Returns
        -------
        display : DendrogramDisplay
            The display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        # Imported here so that this module does not depend on the displays.
        from ..display import DendrogramDisplay

        return DendrogramDisplay.from_dendrogram(self, ax=ax, **kwargs)
