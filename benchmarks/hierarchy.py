"""Agreement of the trees with known hierarchies, beside linkages of the same leaves.

    python benchmarks/hierarchy.py --data-dir DIR --datasets zoo pbmc fashion-images-10k

writes a line of JSON for each tree to --out and prints a Markdown table of all lines.
Fits whose lines are in the file are skipped. The data are those of ``quality.py`` with
coarse groups of classes, and "nested", 16 Gaussians in pairs of pairs of pairs. Trees
are evaluated on the training part: the tree of `TreeVAEClustering`, the linkages of the
means of its leaves (in the features of its neighbor graph), and Ward's tree of the
samples, cut at as many leaves. The cophenetic correlation is that with the distances
of up to 2000 samples in the features.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from quality import Data, dense, fit_tree_vae, load
from records import append, publish, read, summarize
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from sktreevae.data import Samples
from sktreevae.metrics import (
    cophenetic_correlation,
    dendrogram_purity,
    triplet_agreement,
)

KEYS = {"dataset": "data", "n_leaves": "leaves", "tree": "tree"}
METRICS = {
    "triplets": ("triplets", 3),
    "purity": ("DP", 3),
    "coarse_purity": ("DP, coarse", 3),
    "cophenetic": ("cophenetic correlation", 3),
}
COARSE = {
    # tops, trousers, dress, shoes, bag
    "fashion": [0, 1, 0, 2, 0, 3, 0, 3, 4, 3],
    # alt, comp, misc, rec, sci, soc, talk
    "news": [0, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 6, 6, 6, 6],
    "minilm": [0, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 6, 6, 6, 6],
    # vertebrates, invertebrates
    "zoo": [0, 0, 0, 0, 0, 1, 1],
    # vehicles, animals
    "cifar": [0, 0, 1, 1, 1, 1, 1, 1, 0, 0],
}
"""Coarse group of each class."""

N_LEAVES = {
    "zoo": [7],
    "pbmc": [10],
    "fashion": [10, 20],
    "nested": [16],
    "cifar": [10],
    "omniglot": [20, 100],
}
MAX_COPHENETIC_ROWS = 2000


def make_nested(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 16 Gaussians, nested 2 x 2 x 2 x 2, at distances 64, 16, 4 and 1."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.standard_normal((8, 8)))
    y = np.arange(1600) % 16
    bits = (y[:, None] >> np.array([3, 2, 1, 0])) & 1
    means = bits * np.array([64.0, 16.0, 4.0, 1.0]) @ axes[:4]
    return means + 0.15 * rng.standard_normal((1600, 8)), y


def load_levels(name: str, data_dir: Path, seed: int) -> tuple[Data, np.ndarray]:
    """Return a dataset, and its nested classes, the coarsest first."""
    stem = name.split("-")[0]
    if stem == "nested":
        X, y = make_nested(seed)
        return Data.of_one_part(X, y), np.stack([y // 8, y // 4, y // 2, y], axis=1)
    data = load(name, data_dir)
    y = data.y_train
    if stem == "pbmc":
        with np.load(data_dir / "sc_pbmc68k_reduced.npz") as file:
            coarse = file["y_coarse_train"]
    elif stem == "omniglot":  # alphabets and their characters
        coarse, y = y, load(name.replace("omniglot", "characters"), data_dir).y_train
    else:
        coarse = np.array(COARSE[stem])[y]
    return data, np.stack([coarse, y], axis=1)


def trees(data: Data, n_leaves: int, seed: int) -> Iterator[tuple[str, dict]]:
    """Fit a tree, and return the arguments of metrics for it and for others."""
    model = fit_tree_vae(data, n_leaves, seed)
    labels = model.labels_
    samples = Samples(
        data.X, model._standardizer, model.device_, likelihood=model.likelihood_
    )
    features = samples.map(model.module_.feature_map).numpy(force=True)
    means = np.stack([features[labels == k].mean(0) for k in range(model.n_clusters_)])
    rows = np.random.default_rng(0).permutation(len(labels))[:MAX_COPHENETIC_ROWS]
    distances = pdist(features[rows])
    candidates = {"TreeVAE": (model.linkage_matrix_, labels)} | {
        f"{method} linkage of its leaves": (linkage(means, method), labels)
        for method in ("ward", "average", "centroid")
    }
    if len(labels) <= 20_000:
        Z = linkage(dense(data.X), "ward")
        candidates["Ward of the samples"] = cut_linkage(Z, n_leaves)
    for name, (tree, leaf) in candidates.items():
        yield (
            name,
            {
                "tree": tree,
                "labels": leaf,
                "cophenetic": cophenetic_correlation(distances, tree, leaf[rows]),
            },
        )


def cut_linkage(Z: np.ndarray, n_leaves: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the tree above a cut, and the leaf of each sample."""
    n_samples = len(Z) + 1
    n_merges = n_samples - n_leaves
    members = [np.array([i]) for i in range(n_samples)]
    for left, right in Z[:n_merges, :2].astype(int):
        members.append(np.concatenate([members[left], members[right]]))
    used = set(Z[:n_merges, :2].astype(int).ravel().tolist())
    roots = [i for i in range(n_samples + n_merges) if i not in used]
    labels = np.empty(n_samples, dtype=int)
    number = {}
    for leaf, root in enumerate(roots):
        labels[members[root]], number[root] = leaf, leaf
    number |= {n_samples + n_merges + i: n_leaves + i for i in range(n_leaves - 1)}
    tree = Z[n_merges:].copy()
    tree[:, :2] = np.vectorize(number.get)(tree[:, :2].astype(int))
    counts = [1] * n_leaves
    for row in tree:
        counts.append(counts[int(row[0])] + counts[int(row[1])])
        row[3] = counts[-1]
    return tree, labels


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--datasets", nargs="*", default=["nested"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("hierarchy.jsonl"))
    parser.add_argument("--csv", type=Path, help="also write the table there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    records = read(arguments.out)
    done = {(r["dataset"], r["n_leaves"], r["seed"]) for r in records}
    for name in arguments.datasets:
        for n_leaves in N_LEAVES.get(name.split("-")[0], [20]):
            for seed in arguments.seeds:
                if (name, n_leaves, seed) in done:
                    continue
                data, levels = load_levels(name, arguments.data_dir, seed)
                for tree, arrays in trees(data, n_leaves, seed):
                    Z, labels = arrays["tree"], arrays["labels"]
                    coarse, *_, fine = dendrogram_purity(levels, Z, labels)
                    record = {
                        "dataset": name,
                        "n_leaves": n_leaves,
                        "seed": seed,
                        "tree": tree,
                        "triplets": triplet_agreement(levels, Z, labels),
                        "purity": fine,
                        "coarse_purity": coarse,
                        "cophenetic": arrays["cophenetic"],
                    }
                    records.append(record)
                    append(arguments.out, record)
    publish(summarize(records, KEYS, METRICS), arguments.csv)


if __name__ == "__main__":
    main()
