"""Selection of the (sample, node) pairs that a sparse ELBO evaluates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .precision import no_autocast
from .tree_index import TreeIndex

MIN_LEAF_PROB = 0.01
"""Leaves with a smaller probability, relative to the most probable one, are skipped."""


@dataclass(frozen=True)
class DenseLevel:
    """A level whose nodes are evaluated for all samples.

    Parameters
    ----------
    parents : Tensor of int of shape (n_nodes,)
        Position of each node's parent in the level above; empty for the root.
    """

    parents: Tensor

    def gather(self, values: Tensor) -> Tensor:
        """Give each node the values of its samples: (batch, ...) for all nodes."""
        return values

    def pass_down(self, values: Tensor) -> Tensor:
        """Give each node the values of its parent, (n_parents, batch, ...)."""
        return values.index_select(0, self.parents)

    def select(self, values: Tensor, nodes: Tensor) -> Tensor:
        """Select the samples of each of `nodes` from values (len(nodes), batch)."""
        return values


@dataclass(frozen=True)
class SparseLevel:
    """A level whose nodes are evaluated for a subset of the samples each.

    All nodes of the level have the same number of slots.

    Parameters
    ----------
    sample : Tensor of int of shape (n_nodes, n_slots)
        Index of the sample in each slot. Unused slots hold sample 0 with weight 0.
    parent_slot : Tensor of int of shape (n_nodes * n_slots,)
        Slot of the same sample at the parent, among all slots of the level above.
    """

    sample: Tensor
    parent_slot: Tensor

    def gather(self, values: Tensor) -> Tensor:
        """Give each node the values of its samples: (n_nodes, n_slots, ...)."""
        rows = values.index_select(0, self.sample.flatten())
        return rows.unflatten(0, self.sample.shape)

    def pass_down(self, values: Tensor) -> Tensor:
        """Give each node the values of its parent, (n_parents, n_slots, ...)."""
        rows = values.flatten(0, 1).index_select(0, self.parent_slot)
        return rows.unflatten(0, self.sample.shape)

    def select(self, values: Tensor, nodes: Tensor) -> Tensor:
        """Select the samples of each of `nodes` from values (len(nodes), batch)."""
        return values.gather(1, self.sample.index_select(0, nodes))


@dataclass(frozen=True)
class SparsePlan:
    """The slots of all levels, and the pairs of a sample and a leaf among them.

    Parameters
    ----------
    levels : list of SparseLevel
        The slots of each level, from the root down.
    weights : list of Tensor of shape (n_nodes, n_slots)
        Probability of each sample at each node; 0 in unused slots.
    leaf : Tensor of int of shape (n_pairs,)
        Leaf of each pair, in ascending order; then by sample.
    sample : Tensor of int of shape (n_pairs,)
        Sample of each pair.
    slot : Tensor of int of shape (n_pairs,)
        Slot of each pair, among the slots of all levels.
    """

    levels: list[SparseLevel]
    weights: list[Tensor]
    leaf: Tensor
    sample: Tensor
    slot: Tensor


def select_leaves(
    leaf_log_proba: Tensor, max_leaves: int, min_leaf_prob: float = MIN_LEAF_PROB
) -> Tensor:
    """Return probabilities of the leaves, restricted to the most probable ones.

    Parameters
    ----------
    leaf_log_proba : Tensor of shape (n_leaves, batch)
        log P(l | x).
    max_leaves : int
        Maximum number of leaves per sample.
    min_leaf_prob : float, default=0.01
        Leaves with a smaller probability are skipped, relative to the sample's most
        probable leaf.

    Returns
    -------
    leaf_weight : Tensor of shape (n_leaves, batch)
        Probabilities that sum to 1 for each sample; 0 for the leaves that are skipped.
    """
    n_kept = min(max_leaves, len(leaf_log_proba))
    best, leaves = leaf_log_proba.topk(n_kept, dim=0)
    skipped = best < best[0] + math.log(min_leaf_prob)
    proba = best.masked_fill(skipped, -torch.inf).softmax(0)
    return torch.zeros_like(leaf_log_proba).scatter(0, leaves, proba)


def plan(leaf_weight: Tensor, index: TreeIndex) -> SparsePlan:
    """Assign a slot to each sample at every node on the path to one of its leaves.

    All nodes of a level have as many slots as the largest node of the level needs,
    because they are evaluated together.

    Parameters
    ----------
    leaf_weight : Tensor of shape (n_leaves, batch)
        Probabilities of each sample's leaves; see `select_leaves`.
    index : TreeIndex
        The tree.
    """
    with no_autocast(leaf_weight):
        weight = index.ancestry @ leaf_weight
    node, sample = weight.nonzero(as_tuple=True)
    slot, level_begin, shapes = _assign_slots(node, len(weight), index.level_sizes)

    slot_table = slot.new_zeros(weight.shape)
    slot_table[node, sample] = slot
    parent = index.parent.index_select(0, node)
    parent_slot = slot_table[parent, sample] - level_begin.index_select(0, parent)

    def by_level(values: Tensor) -> Sequence[Tensor]:
        """Put the values of the pairs into their slots."""
        sizes = [n_nodes * n_slots for n_nodes, n_slots in shapes]
        return values.new_zeros(sum(sizes)).index_copy(0, slot, values).split(sizes)

    levels = [
        SparseLevel(samples.view(shape), parent_slots)
        for samples, parent_slots, shape in zip(
            by_level(sample), by_level(parent_slot), shapes, strict=True
        )
    ]
    weights = [
        values.view(shape)
        for values, shape in zip(by_level(weight[node, sample]), shapes, strict=True)
    ]
    leaf_of_node = node.new_full((len(weight),), -1)
    leaf_of_node[index.leaves] = torch.arange(len(index.leaves), device=node.device)
    leaf = leaf_of_node.index_select(0, node)
    # Decoders are applied to rows that are sorted by leaf; pairs are sorted by node.
    at_leaf = (leaf >= 0).nonzero().squeeze(1)
    leaf, order = leaf[at_leaf].sort(stable=True)
    at_leaf = at_leaf[order]
    return SparsePlan(levels, weights, leaf, sample[at_leaf], slot[at_leaf])


def _assign_slots(
    node: Tensor, n_nodes: int, level_sizes: Sequence[int]
) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    """Assign a slot to each pair of a sample and a node.

    Parameters
    ----------
    node : Tensor of int of shape (n_pairs,)
        Node of each pair, in ascending order.
    n_nodes : int
        Number of nodes.
    level_sizes : sequence of int
        Number of nodes of each level.

    Returns
    -------
    slot : Tensor of int of shape (n_pairs,)
        Slot of each pair.
    level_begin : Tensor of int of shape (n_nodes,)
        First slot of each node's level.
    shapes : list of (int, int)
        Number of nodes, and number of slots of each node, by level.
    """
    sizes = torch.tensor(level_sizes)
    n_pairs = node.bincount(minlength=n_nodes)
    # Shapes depend on these numbers, so they have to be on the host.
    n_slots = torch.stack([n.max() for n in n_pairs.cpu().split(list(level_sizes))])
    level_sums = n_slots * sizes
    level_begin = (level_sums.cumsum(0) - level_sums).repeat_interleave(sizes)
    node_slots = n_slots.repeat_interleave(sizes)
    node_begin = (node_slots.cumsum(0) - node_slots).to(node.device)
    rank = torch.arange(len(node), device=node.device)
    rank = rank - (n_pairs.cumsum(0) - n_pairs).index_select(0, node)
    slot = node_begin.index_select(0, node) + rank
    shapes = list(zip(level_sizes, n_slots.tolist(), strict=True))
    return slot, level_begin.to(node.device), shapes
