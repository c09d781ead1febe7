"""How well the model carries the graph's clusters over to samples it hasn't seen.

    python benchmarks/generalisation.py --data-dir DIR

The graph proposes clusters of all samples, and the model is trained on four fifths of
them: with and without noise on what the encoder sees, with and without a start of the
routers alone. Agreement is the share of the other fifth that goes where the graph put
it, which needs no labels; NMI with the classes and the bound in nats are shown beside
it. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import math
import os
from itertools import product
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from quality import Data, load
from sklearn.metrics import normalized_mutual_info_score

from sktreevae.features import fit_feature_map
from sktreevae.model import Topology
from sktreevae.preprocessing import resolve_likelihood, standardisation
from sktreevae.training import (
    GraphClustering,
    GrowthOptions,
    GuidedGrowth,
    History,
    LoopOptions,
    Samples,
    guiding,
    proposals,
)


def evaluate(data: Data, n_leaves: int, seed: int, *, noise: bool, start: bool):
    """Return agreement, NMI and the mean bound in nats of the held-out fifth."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    likelihood = resolve_likelihood(data.X, "auto")
    scaling = standardisation(data.X, likelihood, data.image_shape is not None)
    samples = Samples(data.X, *scaling)
    feature_map = fit_feature_map(data.X, samples, *scaling, data.image_shape, rng)
    features = samples.map(feature_map)
    hierarchy = GraphClustering(features, generator, n_leaves).hierarchy(n_leaves)
    order = torch.from_numpy(rng.permutation(len(samples)))
    test, train = order.tensor_split([len(order) // 5])
    growth = GuidedGrowth(
        samples,
        features,
        train,
        train[:0],
        networks={
            "n_features": samples.n_features,
            "likelihood": likelihood,
            "feature_map": feature_map,
            "n_steps": math.ceil(math.log2(n_leaves)),
        },
        growth=GrowthOptions(n_leaves, None, "n_samples", 0.0),
        options=LoopOptions(6, 256, 2e-3, 1e-5, 3, 1e-2),
        generator=generator,
        history=History(),
    )
    proposal = proposals.Hierarchy(
        hierarchy.cluster[train], hierarchy.merges, noise * hierarchy.spacing[train]
    )
    n_steps = guiding.N_ROUTER_STEPS if start else 0
    with (
        mock.patch.object(guiding, "N_ROUTER_STEPS", n_steps),
        # Every leaf stays, so that it can be told which cluster it stands for.
        mock.patch.object(GuidedGrowth, "prune"),
    ):
        model = growth.grow(proposal).eval()
    change = Topology.from_merges(hierarchy.merges.tolist())
    cluster_of_leaf = np.array([change.source[i] for i in change.topology.leaves])
    with torch.no_grad():
        leaf = model.route_from(features[test]).argmax(0)
        bounds = [
            model.elbo(samples[i], model.draw_noise(len(i), generator)).elbo()
            for i in test.split(500)
        ]
    cluster = cluster_of_leaf[leaf]
    agreement = np.mean(cluster == hierarchy.cluster[test].numpy())
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
                evaluate(data, int(n_leaves), seed, noise=noise, start=start)
                for seed in arguments.seeds
            ]
            agreement, nmi, elbo = np.mean(runs, axis=0)
            print(
                f"| {name} | {n_leaves} | {'yes' if noise else 'no'} | "
                f"{'yes' if start else 'no'} | {agreement:.3f} "
                f"±{np.std([r[0] for r in runs]):.3f} | {nmi:.3f} | {elbo:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
