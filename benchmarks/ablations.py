"""What the paper leaves open: a table for each question.

    python benchmarks/ablations.py --data-dir DIR

"leaf_decoders" gives leaves nothing in common, or all, beside a read-out.
"views" weighs the contrastive losses differently, with their temperature and with the
strength of the variants: what does it do to clusters, density and samples?
"split_criterion" grows trees of the digits iteratively, by each of the criteria.
"no_hierarchy" fits a Gaussian without clusters: how many does ``n_clusters=None`` find,
and what do the heights, and the warning, say of ten? The digits are beside it.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

# Small networks crawl where idle threads wait busily; must be set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from generation import auroc, count_parameters
from quality import Data, fit_tree_vae, load
from records import publish, summary
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score
from structure import isotropic
from torch import Tensor, nn

from sktreevae import TreeVAEClustering
from sktreevae.metrics import clustering_accuracy, dendrogram_purity
from sktreevae.model import ImageLayout, networks
from sktreevae.model.decoders import LeafDecoders
from sktreevae.model.layers import mlp
from sktreevae.model.networks import ConvReadout
from sktreevae.training import GuidedGrowth, ImageViews

N_CLUSTERS = 10
MAX_ITER = 8
HIDDEN_DIM = 128
N_SAMPLES = 3000


class OneForAll(LeafDecoders):
    """One decoder for all leaves, without constants of their own."""

    def __init__(self, *widths: int, n_leaves: int = 1, **options) -> None:
        super().__init__(*widths[:3], n_leaves=1, **options)

    def forward(self, z: Tensor) -> Tensor:
        """Map (n_leaves, batch, in) to (n_leaves, batch, out)."""
        return super().forward(z.flatten(0, 1)[None]).unflatten(1, z.shape[:2])[0]

    def forward_groups(self, z: Tensor, sizes: list[int]) -> Tensor:
        """Map rows, whatever their leaves."""
        return super().forward(z[None])[0]

    def start(self, leaf: int, output: Tensor) -> None:
        """Begin anywhere: leaves have no means of their own."""


def whole_decoder(latent_dim: int, n_features: int) -> nn.Module:
    """Return a network like that of a leaf, with a read-out of its own."""
    seed = torch.randint(2**31, ()).item()
    generator = torch.Generator().manual_seed(seed)
    layers = mlp((latent_dim, HIDDEN_DIM, 2 * HIDDEN_DIM), generator=generator)
    layout = ImageLayout.of((28, 28))
    return nn.Sequential(
        layers, ConvReadout(layout, 2 * HIDDEN_DIM, generator=generator)
    )


def quality(model: TreeVAEClustering, data: Data) -> tuple[float, ...]:
    """Return DP, ACC, ELBO and AUROC, by the test part."""
    labels = model.predict(data.X_test)
    return (
        dendrogram_purity(data.y_test, model.dendrogram_, labels),
        clustering_accuracy(data.y_test, labels),
        model.score(data.X_test),
        auroc(model, data.X_test[:N_SAMPLES]),
    )


def summaries(found: list[tuple[float, ...]]) -> list[str]:
    """Return a cell for each of the columns of `quality`."""
    digits = (3, 3, 1, 3, 0)
    columns = zip(zip(*found, strict=True), digits, strict=False)
    return [summary(list(values), digits) for values, digits in columns]


def leaf_decoders(seeds: list[int], data_dir: Path) -> list[list[str]]:
    """Compare what leaves may have in common in their decoders."""
    rows = [["decoders", "parameters", "DP", "ACC", "ELBO", "AUROC", "CPU-s"]]
    data = load("mnist-10k-images", data_dir)
    for name, decoders, options in (
        ("hidden layers of their own, one read-out", LeafDecoders, {}),
        ("nothing in common", LeafDecoders, {"decoder": whole_decoder}),
        ("one for all", OneForAll, {}),
    ):
        found = []
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(networks, "LeafDecoders", decoders))
            if decoders is OneForAll:  # pruning would look for those of each leaf
                stack.enter_context(mock.patch.object(GuidedGrowth, "prune"))
            for seed in seeds:
                start = time.process_time()
                model = fit_tree_vae(
                    data, N_CLUSTERS, seed, max_iter=MAX_ITER, **options
                )
                seconds = time.process_time() - start
                found.append((*quality(model, data), seconds))
        n_parameters = count_parameters(model.module_)
        rows.append([name, str(n_parameters), *summaries(found)])
    return rows


def views(seeds: list[int], data_dir: Path) -> list[list[str]]:
    """Vary the contrastive losses, one thing at a time."""
    # The length of a fit by default: there are nine settings for each seed.
    rows = [["data", "weight", "temperature", "strength", "DP", "ACC", "ELBO", "AUROC"]]
    settings = [(0, 0.5, 0)]  # no views
    settings += [(weight, 0.5, 1) for weight in (1, 10, 100, 1000)]
    settings += [(10, temperature, 1) for temperature in (0.1, 2.0)]
    settings += [(10, 0.5, strength) for strength in (0.5, 2)]
    for name in ("mnist-5k-images", "cifar-5k-images"):
        data = load(name, data_dir)
        for weight, temperature, strength in settings:
            found = []
            for seed in seeds:
                variants = None
                if strength:
                    variants = ImageViews(data.image_shape, 0.0, 1.0, strength)
                model = fit_tree_vae(
                    data,
                    N_CLUSTERS,
                    seed,
                    views=variants,
                    contrastive_weight=weight,
                    temperature=temperature,
                )
                found.append(quality(model, data))
            setting = (weight, temperature, strength) if strength else ("none", "", "")
            rows.append([name, *map(str, setting), *summaries(found)])
    return rows


def split_criterion(seeds: list[int], data_dir: Path) -> list[list[str]]:
    """Compare the criteria by labels, which none of them sees, and by the ELBO."""
    rows = [["criterion", "DP", "ACC", "NMI", "ELBO"]]
    data = load("digits", data_dir)
    for criterion in ("n_samples", "reconstruction", "elbo"):
        found = []
        for seed in seeds:
            model = fit_tree_vae(
                data, N_CLUSTERS, seed, growth="iterative", split_criterion=criterion
            )
            found.append(
                (
                    dendrogram_purity(data.y_train, model),
                    clustering_accuracy(data.y_train, model.labels_),
                    normalized_mutual_info_score(data.y_train, model.labels_),
                    model.score(data.X),
                )
            )
        cells = zip(zip(*found, strict=True), (3, 3, 3, 1), strict=True)
        rows.append([criterion, *(summary(list(v), digits) for v, digits in cells)])
    return rows


def no_hierarchy(seeds: list[int], data_dir: Path) -> list[list[str]]:
    """Fit data without a tree, and data with one."""
    rows = [["data", "seed", "found", "lowest height", "highest", "warning at 10"]]
    for seed in seeds:
        gaussian = isotropic(np.random.default_rng(seed), 10)
        for name, X in (("one Gaussian", gaussian), ("digits", load_digits().data)):
            free = TreeVAEClustering(None, max_iter=1, random_state=seed).fit(X)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                model = TreeVAEClustering(N_CLUSTERS, random_state=seed).fit(X)
            heights = model.linkage_matrix_[:, 2]
            said = "; ".join(str(w.message).partition(":")[0] for w in caught)
            rows.append(
                [
                    name,
                    str(seed),
                    str(free.n_clusters_),
                    f"{heights[0]:.1f}",
                    f"{heights[-1]:.1f}",
                    said or "none",
                ]
            )
    return rows


ABLATIONS: dict[str, Callable[[list[int], Path], list[list[str]]]] = {
    "leaf_decoders": leaf_decoders,
    "views": views,
    "split_criterion": split_criterion,
    "no_hierarchy": no_hierarchy,
}


def main() -> None:
    """Print the tables that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--only", nargs="+", choices=ABLATIONS, default=list(ABLATIONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.only:
        print(f"\n{name}\n")
        publish(ABLATIONS[name](arguments.seeds, arguments.data_dir))


if __name__ == "__main__":
    main()
