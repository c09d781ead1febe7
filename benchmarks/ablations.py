"""Ablations of choices that the paper leaves open, a table for each.

    python benchmarks/ablations.py --data-dir DIR

"leaf_decoders" compares decoders that share the readout, nothing, or everything.
"views" varies the weight and the temperature of the contrastive losses, and the
strength of the augmentations, and shows clusters, density and samples.
"split_criterion" grows trees of the digits iteratively, by each of the criteria.
"no_hierarchy" fits a Gaussian without clusters, and the digits. It shows the number of
clusters with ``n_clusters=None``, and the heights and the warning with ten.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from generation import auroc, count_parameters
from quality import Data, fit_tree_vae, load
from records import publish, summary
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score
from structure import isotropic
from torch import Tensor, nn

from sktreevae import ImageAugmentation, TreeVAEClustering
from sktreevae.metrics import clustering_accuracy, dendrogram_purity
from sktreevae.model import ImageLayout, ModelConfig
from sktreevae.model.layers import MLP
from sktreevae.model.networks import ConvReadout

N_CLUSTERS = 10
MAX_ITER = 8
HIDDEN_DIM = 128
N_SAMPLES = 3000


class SharedDecoder(nn.Module):
    """One decoder for all leaves, without constants of the leaves.

    Parameters
    ----------
    decoder : Module
        Decoders of a tree of a single leaf.
    n_leaves : int
        Number of leaves.
    """

    shared = ("decoder",)

    def __init__(self, decoder: nn.Module, n_leaves: int) -> None:
        super().__init__()
        self.decoder = decoder
        # Means of leaves are set, and not read.
        self.constant = decoder.constant.detach().repeat(n_leaves, 1, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Map (n_leaves, batch, latent_dim) to (n_leaves, batch, n_features)."""
        return self.decoder(z.flatten(0, 1)[None]).unflatten(1, z.shape[:2])[0]

    def decode(self, z: Tensor, leaf: Tensor) -> Tensor:
        """Decode each row; its leaf doesn't matter."""
        return self.decoder(z[None])[0]


def shared_decoder() -> AbstractContextManager:
    """Return a context in which all leaves of a new model share one decoder."""
    build_decoders = ModelConfig.build_decoders

    def build_shared(
        config: ModelConfig, n_leaves: int, generator: torch.Generator
    ) -> SharedDecoder:
        return SharedDecoder(build_decoders(config, 1, generator), n_leaves)

    # No parameter of the estimator lets leaves share a decoder.
    return mock.patch.object(ModelConfig, "build_decoders", build_shared)


def whole_decoder(latent_dim: int, n_features: int) -> nn.Module:
    """Return a network like the decoder of a leaf, with its own readout."""
    seed = torch.randint(2**31, ()).item()
    generator = torch.Generator().manual_seed(seed)
    layers = MLP((latent_dim, HIDDEN_DIM, 2 * HIDDEN_DIM), generator=generator)
    layout = ImageLayout.from_shape((28, 28))
    return nn.Sequential(
        layers, ConvReadout(layout, 2 * HIDDEN_DIM, generator=generator)
    )


def quality(model: TreeVAEClustering, data: Data) -> tuple[float, ...]:
    """Return DP, ACC, ELBO and AUROC of the test part."""
    labels = model.predict(data.X_test)
    return (
        dendrogram_purity(data.y_test, model.dendrogram_, labels),
        clustering_accuracy(data.y_test, labels),
        model.score(data.X_test),
        auroc(model, data.X_test[:N_SAMPLES]),
    )


def summaries(results: list[tuple[float, ...]]) -> list[str]:
    """Return a cell for each column of `quality`, and for one more column."""
    digits = (3, 3, 1, 3, 0)
    columns = zip(zip(*results, strict=True), digits, strict=False)
    return [summary(list(values), digits) for values, digits in columns]


