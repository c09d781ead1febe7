"""CIFAR-10 by ten leaves, beside the paper: a table, and a picture of the leaves.

On one CPU, the lossy subset of 15 000 images, some minutes:

    python benchmarks/cifar.py --data-dir DIR

On a GPU, the 50 000 images, which are downloaded to --data-dir:

    python benchmarks/cifar.py --data-dir DIR --whole --max-iter 40

The dendrogram purity of the paper is of trees with up to 20 leaves, ours of ten. The
fit sees no labels. Augmentations are crops, mirror images and changes of color.
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

from sktreevae.datasets import fetch_cifar10
from sktreevae.metrics import clustering_accuracy, dendrogram_purity

CLASSES = np.array("plane car bird cat deer dog frog horse ship truck".split())
IS_VEHICLE = np.isin(CLASSES, ["plane", "car", "ship", "truck"])
PAPER = ["the paper, all images", "0.353", "0.530", "0.414", "5 GPU-hours"]
N_COLUMNS = 14
N_NAMED = 3


def load_whole(data_dir: Path) -> Data:
    """Return all images of CIFAR-10; they are downloaded if they are missing."""
    parts = (
        fetch_cifar10(data_home=data_dir, subset=subset, return_X_y=True)
        for subset in ("train", "test")
    )
    (X, y), (X_test, y_test) = parts
    return Data(X, y, X_test, y_test, image_shape=(32, 32, 3))


def draw(data: Data, labels: np.ndarray, counts: np.ndarray, path: Path) -> None:
    """Draw test images of each leaf; `counts` has shape (n_leaves, n_classes)."""
    rng = np.random.default_rng(0)
    figure, axes = plt.subplots(len(counts), N_COLUMNS, figsize=(8, 7.2))
    # By hand: automatic layouts make room for the titles between the columns.
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.96, wspace=0.06, hspace=0.4)
    for leaf, row in enumerate(axes):
        share = counts[leaf, IS_VEHICLE].sum() / max(counts[leaf].sum(), 1)
        most_frequent = CLASSES[np.argsort(-counts[leaf])[:N_NAMED]]
        title = f"leaf {leaf}: {share:.0%} vehicles; {', '.join(most_frequent)}"
        row[0].set_title(title, loc="left", fontsize=8)
        chosen = rng.permutation(np.flatnonzero(labels == leaf))[:N_COLUMNS]
        for ax, image in zip(row, data.X_test[chosen], strict=False):
            ax.imshow(image.reshape(data.image_shape))
        for ax in row:
            ax.set_axis_off()
    figure.savefig(path, dpi=90)


def main() -> None:
    """Fit, print the tables, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--whole", action="store_true", help="all images of CIFAR-10")
    parser.add_argument("--max-iter", type=int, help="epochs of the joint training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, default=Path("cifar.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    whole, data_dir = arguments.whole, arguments.data_dir
    data = load_whole(data_dir) if whole else load("cifar-images", data_dir)
    start = time.perf_counter()
    model = fit_tree_vae(
        data,
        10,
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
    publish([["test part", "DP", "ACC", "NMI", "time"], ours, PAPER])
    print(model.dendrogram_.export_text())
    counts = np.zeros((model.n_clusters_, len(CLASSES)), dtype=np.int64)
    np.add.at(counts, (labels, y), 1)
    share = counts[:, IS_VEHICLE].sum(1) / counts.sum(1).clip(1)
    rows = [["leaf", *CLASSES, "vehicles"]]
    for leaf, of_leaf in enumerate(counts):
        rows.append([str(leaf), *map(str, of_leaf), f"{share[leaf]:.2f}"])
    publish(rows)
    draw(data, labels, counts, arguments.picture)
    of_vehicle = IS_VEHICLE[y]
    agreement = np.mean(model.predict(data.X_test, n_clusters=2) == of_vehicle)
    print(f"the root tells vehicles from animals: {max(agreement, 1 - agreement):.3f}")
    print(f"the leaves do: {np.mean((share > 0.5)[labels] == of_vehicle):.3f}")


if __name__ == "__main__":
    main()
