"""Dendrogram purity and NMI of several methods, from the published table."""

import csv

import matplotlib.pyplot as plt

SETS = {
    "blood cells": (10, "pbmc"),
    "sentence embeddings": (20, "minilm"),
    "20 Newsgroups": (20, "news"),
    "Omniglot-5": (20, "omniglot-images", "omniglot"),
    "Fashion-MNIST": (20, "fashion-images", "fashion"),
    "MNIST, images": (10, "mnist-images"),
    "MNIST, rows": (10, "mnist"),
    "digits": (10, "digits"),
    "zoo": (7, "zoo"),
    "breast cancer": (2, "breast_cancer"),
    "wine": (3, "wine"),
    "iris": (3, "iris"),
}
METHODS = {
    "TreeVAE": ("o", "C0"),
    "Ward": ("s", "C1"),
    "KMeans + Ward": ("^", "C2"),
    "DeepECT": ("D", "C3"),
}

with open("../../benchmarks/results/quality.csv", newline="") as file:
    rows = {
        (row["data"], row["method"], int(row["leaves"])): row
        for row in csv.DictReader(file)
    }

fig, axes = plt.subplots(1, 2, figsize=(8, 4.5), sharey=True, layout="constrained")
titles = {"DP": "dendrogram purity", "NMI": "normalized mutual information"}
for ax, (metric, title) in zip(axes, titles.items(), strict=True):
    for method, (marker, color) in METHODS.items():
        points = [
            (float(row[metric].split()[0]), i)
            for i, (leaves, *names) in enumerate(SETS.values())
            for name in names
            if (row := rows.get((name, method, leaves)))
            and not (method == "TreeVAE" and name != names[0])
        ]
        size = 9 if method == "TreeVAE" else 6
        ax.plot(*zip(*points, strict=True), marker, c=color, ms=size, label=method)
    ax.set(title=title, xlim=(0, 1), yticks=range(len(SETS)), yticklabels=SETS)
    ax.grid(axis="both", alpha=0.3)
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
