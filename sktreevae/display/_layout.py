"""Positions of the nodes of a drawn tree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["needed_units", "tidy_positions"]

Floats = NDArray[np.float64]


def tidy_positions(
    children_left: NDArray[np.integer], children_right: NDArray[np.integer]
) -> Floats:
    """Return the horizontal positions of the nodes of a compact binary tree.

    Nodes of the same depth are at least one unit apart, and a parent is above the
    middle of its children. Subtrees are as close to each other as this allows (Reingold
    and Tilford, 1981).

    Parameters
    ----------
    children_left, children_right : ndarray of int of shape (n_nodes,)
        Children of each node, which have larger numbers; -1 for leaves.

    Returns
    -------
    x : ndarray of shape (n_nodes,)
        Positions; the smallest one is 0.

    Examples
    --------
    >>> import numpy as np
    >>> tidy_positions(np.array([1, -1, 3, -1, -1]), np.array([2, -1, 4, -1, -1]))
    array([0.5, 0. , 1. , 0.5, 1.5])
    """
    n_nodes = len(children_left)
    # Distance of each node to the right of its parent.
    offset = np.zeros(n_nodes)
    # Leftmost and rightmost position at each depth below a node, relative to it.
    outlines: dict[int, tuple[Floats, Floats]] = {}
    for node in range(n_nodes - 1, -1, -1):
        left, right = children_left[node], children_right[node]
        if left < 0:
            outlines[node] = (np.zeros(1), np.zeros(1))
            continue
        left_start, left_end = outlines.pop(left)
        right_start, right_end = outlines.pop(right)
        n = min(len(left_start), len(right_start))
        half = (left_end[:n] - right_start[:n]).max() / 2 + 0.5
        offset[left], offset[right] = -half, half
        start = [[0.0], left_start - half, right_start[n:] + half]
        end = [[0.0], right_end + half, left_end[n:] - half]
        outlines[node] = (np.concatenate(start), np.concatenate(end))
    x = np.zeros(n_nodes)
    for node in range(n_nodes):
        for child in (children_left[node], children_right[node]):
            if child >= 0:
                x[child] = x[node] + offset[child]
    return x - x.min()


def needed_units(
    across: Floats, depth: NDArray[np.integer], sizes: Floats, space: Floats
) -> Floats:
    """Return the units of length at which nodes don't overlap.

    Parameters
    ----------
    across : ndarray of shape (n_nodes,)
        Positions of the nodes at their depth, from `tidy_positions`.
    depth : ndarray of int of shape (n_nodes,)
        Depth of each node; all depths from 0 to the largest one occur.
    sizes : ndarray of shape (n_nodes, 2)
        Size of each node across the tree and along its depth.
    space : ndarray of shape (2,)
        Space between nodes of the same depth, and between depths.

    Returns
    -------
    units : ndarray of shape (2,)
        Unit of `across`, and distance between depths.
    """
    order = np.lexsort((across, depth))
    is_neighbor = np.diff(depth[order]) == 0
    distance = np.diff(across[order])[is_neighbor]
    width = sizes[order, 0]
    between = ((width[1:] + width[:-1]) / 2 + space[0])[is_neighbor]
    height = np.zeros(depth.max() + 1)
    np.maximum.at(height, depth, sizes[:, 1])
    return np.array(
        [
            (between / distance).max(initial=0.0),
            ((height[1:] + height[:-1]) / 2 + space[1]).max(initial=0.0),
        ]
    )
