"""CPU seconds and peak memory of fits by rows and by leaves, from the records."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

MARKERS = {"TreeVAE": "o", "VAE": "s", "BisectingKMeans": "^"}

text = Path("../../benchmarks/results/scalability.jsonl").read_text()
records = [json.loads(line) for line in text.splitlines()]
records = [r for r in records if (r["n_features"], r["dtype"]) == (50, "float32")]
panels = [("n_rows", "n_leaves", 20, "rows"), ("n_leaves", "n_rows", 10_000, "leaves")]
quantities = {"cpu": "CPU-s", "peak": "peak memory, MiB"}

fig, axes = plt.subplots(2, 2, figsize=(8, 6), layout="constrained")
for column, (size, fixed, value, name) in zip(axes.T, panels, strict=True):
    for ax, (quantity, label) in zip(column, quantities.items(), strict=True):
        for method, marker in MARKERS.items():
            points = sorted(
                (r[size], r[quantity])
                for r in records
                if r["method"] == method and r[fixed] == value
            )
            if len(points) < 2:
                continue
            x, y = np.array(points).T
            slope = np.polyfit(np.log(x), np.log(y), 1)[0]
            ax.loglog(x, y, f"{marker}-", label=f"{method}, exponent {slope:.2f}")
        ax.set(xlabel=name, ylabel=label)
        ax.legend()
