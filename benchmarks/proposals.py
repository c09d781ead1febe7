"""Iterative growth with and without proposed splits, and without the routing loss.

    python benchmarks/proposals.py

grows ten leaves on scikit-learn's digits, divided by 16, for each seed, and prints a
Markdown table.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from sktreevae.data import DataOptions, TrainingData
from sktreevae.estimator.attributes import build_dendrogram, leaf_statistics
from sktreevae.graph import NeighborGraph
from sktreevae.metrics import dendrogram_purity
from sktreevae.model import ModelConfig
from sktreevae.training.growth import GrowthOptions
from sktreevae.training.iterative import IterativeGrowth
from sktreevae.training.state import Generators
from sktreevae.training.trainer import Trainer, TrainingOptions
from sktreevae.tree import Dendrogram
from sktreevae.utils.random import make_generator

N_CLUSTERS = 10


class _Unguided(IterativeGrowth):
    """Trains without the routing loss: samples may change leaves from the start."""

    routing_weight = 0.0


class _RandomStart(_Unguided):
    """Initializes routers and leaves from sides that are drawn at random."""

    def _propose_sides(self, graph: NeighborGraph) -> Tensor:
        n_samples = len(super()._propose_sides(graph))
        generator = self.generators.shared
        side = torch.randint(
            2, (n_samples,), generator=generator, device=generator.device
        )
        return torch.stack([1 - side, side], dim=1).float()


VARIANTS = {
    "proposed and guided, the default": IterativeGrowth,
    "proposed, not guided": _Unguided,
    "drawn at random, not guided": _RandomStart,
}


def fit(
    X: np.ndarray, growth_class: type[IterativeGrowth], seed: int, max_iter: int | None
) -> Dendrogram:
    """Grow a tree as `TreeVAEClustering` does, with the same random numbers."""
    generators = Generators(make_generator(seed))
    data = TrainingData.prepare(X, DataOptions(), generators.shared, generators.rng)
    config = ModelConfig(n_features=X.shape[1])
    with Trainer(TrainingOptions(max_iter=max_iter), generators) as trainer:
        growth = growth_class(
            data,
            replace(config, likelihood=data.likelihood),
            GrowthOptions(N_CLUSTERS, growth="iterative"),
            trainer,
        )
        tree = trainer.fit(growth, lambda tree: tree)
        leaves = leaf_statistics(tree.model, data)
        return build_dendrogram(tree.model.topology, tree.height, *leaves)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--max-iter", type=int, help="epochs of each phase; those of a fit by default"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, y = load_digits(return_X_y=True)
    print("| splits | dendrogram purity | leaves |")
    print("|---|---|---|")
    for title, growth_class in VARIANTS.items():
        trees = [
            fit(X / 16, growth_class, seed, arguments.max_iter)
            for seed in arguments.seeds
        ]
        purity = [dendrogram_purity(y, tree) for tree in trees]
        n_leaves = [tree.n_clusters for tree in trees]
        print(
            f"| {title} | {np.mean(purity):.3f} ±{np.std(purity):.3f} "
            f"| {', '.join(map(str, n_leaves))} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
