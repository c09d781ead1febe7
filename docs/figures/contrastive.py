"""Clusters and samples by the weight of the contrastive losses, from the records."""

import csv
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

NAMES = {"mnist-5k-images": "MNIST", "cifar-5k-images": "CIFAR-10"}

text = Path("../../benchmarks/results/ablations_views.csv").read_text()
# No augmentations, which have a weight of 0, or those of the default strength.
rows = [
    row
    for row in csv.DictReader(text.splitlines())
    if (row["temperature"], row["strength"]) in (("-", "-"), ("0.5", "1"))
]
fig, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
quantities = {
    "accuracy": "accuracy of the clusters",
    "ELBO": "ELBO, nats, minus that without views",
    "AUROC": "AUROC, samples and reconstructions",
}
for ax, (quantity, label) in zip(axes, quantities.items(), strict=True):
    for name, title in NAMES.items():
        points = [(r["weight"], r[quantity]) for r in rows if r["data"] == name]
        weight, value = np.array(points, dtype=float).T
        if quantity == "ELBO":
            value = value - value[0]
        ax.plot(weight, value, "o-", label=title)
    ax.set_xscale("symlog", linthresh=1)
    ax.set(xlabel="contrastive_weight", ylabel=label)
axes[0].legend(fontsize="small")
