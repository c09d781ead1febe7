import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.model import Topology
from sktreevae.training.heights import sum_divergences

from ..model.strategies import topologies


def test_branches_are_mixtures_of_their_leaves():
    labels = np.array([2, 2, 0, 0, 1])
    density = np.array(
        [
            [0.1, 0.2, 0.9],
            [0.1, 0.3, 0.8],
            [0.5, 0.4, 0.1],
            [0.6, 0.2, 0.1],
            [0.3, 0.4, 0.1],
        ]
    )
    # Leaves 0 and 1 are the children of node 1, and leaf 2 is a child of the root.
    tree = Topology((-1, 0, 0, 1, 1))
    height = sum_divergences(tree, np.log(density), labels, np.bincount(labels))
    below = labels < 2
    # Shares are those of one sample more in each leaf.
    ratio = np.log(density[:, :2] @ [0.6, 0.4]) - np.log(density[:, 2])
    expected = ratio[below].mean() - ratio[~below].mean()
    assert height[0] - height[1] == pytest.approx(expected)
    # Of two leaves, the height is the Jeffreys divergence.
    ratio = np.log(density[:, 0] / density[:, 1])
    expected = ratio[labels == 0].mean() - ratio[labels == 1].mean()
    assert height[1] == pytest.approx(expected)
    assert (height[2:] == 0).all()


@given(topologies(), st.integers(0, 99))
def test_heights_never_fall_towards_the_root(tree, seed):
    rng = np.random.default_rng(seed)
    n_leaves = len(tree.leaves)
    labels = rng.integers(n_leaves, size=30)
    leaf_elbo = rng.standard_normal((30, n_leaves))
    counts = np.bincount(labels, minlength=n_leaves)
    height = sum_divergences(tree, leaf_elbo, labels, counts)
    assert all(height[tree.parent[i]] >= height[i] for i in range(1, tree.n_nodes))
    assert all(height[leaf] == 0 for leaf in tree.leaves)
