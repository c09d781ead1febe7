"""CIFAR-10 and CIFAR-100 beside the paper: a table, and a picture of the leaves.

On one CPU, a lossy subset of CIFAR-10 of 15 000 images, some minutes:

    python benchmarks/cifar.py --data-dir DIR

On a GPU, all 50 000 images, which are downloaded to --data-dir:

    python benchmarks/cifar.py --data-dir DIR --dataset cifar10 --max-iter 40
    python benchmarks/cifar.py --data-dir DIR --dataset cifar100 --max-iter 40

There is a leaf for each class, which are the 20 superclasses for CIFAR-100. The
dendrogram purity of the paper is of trees with up to 20 leaves, and 30 for CIFAR-100.
The fit sees no labels. Augmentations are crops, mirror images and changes of color.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from quality import Data, fit_tree_vae, load
from records import publish
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from sktreevae.datasets import fetch_cifar10, fetch_cifar100
from sktreevae.metrics import clustering_accuracy, dendrogram_purity

CLASSES = np.array("plane car bird cat deer dog frog horse ship truck".split())
VEHICLES = "plane", "car", "ship", "truck"
PAPER = {
    "CIFAR-10": ["the paper, all images", "0.353", "0.530", "0.414", "5 GPU-hours"],
    "CIFAR-100": ["the paper, all images", "0.104", "0.218", "0.178", "-"],
}
N_COLUMNS = 14
N_NAMED = 3


def load_cifar(dataset: str, data_dir: Path) -> tuple[Data, np.ndarray]:
    """Return a dataset and the names of its classes; download it if it is missing."""
    if dataset == "subset":
        return load("cifar-images", data_dir), CLASSES
    fetch = {"cifar10": fetch_cifar10, "cifar100": fetch_cifar100}[dataset]
    train, test = (fetch(data_home=data_dir, subset=part) for part in ("train", "test"))
    target, names = "target", CLASSES
    if dataset == "cifar100":
        target, names = "target_coarse", train.target_coarse_names
    parts = train.data, train[target], test.data, test[target]
    return Data(*parts, image_shape=(32, 32, 3)), names


def draw(
    data: Data, labels: np.ndarray, counts: np.ndarray, names: np.ndarray, path: Path
) -> None:
    """Draw test images of each leaf; `counts` has shape (n_leaves, n_classes)."""
    rng = np.random.default_rng(0)
    size = 8, 0.72 * len(counts)
    figure, axes = plt.subplots(len(counts), N_COLUMNS, figsize=size)
    # By hand: automatic layouts make room for the titles between the columns.
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.96, wspace=0.06, hspace=0.4)
    for leaf, row in enumerate(axes):
        shares = counts[leaf] / max(counts[leaf].sum(), 1)
        most_frequent = np.argsort(-shares)[:N_NAMED]
        terms = [f"{shares[i]:.0%} {names[i].replace('_', ' ')}" for i in most_frequent]
        title = f"leaf {leaf}: {', '.join(terms)}"
        row[0].set_title(title, loc="left", fontsize=8)
        chosen = rng.permutation(np.flatnonzero(labels == leaf))[:N_COLUMNS]
        for ax, image in zip(row, data.X_test[chosen], strict=False):
            ax.imshow(image.reshape(data.image_shape))
        for ax in row:
            ax.set_axis_off()
    figure.savefig(path, dpi=90)


def print_vehicles(sides: np.ndarray, labels: np.ndarray, y: np.ndarray) -> None:
    """Print how well the root and the leaves tell vehicles from animals."""
    is_vehicle = np.isin(CLASSES, VEHICLES)[y]
    for name, groups in (("root", sides), ("leaves", labels)):
        counts = contingency_matrix(is_vehicle, groups)
        print(f"vehicles and animals, {name}: {counts.max(0).sum() / len(y):.3f}")


def main() -> None:
    """Fit, print the tables, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument(
        "--dataset", choices=["subset", "cifar10", "cifar100"], default="subset"
    )
    parser.add_argument("--max-iter", type=int, help="epochs of the joint training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, default=Path("cifar.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data, names = load_cifar(arguments.dataset, arguments.data_dir)
    start = time.perf_counter()
    model = fit_tree_vae(
        data,
        len(names),
        arguments.seed,
        views="image",
        max_iter=arguments.max_iter or "auto",
        verbose=1,
    )
    seconds = time.perf_counter() - start
    labels, y = model.predict(data.X_test), data.y_test
    metrics = (
        dendrogram_purity(y, model.dendrogram_, labels),
        clustering_accuracy(y, labels),
        normalized_mutual_info_score(y, labels),
    )
    name = f"{len(data.y_train)} images, {model.device_}"
    ours = [name, *(f"{value:.3f}" for value in metrics), f"{seconds:.0f} s"]
    paper = PAPER["CIFAR-100" if arguments.dataset == "cifar100" else "CIFAR-10"]
    publish([["test part", "DP", "ACC", "NMI", "time"], ours, paper])
    print(model.dendrogram_.export_text())
    counts = np.zeros((model.n_clusters_, len(names)), dtype=np.int64)
    np.add.at(counts, (labels, y), 1)
    leaves = [[str(leaf), *map(str, row)] for leaf, row in enumerate(counts)]
    publish([["leaf", *names], *leaves])
    draw(data, labels, counts, names, arguments.picture)
    if names is CLASSES:
        print_vehicles(model.predict(data.X_test, n_clusters=2), labels, y)


if __name__ == "__main__":
    main()
