"""Share of unseen samples that the model assigns to their cluster in the graph.

    python benchmarks/generalization.py --data-dir DIR

The graph proposes clusters of all samples, and the model is trained on four fifths of
them: with and without noise on the encoder's input, and with and without the router
initialization. The agreement is the share of the other fifth that the model assigns to
their cluster in the graph. It needs no labels. The NMI with the classes and the ELBO in
nats are those of the held-out fifth, too. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from quality import Data, load
from sklearn.metrics import normalized_mutual_info_score

from sktreevae.data import DataOptions, TrainingData
from sktreevae.graph import NeighborGraph, Proposal
from sktreevae.model import ModelConfig, Topology, TreeVAE
from sktreevae.training.growth import GrowthOptions
from sktreevae.training.guided import GuidedGrowth, RouterPhase
from sktreevae.training.state import Generators
from sktreevae.training.trainer import Trainer, TrainingOptions


class _Unpruned(GuidedGrowth):
    """Keeps every leaf, so that each leaf stands for a cluster of the proposal."""

    def prune(self) -> bool:
        return False


class _Unstarted(_Unpruned):
    """Trains no routers alone."""

    def _router_phase(self) -> RouterPhase:
        return replace(super()._router_phase(), max_steps=0)


def train(
    data: TrainingData,
    proposal: Proposal,
    growth_class: type[GuidedGrowth],
    generator: torch.Generator,
) -> TreeVAE:
    """Train a model of a proposal, without pruning."""
    n_leaves = len(proposal.tree.merges) + 1
    config = ModelConfig(
        n_features=data.samples.n_features,
        likelihood=data.likelihood,
        bottom_up_depth=math.ceil(math.log2(n_leaves)),
    )
    options = GrowthOptions(n_leaves)
    with Trainer(TrainingOptions(), Generators(generator)) as trainer:
        growth = growth_class(data, config, options, trainer, proposal=proposal)
        return trainer.fit(growth, lambda tree: tree.model)


def evaluate(
    data: Data, n_leaves: int, seed: int, *, noise: bool, router_start: bool
) -> tuple[float, float, float]:
    """Return agreement, NMI and the mean ELBO in nats of the held-out fifth."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    options = DataOptions(image_shape=data.image_shape)
    prepared = TrainingData.prepare(data.X, options, torch.Generator(), rng)
    samples, features = prepared.samples, prepared.features
    proposal = NeighborGraph(features, generator, n_leaves).propose(n_leaves)
    order = torch.from_numpy(rng.permutation(len(samples)))
    test, rest = order.tensor_split([len(order) // 5])
    model = train(
        replace(prepared, train=rest, validation=test[:0]),
        replace(
            proposal,
            cluster=proposal.cluster[rest],
            proba=proposal.proba[rest],
            spacing=noise * proposal.spacing[rest],
        ),
        _Unpruned if router_start else _Unstarted,
        generator,
    )
    # The source of a leaf is its cluster in the proposal.
    change = Topology.from_merges(proposal.tree.merges.tolist())
    clusters = np.array([change.source[node] for node in change.topology.leaves])
    with torch.no_grad():
        cluster = clusters[model.assign_leaves(features[test]).numpy()]
        bounds = [
            model.elbo(samples[index], model.sample_noise(len(index), generator)).elbo()
            for index in test.split(500)
        ]
    agreement = np.mean(cluster == proposal.cluster[test].numpy())
    nmi = normalized_mutual_info_score(data.y_train[test], cluster)
    return agreement, nmi, torch.cat(bounds).mean().item()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument(
        "--datasets",
        nargs="+",
        default=["digits:10", "omniglot-images:20", "news:20", "mnist-10k:10"],
        help="names, as in quality.py, and numbers of leaves",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| data | leaves | noise | router start | agreement | NMI | ELBO |")
    print("|---|---|---|---|---|---|---|")
    for dataset in arguments.datasets:
        name, n_leaves = dataset.split(":")
        data = load(name, arguments.data_dir)
        for noise, start in product((False, True), (False, True)):
            runs = [
                evaluate(data, int(n_leaves), seed, noise=noise, router_start=start)
                for seed in arguments.seeds
            ]
            agreement, nmi, elbo = np.mean(runs, axis=0)
            print(
                f"| {name} | {n_leaves} | {'yes' if noise else 'no'} | "
                f"{'yes' if start else 'no'} | {agreement:.3f} "
                f"±{np.std([run[0] for run in runs]):.3f} | {nmi:.3f} | {elbo:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