def leaf_decoders(seeds: list[int], data_dir: Path) -> list[list[str]]:
    """Compare decoders that share the readout, nothing, or everything."""
    rows = [["decoders", "parameters", "DP", "ACC", "ELBO", "AUROC", "CPU-s"]]
    data = load("mnist-10k-images", data_dir)
    for name, context, options in (
        ("hidden layers of each leaf, one readout", nullcontext(), {}),
        ("nothing shared", nullcontext(), {"decoder": whole_decoder}),
        ("one for all", shared_decoder(), {}),
    ):
        results = []
        with context:
            for seed in seeds:
                start = time.process_time()
                model = fit_tree_vae(
                    data, N_CLUSTERS, seed, max_iter=MAX_ITER, **options
                )
                seconds = time.process_time() - start
                results.append((*quality(model, data), seconds))
        n_parameters = count_parameters(model.module_)
        rows.append([name, str(n_parameters), *summaries(results)])
    return rows


def views(seeds: list[int], data_dir: Path) -> list[list[str]]:
    """Vary the contrastive losses, one setting at a time."""
    # Fits have the default length: there are nine settings for each seed.
    head = ["data", "weight", "temperature", "strength"]
    rows = [[*head, "DP", "accuracy", "ELBO", "AUROC"]]
    settings = [(0, 0.5, 0)]  # no views
    settings += [(weight, 0.5, 1) for weight in (1, 10, 100, 1000)]
    settings += [(10, temperature, 1) for temperature in (0.1, 2.0)]
    settings += [(10, 0.5, strength) for strength in (0.5, 2)]
    for name in ("mnist-5k-images", "cifar-5k-images"):
        data = load(name, data_dir)
        for weight, temperature, strength in settings:
            results = []
            for seed in seeds:
                augmentation = None
                if strength:
                    augmentation = ImageAugmentation(
                        data.image_shape, 0.0, 1.0, strength
                    )
                model = fit_tree_vae(
                    data,
                    N_CLUSTERS,
                    seed,
                    views=augmentation,
                    contrastive_weight=weight,
                    temperature=temperature,
                )
                results.append(quality(model, data))
            setting = (weight, temperature, strength) if strength else (0, "-", "-")
            rows.append([name, *map(str, setting), *summaries(results)])
    return rows


def split_criterion(seeds: list[int], data_dir: Path) -> list[list[str]]:
    """Compare the criteria by labels, which a fit doesn't see, and by the ELBO."""
    rows = [["criterion", "DP", "ACC", "NMI", "ELBO"]]
    data = load("digits", data_dir)
    for criterion in ("n_samples", "reconstruction", "elbo"):
        results = []
        for seed in seeds:
            model = fit_tree_vae(
                data, N_CLUSTERS, seed, growth="iterative", split_criterion=criterion
            )
            results.append(
                (
                    dendrogram_purity(data.y_train, model),
                    clustering_accuracy(data.y_train, model.labels_),
                    normalized_mutual_info_score(data.y_train, model.labels_),
                    model.score(data.X),
                )
            )
        cells = zip(zip(*results, strict=True), (3, 3, 3, 1), strict=True)
        rows.append([criterion, *(summary(list(v), digits) for v, digits in cells)])
    return rows


def no_hierarchy(seeds: list[int], data_dir: Path) -> list[list[str]]:
    """Fit data without clusters, and data with clusters."""
    rows = [["data", "seed", "found", "lowest height", "highest", "warning at 10"]]
    for seed in seeds:
        gaussian = isotropic(np.random.default_rng(seed), 10)
        for name, X in (("one Gaussian", gaussian), ("digits", load_digits().data)):
            free = TreeVAEClustering(None, random_state=seed).fit(X)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                model = TreeVAEClustering(N_CLUSTERS, random_state=seed).fit(X)
            heights = model.linkage_matrix_[:, 2]
            messages = "; ".join(str(w.message).partition(":")[0] for w in caught)
            rows.append(
                [
                    name,
                    str(seed),
                    str(free.n_clusters_),
                    f"{heights[0]:.2f}",
                    f"{heights[-1]:.2f}",
                    messages or "none",
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
    parser.add_argument("--csv", type=Path, help="also write the tables to this folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.only:
        print(f"\n{name}\n")
        path = arguments.csv and arguments.csv / f"ablations_{name}.csv"
        publish(ABLATIONS[name](arguments.seeds, arguments.data_dir), path)


if __name__ == "__main__":
    main()
