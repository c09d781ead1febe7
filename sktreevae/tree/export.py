"""Conversion of a dendrogram to text, tables, graphs and linkage matrices.

The functions take the attributes of the nodes as a mapping of names to arrays, with one
entry for each node, as documented in `Dendrogram`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..utils.extras import import_extra

if TYPE_CHECKING:
    import networkx
    import pandas

UNQUOTED_NEWICK = re.compile(r"[A-Za-z0-9.+-]+")
"""Names that Newick takes without quotes. An unquoted underscore is read as a blank."""

Nodes = Mapping[str, NDArray[Any]]


def _check_names(
    kind: str,
    plural: str,
    given: Iterable[object] | None,
    n_names: int,
    default: str = "{}",
) -> list[str]:
    """Return the names as a list of str; by default numbers in the format `default`.

    Raises
    ------
    ValueError
        If there are not exactly `n_names` names.
    """
    if given is None:
        return [default.format(i) for i in range(n_names)]
    is_text = isinstance(given, str | bytes)
    is_flat = getattr(given, "ndim", 1) == 1
    if is_text or not is_flat or not isinstance(given, Iterable):
        raise ValueError(
            f"{kind}_names must be a sequence of {n_names} names, one for each {kind}, "
            f"got {given!r}."
        )
    names = [str(name) for name in given]
    if len(names) != n_names:
        raise ValueError(
            f"{kind}_names must have one name for each of the {n_names} {plural}, "
            f"got {len(names)}."
        )
    return names


check_cluster_names = partial(_check_names, "cluster", "clusters")
check_feature_names = partial(_check_names, "feature", "features")
check_class_names = partial(_check_names, "class", "classes")


def count(n: int, one: str, many: str) -> str:
    """Return a number with the word in the singular or in the plural."""
    return f"{n:,} {one if n == 1 else many}"


def format_newick(nodes: Nodes, names: Sequence[str]) -> str:
    """Return the tree in Newick format, with the names of the leaves."""
    text: dict[int, str] = {}
    for node in range(len(nodes["parent"]) - 1, -1, -1):
        label, parent = nodes["leaf_label"][node], nodes["parent"][node]
        if label >= 0:
            text[node] = _quote_newick(names[label])
        else:
            left = text.pop(nodes["children_left"][node])
            right = text.pop(nodes["children_right"][node])
            text[node] = f"({left},{right})"
        if parent >= 0:
            length = nodes["height"][parent] - nodes["height"][node]
            text[node] += f":{length:.6g}"
    return text[0] + ";"


def _quote_newick(name: str) -> str:
    """Quote a name if it has characters with a meaning in Newick."""
    if UNQUOTED_NEWICK.fullmatch(name):
        return name
    return "'" + name.replace("'", "''") + "'"


def format_text(nodes: Nodes, names: Sequence[str]) -> str:
    """Return the tree as text with one line for each node."""
    lines = []
    stack = [(0, "", "", "")]
    while stack:
        node, lead, branch, indent = stack.pop()
        label = nodes["leaf_label"][node]
        n_samples = nodes["n_node_samples"][node]
        samples = f"{n_samples} {'sample' if n_samples == 1 else 'samples'}"
        if label >= 0:
            lines.append(f"{lead}{branch}{names[label]}: {samples}")
            continue
        height = f"height {nodes['height'][node]:.3g}"
        if np.isfinite(nodes["p_values"][node]):
            height += f", p {format_p_value(nodes['p_values'][node])}"
        lines.append(f"{lead}{branch}node {node}: {height}, {samples}")
        left, right = nodes["children_left"][node], nodes["children_right"][node]
        stack.append((int(right), lead + indent, "`-- ", "    "))
        stack.append((int(left), lead + indent, "|-- ", "|   "))
    return "\n".join(lines)


def format_p_value(p_value: float) -> str:
    """Return a p-value with a sign, as in "= 0.02"; small ones as "< 0.001"."""
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.1g}"


def to_pandas(nodes: Nodes) -> pandas.DataFrame:
    """Return a table with a row for each node."""
    pandas = import_extra("pandas", "to_pandas needs pandas", "pandas")
    table = pandas.DataFrame(nodes)
    table.index.name = "node"
    return table


def to_networkx(nodes: Nodes) -> networkx.DiGraph:
    """Return a directed graph from parents to children."""
    networkx = import_extra("networkx", "to_networkx needs networkx", "networkx")
    graph = networkx.DiGraph()
    parents = nodes["parent"].tolist()
    for node in range(len(parents)):
        attributes = {name: values[node].item() for name, values in nodes.items()}
        graph.add_node(node, **attributes)
    graph.add_edges_from((parents[node], node) for node in range(1, len(parents)))
    return graph


def balanced_merges(
    labels: NDArray[np.int64], n_leaves: int
) -> tuple[NDArray[np.float64], list[int | None]]:
    """Merge the samples of each leaf into one cluster, in a balanced tree.

    Returns
    -------
    Z : ndarray of shape (n_merges, 4)
        Rows of a linkage matrix, of height 0.
    clusters : list of (int or None) of length n_leaves
        Cluster that each leaf has become; None for a leaf without samples.
    """
    rows = [np.zeros((0, 4))]
    clusters: list[int | None] = []
    n_clusters = len(labels)
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=n_leaves)
    for queue in np.split(order, np.cumsum(sizes)[:-1]):
        counts = np.ones(len(queue))
        while len(queue) > 1:
            n_pairs = len(queue) // 2
            pairs = np.sort(queue[: 2 * n_pairs].reshape(n_pairs, 2), axis=1)
            merged = counts[: 2 * n_pairs].reshape(n_pairs, 2).sum(axis=1)
            rows.append(np.column_stack([pairs, np.zeros(n_pairs), merged]))
            new = np.arange(n_clusters, n_clusters + n_pairs)
            queue = np.append(new, queue[2 * n_pairs :])
            counts = np.append(merged, counts[2 * n_pairs :])
            n_clusters += n_pairs
        clusters.append(int(queue[0]) if len(queue) else None)
    return np.concatenate(rows), clusters


def linkage_matrix(
    nodes: Nodes,
    n_observations: int,
    merges: NDArray[np.float64],
    leaf_clusters: Sequence[int | None],
) -> NDArray[np.float64]:
    """Return the linkage matrix of merges inside leaves, and then of the leaves.

    Parameters
    ----------
    nodes : mapping of str to ndarray of shape (n_nodes,)
        Attributes of the nodes.
    n_observations : int
        Number of original observations.
    merges : ndarray of shape (n_merges, 4)
        Rows of the linkage matrix for the insides of the leaves, of height 0.
    leaf_clusters : sequence of (int or None) of length n_leaves
        Cluster that each leaf has become; None for an empty leaf, which is skipped.

    Returns
    -------
    Z : ndarray of shape (n_observations - 1, 4)
        Sorted by height.
    """
    leaf_label, height = nodes["leaf_label"], nodes["height"]
    # Cluster and number of observations of each node.
    clusters: dict[int, tuple[int, float] | None] = {}
    counts = np.append(np.ones(n_observations), merges[:, 3])
    for node in np.flatnonzero(leaf_label >= 0).tolist():
        cluster = leaf_clusters[leaf_label[node]]
        clusters[node] = None if cluster is None else (cluster, counts[cluster])
    rows: list[tuple[float, ...]] = []
    # Among equal heights the deeper nodes come first: children before parents.
    deepest_first = np.flatnonzero(leaf_label < 0)[::-1]
    by_height = np.argsort(height[deepest_first], kind="stable")
    for node in deepest_first[by_height].tolist():
        left = clusters[int(nodes["children_left"][node])]
        right = clusters[int(nodes["children_right"][node])]
        if left is None or right is None:
            clusters[node] = right if left is None else left
            continue
        clusters[node] = n_observations + len(merges) + len(rows), left[1] + right[1]
        first, second = sorted((left[0], right[0]))
        rows.append((first, second, height[node], left[1] + right[1]))
    return np.concatenate([merges, np.reshape(rows, (len(rows), 4))])
