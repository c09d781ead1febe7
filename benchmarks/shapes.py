"""Clusters of many shapes and sizes, beside Genie, mixtures, Ward and others.

    python benchmarks/shapes.py --data-dir DIR

clusters the sets of the benchmark suite of Gagolewski (SoftwareX 2022) in
``suite_shapes.npz``, and sets that are generated here: clusters made of clumps, scales
that nest, small groups beside a large one, overlapping clusters of unequal sizes, and
rows that repeat. It writes a line of JSON for each to --out, and prints a Markdown
table of all lines. Lines in the file are not computed again.

The score is the adjusted Rand index with the reference partition. A set of the suite
has several; each is asked for with its own number of clusters, and the best score
counts. Samples that a reference labels as noise aren't counted. Genie needs
``pip install genieclust``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from records import append, publish, read
from sklearn.cluster import AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from sktreevae import TreeVAEClustering

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Case = tuple[str, Array, list[Labels]]
"""Name, samples, and reference partitions from 1 on, 0 for noise."""

TABLES = {
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
}
CLUMPS = (12, 20, 8, 0.4), (10, 15, 10, 0.3), (20, 10, 12, 0.35)
"""Number of clusters, clumps of each, dimensions, and deviation within a clump."""

SMALL = (500, 50, 50, 50), (500, 20, 20), (990, 10), (495, 5)
"""Sizes of groups ten standard deviations apart."""

DISTANCES = 10, 30, 100, 300, 1000
"""Distances of two pairs of groups that are eight apart."""


def suite(path: Path) -> Iterator[Case]:
    """Return the sets of the benchmark suite."""
    with np.load(path) as file:
        arrays = dict(file)
    for name in sorted({key.split("__")[0] for key in arrays}):
        keys = sorted(key for key in arrays if key.startswith(f"{name}__y"))
        yield name, arrays[f"{name}__X"], [arrays[key] for key in keys]


def clumps(
    seed: int, k: int, n_clumps: int, d: int, width: float
) -> tuple[Array, Labels]:
    """Return 6000 samples of clusters that are made of clumps."""
    rng = np.random.default_rng(seed)
    centers = 2 * rng.normal(size=(k, d))
    places = centers[:, None] + rng.normal(size=(k, n_clumps, d))
    share = rng.dirichlet(np.ones(n_clumps), size=k)
    y = rng.integers(k, size=6000)
    clump = np.array([rng.choice(n_clumps, p=share[label]) for label in y])
    return places[y, clump] + width * rng.normal(size=(len(y), d)), y + 1


def nested_scales(seed: int, distance: float) -> tuple[Array, Labels]:
    """Return two pairs of a large and a small group."""
    rng = np.random.RandomState(seed)
    sizes = 400, 30, 400, 30
    places = [[0, 0], [8, 0], [0, distance], [8, distance]]
    parts = [
        rng.randn(size, 4) + [*place, 0, 0]
        for size, place in zip(sizes, places, strict=True)
    ]
    return np.vstack(parts), np.repeat([1, 2, 3, 4], sizes)


def small_groups(seed: int, sizes: tuple[int, ...]) -> tuple[Array, Labels]:
    """Return groups in four dimensions, each along an axis of its own."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(y), 4)) + 10 * np.eye(4)[y], y + 1


def unequal(seed: int) -> tuple[Array, Labels]:
    """Return overlapping Gaussians of unequal sizes and covariances."""
    rng = np.random.default_rng(seed)
    y = rng.choice(5, size=1500, p=[0.5, 0.25, 0.15, 0.07, 0.03])
    centers = 1.6 * rng.normal(size=(5, 6))
    scale = np.eye(6) * rng.uniform(0.4, 1.2, size=(5, 1, 1))
    scale = scale + 0.25 * rng.normal(size=(5, 6, 6))
    noise = rng.normal(size=(len(y), 6))
    return centers[y] + np.einsum("nij,nj->ni", scale[y], noise), y + 1


def nested_gaussians(seed: int, k: int) -> tuple[Array, Labels]:
    """Return sixteen Gaussians in pairs of pairs, and k clusters of them."""
    rng = np.random.default_rng(seed)
    centers = np.zeros((1, 8))
    for level in range(4):
        axis = rng.normal(size=8)
        axis *= 4.0 ** (3 - level) / np.linalg.norm(axis)
        centers = (centers[:, None] + np.stack([axis, -axis])).reshape(-1, 8)
    y = np.repeat(np.arange(16), 120)
    return centers[y] + 0.15 * rng.normal(size=(len(y), 8)), y // (16 // k) + 1


def repeated(copies: int, noise: float) -> tuple[Array, Labels]:
    """Return copies of scikit-learn's digits; the first has no noise if there are two.

    With more copies, all have noise.
    """
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    first = 1 if copies == 2 else 0
    parts = [X] * first + [
        X + noise * rng.normal(size=X.shape) for _ in range(copies - first)
    ]
    return np.vstack(parts), np.tile(y, copies) + 1


