"""Number of clusters with ``n_clusters=None``, for data whose number is known.

    python benchmarks/structure.py

prints a Markdown table, one column for each seed.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from sktreevae import TreeVAEClustering


def isotropic(rng: np.random.Generator, n_features: int) -> np.ndarray:
    """One Gaussian."""
    return rng.standard_normal((1500, n_features))


def one_mode(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Independent columns of one distribution, by its name."""
    shape = 700, 5
    return {
        "t, 3 degrees of freedom": rng.standard_t(3, shape),
        "exponential": rng.exponential(size=shape),
        "lognormal": rng.lognormal(size=shape),
        "uniform": rng.random(shape),
        "Poisson, mean 3": rng.poisson(3, shape).astype(float),
    }


def nested(rng: np.random.Generator, n_features: int) -> np.ndarray:
    """Sixteen Gaussians in pairs of pairs, at distances of 64, 32, 16 and 10."""
    centers = np.zeros((1, n_features))
    for radius in (32, 16, 8, 5):
        offset = rng.standard_normal((len(centers), n_features))
        offset *= radius / np.linalg.norm(offset, axis=1, keepdims=True)
        centers = np.concatenate([centers + offset, centers - offset])
    return centers[np.arange(1600) % 16] + rng.standard_normal((1600, n_features))


def datasets(seed: int) -> dict[str, tuple[int | str, np.ndarray]]:
    """Return data by name, with the true number."""
    rng = np.random.default_rng(seed)
    data: dict[str, tuple[int | str, np.ndarray]] = {
        f"one Gaussian, {d} dimensions": (1, isotropic(rng, d)) for d in (2, 10, 50)
    }
    data |= {name: (1, X) for name, X in one_mode(rng).items()}
    for d in (4, 10):
        data[f"16 nested Gaussians, {d} dimensions"] = (16, nested(rng, d))
    data["digits"] = ("10 classes", load_digits().data)
    data["iris"] = ("3 classes", load_iris().data)
    data["wine"] = ("3 classes", load_wine().data)
    data["breast cancer"] = ("2 classes", load_breast_cancer().data)
    return data


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: dict[str, list[int | str]] = {}
    for seed in arguments.seeds:
        for name, (true_number, X) in datasets(seed).items():
            # The number is chosen before the networks are trained, but leaves that
            # stay too small are pruned after it.
            model = TreeVAEClustering(None, random_state=seed).fit(X)
            rows.setdefault(name, [true_number]).append(model.n_clusters_)
    print("| data | truth |" + "".join(f" seed {s} |" for s in arguments.seeds))
    print("|---|---|" + "---|" * len(arguments.seeds))
    for name, numbers in rows.items():
        print(f"| {name} | " + " | ".join(map(str, numbers)) + " |")


if __name__ == "__main__":
    main()
