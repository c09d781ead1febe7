"""Random trees and models for hypothesis."""

import torch
from hypothesis import strategies as st

from sktreevae.model import Topology, TreeVAE


@st.composite
def topologies(draw, max_changes=7):
    """Grow and prune a tree at random."""
    tree = Topology.single_leaf()
    for _ in range(draw(st.integers(0, max_changes))):
        leaf = draw(st.sampled_from(tree.leaves))
        prune = len(tree.leaves) > 1 and draw(st.integers(0, 3)) == 0
        tree = (tree.prune(leaf) if prune else tree.split(leaf)).topology
    return tree


def balanced(depth):
    """Return the complete tree of a depth."""
    return Topology((-1, *((i - 1) // 2 for i in range(1, 2 ** (depth + 1) - 1))))


def caterpillar(n_leaves):
    """Return the deepest tree with so many leaves."""
    tree = Topology.single_leaf()
    for _ in range(n_leaves - 1):
        tree = tree.split(tree.leaves[-1]).topology
    return tree


def make_model(tree, n_features=5, *, seed=0, scale=1.0, **config):
    """Return a small float64 model whose parameters are all away from their start."""
    generator = torch.Generator().manual_seed(seed)
    config = {"hidden_dim": 6, "latent_dim": 3, "n_steps": 2, **config}
    model = TreeVAE(tree, n_features, generator=generator, **config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator).double()
            parameter.add_(0.3 * scale * noise)
        data = 2.0 + 3.0 * torch.rand(20, n_features, generator=generator)
        model.bottom_up.standardise(data.double())
    return model
