"""What is in the ten leaves of CIFAR-10: a picture, and the classes of each leaf.

    python benchmarks/cifar_leaves.py --data-dir DIR --picture cifar_leaves.png

The fit sees no label; views are crops, mirror images and other colours.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

# Small networks crawl where idle threads wait busily; must be set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import matplotlib.pyplot as plt
import numpy as np
import torch
from quality import fit_tree_vae, load
from records import publish

CLASSES = np.array("plane car bird cat deer dog frog horse ship truck".split())
VEHICLES = np.isin(CLASSES, ["plane", "car", "ship", "truck"])
N_COLUMNS = 14
N_NAMED = 3


def main() -> None:
    """Fit, print the table, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, default=Path("cifar_leaves.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = load("cifar-images", arguments.data_dir)
    model = fit_tree_vae(data, 10, arguments.seed, views="image")
    labels = model.predict(data.X_test)
    print(model.dendrogram_.export_text())
    rows = [["leaf", *CLASSES, "vehicles"]]
    rng = np.random.default_rng(0)
    figure, axes = plt.subplots(model.n_clusters_, N_COLUMNS, figsize=(8, 7.2))
    # By hand: automatic layouts make room for the titles between the columns.
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.96, wspace=0.06, hspace=0.4)
    for leaf, row in enumerate(axes):
        members = np.flatnonzero(labels == leaf)
        counts = np.bincount(data.y_test[members], minlength=10)
        vehicles = counts[VEHICLES].sum() / max(counts.sum(), 1)
        rows.append([str(leaf), *map(str, counts), f"{vehicles:.2f}"])
        most = CLASSES[np.argsort(-counts)[:N_NAMED]]
        title = f"leaf {leaf}: {vehicles:.0%} vehicles; {', '.join(most)}"
        row[0].set_title(title, loc="left", fontsize=8)
        shown = rng.permutation(members)[:N_COLUMNS]
        for ax, image in zip(row, data.X_test[shown], strict=False):
            ax.imshow(image.reshape(data.image_shape))
        for ax in row:
            ax.set_axis_off()
    figure.savefig(arguments.picture, dpi=90)
    publish(rows)
    sides = model.predict(data.X_test, n_clusters=2)
    of_vehicle = VEHICLES[data.y_test]
    agreement = np.mean(sides == of_vehicle)
    print(f"the root tells vehicles from animals: {max(agreement, 1 - agreement):.3f}")
    majority = [np.mean(of_vehicle[labels == leaf]) > 0.5 for leaf in range(len(axes))]
    print(f"the leaves do: {np.mean(np.array(majority)[labels] == of_vehicle):.3f}")


if __name__ == "__main__":
    main()
