"""Random trees and models for hypothesis."""

import torch
from hypothesis import strategies as st

from sktreevae.model import ModelConfig, Topology, TreeVAE


@st.composite
def topologies(draw, max_changes=7):
    """Grow and prune a tree at random."""
    tree = Topology.single_leaf()
    for _ in range(draw(st.integers(0, max_changes))):
        leaf = draw(st.integers(0, len(tree.leaves) - 1))
        prune = len(tree.leaves) > 1 and draw(st.integers(0, 3)) == 0
        tree = (tree.prune(leaf) if prune else tree.split_leaf(leaf)).topology
    return tree


def balanced(depth):
    """Return the complete tree of a depth."""
    return Topology((-1, *((i - 1) // 2 for i in range(1, 2 ** (depth + 1) - 1))))


def caterpillar(n_leaves):
    """Return the deepest tree with so many leaves."""
    tree = Topology.single_leaf()
    for _ in range(n_leaves - 1):
        tree = tree.split_leaf(len(tree.leaves) - 1).topology
    return tree


def make_model(tree, n_features=5, *, seed=0, scale=1.0, **config):
    """Return a small float64 model whose parameters are all away from their start."""
    generator = torch.Generator().manual_seed(seed)
    config = {"hidden_dim": 6, "latent_dim": 3, "bottom_up_depth": 2, **config}
    config = ModelConfig.create(n_features=n_features, **config)
    model = TreeVAE(tree, config, generator=generator).double()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator).double()
            parameter.add_(0.3 * scale * noise)
        data = 2.0 + 3.0 * torch.rand(20, n_features, generator=generator)
        model.bottom_up.standardize(data.double())
    return model


IMAGE = (16, 17)


class WithBuffer(torch.nn.Linear):
    """A custom decoder or encoder with a buffer."""

    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.register_buffer("shift", torch.randn(n_out))

    def forward(self, x):
        return super().forward(x) + self.shift


NETWORKS = ["cnn", "resnet", WithBuffer]


def make_image_model(tree, kind, **config):
    """Return a model of images of 16 times 17 pixels."""
    return make_model(
        tree, 16 * 17, encoder=kind, decoder=kind, image_shape=IMAGE, **config
    )


def make_data(n, generator, n_features=5):
    """Return float64 data between 0 and 1."""
    return torch.rand(n, n_features, generator=generator, dtype=torch.float64)


def infer(model, x, noise=None):
    """Return the posterior of a batch."""
    return model.posterior(model.encode(x), noise)


def leaf_log_proba(model, x):
    """Return log P(l | x), (n_leaves, batch)."""
    return model.route(model.encode(x).embeddings).leaf_log_proba
