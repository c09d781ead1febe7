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
    return model.embed(x)


def depths(model: TreeVAE, x: torch.Tensor) -> torch.Tensor:
    """Concatenate the expected latents of all depths; leaves count below them too."""
    ended: torch.Tensor | float = 0.0
    expected = []
    for nodes, level in zip(model.topology.levels, model.infer(x).levels, strict=True):
        weighted = level.log_path.exp()[..., None] * level.z
        expected.append(weighted.sum(0) + ended)
        leaves = [i for i, n in enumerate(nodes) if not model.topology.children[n]]
        ended = ended + weighted[leaves].sum(0)
    return torch.cat(expected, dim=1)


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
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    arguments = parser.parse_args()
    print("| data | embedding | 15-NN | linear probe |")
    print("|---|---|---|---|")
    for name in ("mnist", "fashion_mnist"):
        X, y, X_test, y_test = load_npz(arguments.data_dir / f"{name}.npz")
        X, y = X[: arguments.n_train], y[: arguments.n_train]
        scores: dict[str, list[tuple[float, float]]] = {t: [] for t in CANDIDATES}
        for seed in arguments.seeds:
            module = TreeVAEClustering(10, random_state=seed).fit(X).module_
            for title, candidate in CANDIDATES.items():
                Z, Z_test = (embed(candidate, module, x) for x in (X, X_test))
                neighbors = KNeighborsClassifier(15).fit(Z, y)
                probe = make_pipeline(
                    StandardScaler(), LogisticRegression(max_iter=2000, tol=1e-3)
                )
                probe.fit(Z, y)
                scores[title].append(
                    (neighbors.score(Z_test, y_test), probe.score(Z_test, y_test))
                )
        for title, values in scores.items():
            cells = [f"{mean:.3f}" for mean in np.mean(values, axis=0)]
            print(f"| {name} | {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
