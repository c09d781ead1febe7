"""Which samples the nodes of a level are evaluated for: all, or those that matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Allocation", "Everyone", "Slots", "allocate"]


@dataclass(frozen=True)
class Everyone:
    """A level whose nodes are all evaluated for all samples.

    Parameters
    ----------
    parent : Tensor of int of shape (n_nodes,)
        Positions of the nodes' parents in the level above; empty for the root.
    """

    parent: Tensor

    def of(self, values: Tensor) -> Tensor:
        """Hand (batch, ...) to the nodes, which all take the same."""
        return values

    def pass_down(self, values: Tensor) -> Tensor:
        """Hand what the parents have, (n_parents, batch, ...), to their children."""
        return values.index_select(0, self.parent)

    def pick(self, values: Tensor, nodes: Tensor) -> Tensor:
        """Pick the values of some nodes, which (len(nodes), batch) are given for."""
        return values


@dataclass(frozen=True)
class Slots:
    """A level whose nodes are evaluated for some samples, in as many slots each.

    Parameters
    ----------
    sample : Tensor of int of shape (n_nodes, n_slots)
        Who is where. An empty slot repeats sample 0, with a weight of 0.
    above : Tensor of int of shape (n_nodes * n_slots,)
        The slot of the same sample at the parent, among all of the level above.
    """

    sample: Tensor
    above: Tensor

    def of(self, values: Tensor) -> Tensor:
        """Hand (batch, ...) to the nodes: (n_nodes, n_slots, ...)."""
        rows = values.index_select(0, self.sample.flatten())
        return rows.unflatten(0, self.sample.shape)

    def pass_down(self, values: Tensor) -> Tensor:
        """Hand what the parents have, (n_parents, n_slots, ...), to their children."""
        rows = values.flatten(0, 1).index_select(0, self.above)
        return rows.unflatten(0, self.sample.shape)

    def pick(self, values: Tensor, nodes: Tensor) -> Tensor:
        """Pick the values of some nodes, which (len(nodes), batch) are given for."""
        return values.gather(1, self.sample.index_select(0, nodes))


@dataclass(frozen=True)
class Allocation:
    """The slots of all levels, and the leaves among them.

    Parameters
    ----------
    levels : list of Slots
        Those of each level, from the root downwards.
    weights : list of Tensor of shape (n_nodes, n_slots)
        Weight of each sample at each node; 0 in empty slots.
    leaf : Tensor of int of shape (n_pairs,)
        Leaf of each pair of a sample and one of its leaves: its position, ascending.
    sample : Tensor of int of shape (n_pairs,)
        Its sample.
    slot : Tensor of int of shape (n_pairs,)
        Its slot, among those of all levels.
    """

    levels: list[Slots]
    weights: list[Tensor]
    leaf: Tensor
    sample: Tensor
    slot: Tensor


def allocate(
    weight: Tensor, level_sizes: Sequence[int], parent: Tensor, leaves: Tensor
) -> Allocation:
    """Give every sample a slot at each node where it has a weight.

    The nodes of a level have as many slots as the one with most samples needs: they
    are evaluated together, and small ones cost little.

    Parameters
    ----------
    weight : Tensor of shape (n_nodes, batch)
        Weight of each sample at each node. Where a node has one, so has its parent.
    level_sizes : sequence of int
        Nodes of each level.
    parent : Tensor of int of shape (n_nodes,)
        Parent of each node; of the root, any.
    leaves : Tensor of int of shape (n_leaves,)
        The leaves, ascending.
    """
    sizes = torch.tensor(level_sizes)
    node, sample = weight.nonzero(as_tuple=True)
    n_pairs = node.bincount(minlength=len(weight))
    # The host has to know these: shapes depend on them.
    most = torch.stack([n.max() for n in n_pairs.cpu().split(list(level_sizes))])
    n_slots, begin = most * sizes, most.repeat_interleave(sizes).cumsum(0)
    begin = (begin - most.repeat_interleave(sizes)).to(node.device)
    level_begin = (n_slots.cumsum(0) - n_slots).repeat_interleave(sizes)
    rank = torch.arange(len(node), device=node.device)
    rank = rank - (n_pairs.cumsum(0) - n_pairs).index_select(0, node)
    slot = begin.index_select(0, node) + rank

    slots = slot.new_zeros(weight.shape)
    slots[node, sample] = slot
    node_above = parent.index_select(0, node)
    above = slots[node_above, sample]
    above = above - level_begin.to(node.device).index_select(0, node_above)

    def fill(values: Tensor) -> Sequence[Tensor]:
        filled = values.new_zeros(int(n_slots.sum())).index_copy(0, slot, values)
        return filled.split(n_slots.tolist())

    shapes = list(zip(level_sizes, most.tolist(), strict=True))
    levels = [
        Slots(who.view(shape), where)
        for who, where, shape in zip(fill(sample), fill(above), shapes, strict=True)
    ]
    weights = [
        values.view(shape)
        for values, shape in zip(fill(weight[node, sample]), shapes, strict=True)
    ]
    position = node.new_full((len(weight),), -1)
    position[leaves] = torch.arange(len(leaves), device=node.device)
    leaf = position.index_select(0, node)
    ends = leaf >= 0
    return Allocation(levels, weights, leaf[ends], sample[ends], slot[ends])
