"""Changes of a tree that keep the parameters of the remaining nodes."""

from __future__ import annotations

import copy

import torch
from torch import nn

from .layers import LeafNetworks
from .topdown import TopDown
from .topology import Restructuring, Topology


def new_split(top_down: TopDown, generator: torch.Generator) -> TopDown:
    """Return a root and two leaves, to be trained alone and attached to a leaf.

    Modules that all leaves share are frozen copies of those of the tree.

    Parameters
    ----------
    top_down : TopDown
        The tree.
    generator : torch.Generator
        Source of the initial weights.
    """
    split = TopDown(Topology.stump(), top_down.config, generator=generator)
    split.to(next(top_down.parameters()))
    for name in top_down.decoders.shared:
        shared = copy.deepcopy(getattr(top_down.decoders, name))
        setattr(split.decoders, name, shared.requires_grad_(False))
    return split


def attach(top_down: TopDown, leaf: int, split: TopDown) -> TopDown:
    """Return the tree with a root and two leaves in place of a leaf.

    The leaf keeps its latent variable and loses its decoder. Its routers, and all
    parameters of its children, come from `split`.

    Parameters
    ----------
    top_down : TopDown
        The tree.
    leaf : int
        Position in `topology.leaves`.
    split : TopDown
        A result of `new_split`.
    """
    return _restructure(top_down, top_down.topology.split_leaf(leaf), split)


def prune(top_down: TopDown, leaf: int) -> TopDown:
    """Return the tree without a leaf, its decoder and its parent's decision.

    Parameters
    ----------
    top_down : TopDown
        The tree.
    leaf : int
        Position in `topology.leaves`.
    """
    return _restructure(top_down, top_down.topology.prune(leaf), top_down)


def _restructure(top_down: TopDown, change: Restructuring, added: TopDown) -> TopDown:
    """Gather the stacked parameters of a tree and of added nodes in a new order."""
    rows = _source_rows(top_down.topology, change)
    shared = tuple(f"decoders.{name}." for name in top_down.decoders.shared)
    added_state = added.state_dict()
    state = {}
    for name, value in top_down.state_dict().items():
        if name.startswith("decoders.networks."):
            continue
        if not name.startswith(shared):
            module = name.partition(".")[0]
            value = torch.cat([value, added_state[name]])[rows[module]]
        state[name] = value
    result = TopDown(change.topology, top_down.config, generator=torch.Generator())
    result.to(next(top_down.parameters()))
    if isinstance(top_down.decoders, LeafNetworks):
        networks = [*top_down.decoders.networks, *added.decoders.networks]
        result.decoders.networks = nn.ModuleList(
            copy.deepcopy(networks[leaf]) for leaf in rows["decoders"]
        )
        state |= result.decoders.networks.state_dict(prefix="decoders.networks.")
    result.load_state_dict(state)
    return result


def _source_rows(old: Topology, change: Restructuring) -> dict[str, list[int]]:
    """Return the source of the rows of each module's stacked parameters.

    Rows are counted in the parameters of the old tree, followed by those of the added
    nodes. If there are any, they are the two children and the split above them.
    """
    tree, source = change.topology, change.source
    # Nodes are counted without the root, which has no heads.
    added_nodes = iter(range(old.n_nodes - 1, old.n_nodes + 1))
    nodes = [s - 1 if s >= 0 else next(added_nodes) for s in source[1:]]
    added_leaves = iter(range(len(old.leaves), len(old.leaves) + 2))
    leaves = [
        old.leaves.index(source[i]) if source[i] >= 0 else next(added_leaves)
        for i in tree.leaves
    ]
    splits = [
        old.splits.index(source[i]) if source[i] in old.splits else len(old.splits)
        for i in tree.splits
    ]
    return {
        "heads": nodes,
        "transformations": nodes,
        "q_routers": splits,
        "p_routers": splits,
        "decoders": leaves,
        "likelihood": leaves,
    }
