"""What should `transform` return? Candidates by k-NN and linear probe.

    python benchmarks/embeddings.py --data-dir DIR

fits a tree to the first training images, embeds them and the test part, and trains
classifiers on the embeddings of the former. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktreevae import TreeVAEClustering
from sktreevae.datasets import load_npz
from sktreevae.model import TreeVAE


def root_latent(model: TreeVAE, x: torch.Tensor) -> torch.Tensor:
    """Posterior mean of z_0."""
    return model.infer(x).levels[0].z[0]


def bottom_up(model: TreeVAE, x: torch.Tensor) -> torch.Tensor:
    """Deterministic embedding d_0."""
    return model.bottom_up(x)[0]


def depths(model: TreeVAE, x: torch.Tensor) -> torch.Tensor:
    """Concatenate the expected latents of all depths."""
    return model.embed(x)


def leaf_blocks(model: TreeVAE, x: torch.Tensor) -> torch.Tensor:
    """P(l | x) E[z_l] of each leaf, concatenated."""
    posterior = model.infer(x)
    blocks = posterior.leaf_log_path.exp()[..., None] * posterior.leaf_z
    return blocks.transpose(0, 1).flatten(1)


CANDIDATES = {
    "root latent": root_latent,
    "bottom-up d_0": bottom_up,
    "expected latent by depth": depths,
    "leaf blocks": leaf_blocks,
}


@torch.no_grad()
def embed(candidate, model: TreeVAE, X: np.ndarray) -> np.ndarray:
    """Apply a candidate in batches."""
    batches = torch.from_numpy(X).split(1000)
    return torch.cat([candidate(model, x) for x in batches]).numpy()


def main() -> None:
    """Fit, embed, classify."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--n-train", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print("| data | embedding | width | 15-NN | linear probe |")
    print("|---|---|---|---|---|")
    for name in ("mnist", "fashion_mnist"):
        X, y, X_test, y_test = load_npz(arguments.data_dir / f"{name}.npz")
        X, y = X[: arguments.n_train], y[: arguments.n_train]
        module = TreeVAEClustering(10, random_state=arguments.seed).fit(X).module_
        embeddings = {
            title: (embed(candidate, module, X), embed(candidate, module, X_test))
            for title, candidate in CANDIDATES.items()
        }
        for title, (Z, Z_test) in embeddings.items():
            neighbors = KNeighborsClassifier(15).fit(Z, y)
            probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
            probe.fit(Z, y)
            print(
                f"| {name} | {title} | {Z.shape[1]} "
                f"| {neighbors.score(Z_test, y_test):.3f} "
                f"| {probe.score(Z_test, y_test):.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
