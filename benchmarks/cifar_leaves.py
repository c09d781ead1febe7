"""Content of the ten leaves of CIFAR-10: a picture, and the classes of each leaf.

    python benchmarks/cifar_leaves.py --data-dir DIR --picture cifar_leaves.png

The fit sees no labels. Augmentations are crops, mirror images and changes of color.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from quality import Data, fit_tree_vae, load
from records import publish

CLASSES = np.array("plane car bird cat deer dog frog horse ship truck".split())
IS_VEHICLE = np.isin(CLASSES, ["plane", "car", "ship", "truck"])
N_COLUMNS = 14
N_NAMED = 3


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
    """Fit, print the table, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--dataset", default="cifar-images", help="as in quality.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, default=Path("cifar_leaves.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = load(arguments.dataset, arguments.data_dir)
    model = fit_tree_vae(data, 10, arguments.seed, views="image")
    labels = model.predict(data.X_test)
    print(model.dendrogram_.export_text())
    counts = np.zeros((model.n_clusters_, len(CLASSES)), dtype=np.int64)
    np.add.at(counts, (labels, data.y_test), 1)
    share = counts[:, IS_VEHICLE].sum(1) / counts.sum(1).clip(1)
    rows = [["leaf", *CLASSES, "vehicles"]]
    for leaf, of_leaf in enumerate(counts):
        rows.append([str(leaf), *map(str, of_leaf), f"{share[leaf]:.2f}"])
    publish(rows)
    draw(data, labels, counts, arguments.picture)
    of_vehicle = IS_VEHICLE[data.y_test]
    branches = model.predict(data.X_test, n_clusters=2)
    agreement = np.mean(branches == of_vehicle)
    print(f"the root tells vehicles from animals: {max(agreement, 1 - agreement):.3f}")
    print(f"the leaves do: {np.mean((share > 0.5)[labels] == of_vehicle):.3f}")


if __name__ == "__main__":
    main()
