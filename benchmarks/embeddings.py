"""Candidates for the result of `transform`, by k-NN and a linear probe.

    python benchmarks/embeddings.py --data-dir DIR

fits a tree to the first training images, embeds them and the test part, and trains
classifiers on the embeddings of the training images. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from sktreevae import TreeVAEClustering
from sktreevae.datasets import fetch_fashion_mnist, fetch_mnist
from sktreevae.model import Posterior, TreeVAE


def infer(model: TreeVAE, x: Tensor) -> Posterior:
    """Return the posterior of a batch at posterior means."""
    return model.posterior(model.encode(x))


def root_latent(model: TreeVAE, x: Tensor) -> Tensor:
    """Posterior mean of z_0."""
    return infer(model, x).z[0]


def bottom_up(model: TreeVAE, x: Tensor) -> Tensor:
    """Deterministic embedding d_0."""
    return model.embed(x)


def depths(model: TreeVAE, x: Tensor) -> Tensor:
    """Concatenate the expected latents of all depths.

    A leaf also counts at the depths below its own.
    """
    posterior, topology = infer(model, x), model.topology
    weighted = posterior.routing.node_log_proba.exp()[..., None] * posterior.z
    finished: Tensor | float = 0.0
    expected = []
    for nodes in topology.levels:
        expected.append(weighted[list(nodes)].sum(0) + finished)
        leaves = [node for node in nodes if not topology.children[node]]
        finished = finished + weighted[leaves].sum(0)
    return torch.cat(expected, dim=1)


def leaf_blocks(model: TreeVAE, x: Tensor) -> Tensor:
    """P(l | x) E[z_l] of each leaf, concatenated."""
    posterior = infer(model, x)
    blocks = posterior.routing.leaf_log_proba.exp()[..., None] * posterior.leaf_z
    return blocks.transpose(0, 1).flatten(1)


DATASETS = {"mnist": fetch_mnist, "fashion_mnist": fetch_fashion_mnist}

CANDIDATES = {
    "root latent": root_latent,
    "bottom-up d_0": bottom_up,
    "expected latent by depth": depths,
    "leaf blocks": leaf_blocks,
}


@torch.no_grad()
def embed(
    candidate: Callable[[TreeVAE, Tensor], Tensor], model: TreeVAE, X: np.ndarray
) -> np.ndarray:
    """Apply a candidate in batches."""
    batches = torch.from_numpy(X).split(1000)
    return torch.cat([candidate(model, x) for x in batches]).numpy()


def accuracies(
    Z: np.ndarray, y: np.ndarray, Z_test: np.ndarray, y_test: np.ndarray
) -> tuple[float, float]:
    """Return the test accuracies of 15-NN and of the linear probe."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, tol=1e-3))
    classifiers = (KNeighborsClassifier(15), probe)
    nearest, linear = (c.fit(Z, y).score(Z_test, y_test) for c in classifiers)
    return nearest, linear


def main() -> None:
    """Fit, embed, classify."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument(
        "--datasets", nargs="+", choices=DATASETS, default=list(DATASETS)
    )
    parser.add_argument("--n-train", type=int, default=10_000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    arguments = parser.parse_args()
    print("| data | embedding | 15-NN | linear probe |")
    print("|---|---|---|---|")
    for name in arguments.datasets:
        (X, y), (X_test, y_test) = (
            DATASETS[name](data_home=arguments.data_dir, subset=subset, return_X_y=True)
            for subset in ("train", "test")
        )
        X, y = X[: arguments.n_train], y[: arguments.n_train]
        scores: dict[str, list[tuple[float, float]]] = {t: [] for t in CANDIDATES}
        for seed in arguments.seeds:
            model = TreeVAEClustering(10, random_state=seed).fit(X).module_
            for title, candidate in CANDIDATES.items():
                Z, Z_test = (embed(candidate, model, rows) for rows in (X, X_test))
                scores[title].append(accuracies(Z, y, Z_test, y_test))
        for title, values in scores.items():
            cells = [f"{mean:.3f}" for mean in np.mean(values, axis=0)]
            print(f"| {name} | {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