def generated() -> Iterator[Case]:
    """Return the other sets."""

    def case(name: str, X: Array, y: Labels) -> Case:
        return name, X, [y]

    for name, load in TABLES.items():
        X, y = load(return_X_y=True)
        yield case(name, X, y + 1)
    for seed, shape in enumerate(CLUMPS):
        X, y = clumps(seed, *shape)
        yield case(f"clumps {shape}", X, y)
        yield case(f"clumps {shape}, rounded", np.round(3 * X), y)
    for distance, seed in product(DISTANCES, range(10)):
        name = f"nested scales {distance}, draw {seed}"
        yield case(name, *nested_scales(seed, distance))
    for sizes, seed in product(SMALL, range(3)):
        yield case(f"small groups {sizes}, draw {seed}", *small_groups(seed, sizes))
    for seed in range(100, 104):
        yield case(f"unequal overlap, draw {seed}", *unequal(seed))
    for seed, k in product(range(10), (2, 4, 8, 16)):
        name = f"nested Gaussians in {k}, draw {seed}"
        yield case(name, *nested_gaussians(seed, k))
    yield case("digits twice", *repeated(2, 0.0))
    yield case("digits twice, noise 1e-9", *repeated(2, 1e-9))
    yield case("digits seven times, noise 1", *repeated(7, 1.0))


def tree_vae(X: Array, k: int, seed: int) -> Labels:
    """Return the clusters of this package."""
    return TreeVAEClustering(k, random_state=seed).fit(X).labels_


def genie(X: Array, k: int, seed: int) -> Labels:
    """Return the clusters of Genie."""
    try:
        from genieclust import Genie
    except ImportError as error:
        raise ImportError("Genie is missing: pip install genieclust") from error
    return Genie(k).fit_predict(X)


def mixture(X: Array, k: int, seed: int) -> Labels:
    """Return the clusters of the best of five Gaussian mixtures."""
    return GaussianMixture(k, n_init=5, random_state=seed).fit_predict(X)


def ward(X: Array, k: int, seed: int) -> Labels:
    """Return Ward's clusters."""
    return AgglomerativeClustering(k).fit_predict(X)


def kmeans(X: Array, k: int, seed: int) -> Labels:
    """Return the clusters of k-means."""
    return KMeans(k, n_init=10, random_state=seed).fit_predict(X)


def spectral(X: Array, k: int, seed: int) -> Labels:
    """Return the clusters of the nearest neighbors' graph."""
    return SpectralClustering(
        k, affinity="nearest_neighbors", random_state=seed
    ).fit_predict(X)


METHODS: dict[str, Callable[[Array, int, int], Labels]] = {
    "TreeVAE": tree_vae,
    "Genie": genie,
    "mixture": mixture,
    "Ward": ward,
    "k-means": kmeans,
    "spectral": spectral,
}


def best_score(cluster: Callable[[int], Labels], references: list[Labels]) -> float:
    """Return the best score over the reference partitions of a set."""
    labels: dict[int, Labels] = {}
    scores = []
    for y in references:
        k = int(y.max())
        if k not in labels:
            labels[k] = cluster(k)
        scores.append(adjusted_rand_score(y[y > 0], labels[k][y > 0]))
    return max(scores)


def table(records: list[dict], methods: list[str]) -> list[list[str]]:
    """Return the scores by set and method; draws of a set are averaged."""
    scores: dict[str, dict[str, list[float]]] = {}
    for record in records:
        name = record["set"].split(", draw")[0]
        by_method = scores.setdefault(name, {})
        by_method.setdefault(record["method"], []).append(record["ari"])
    rows = [["set", *methods]]
    for name, by_method in scores.items():
        means = [by_method.get(method) for method in methods]
        rows.append([name, *("-" if m is None else f"{np.mean(m):.2f}" for m in means)])
    in_suite = [r for r in records if r["in_suite"]]
    for title, part in (("mean of the suite", in_suite), ("mean of all", records)):
        means = [
            [r["ari"] for r in part if r["method"] == method] for method in methods
        ]
        rows.append([title, *(f"{np.mean(m):.3f}" if m else "-" for m in means)])
    return rows


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="folder of suite_shapes.npz")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--only", nargs="+", help="beginnings of names of sets")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("shapes.jsonl"))
    parser.add_argument("--csv", type=Path, help="also write the table there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    records = read(arguments.out)
    done = {(r["set"], r["method"], r["seed"]) for r in records}
    cases = [(case, False) for case in generated()]
    if arguments.data_dir is not None:
        path = arguments.data_dir / "suite_shapes.npz"
        cases = [(case, True) for case in suite(path)] + cases
    for (name, X, references), in_suite in cases:
        if arguments.only and not name.startswith(tuple(arguments.only)):
            continue
        for method in arguments.methods:
            for seed in arguments.seeds[: 1 if method in ("Genie", "Ward") else None]:
                if (name, method, seed) in done:
                    continue
                start = time.process_time()

                def cluster(k: int, X=X, method=method, seed=seed) -> Labels:
                    return METHODS[method](X, k, seed)

                record = {
                    "set": name,
                    "method": method,
                    "seed": seed,
                    "in_suite": in_suite,
                    "ari": best_score(cluster, references),
                    "cpu_seconds": time.process_time() - start,
                }
                records.append(record)
                append(arguments.out, record)
    publish(table(records, arguments.methods), arguments.csv)


if __name__ == "__main__":
    main()
