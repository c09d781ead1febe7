"""CPU seconds and peak memory of fits with 20 leaves by rows, from the records."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

MARKERS = {"TreeVAE": "o", "VAE": "s", "BisectingKMeans": "^"}

text = Path("../../benchmarks/results/scalability.jsonl").read_text()
records = [json.loads(line) for line in text.splitlines()]
fig, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
quantities = {"cpu": "CPU-s", "peak": "peak memory, MiB"}
for ax, (quantity, label) in zip(axes, quantities.items(), strict=True):
    for method, marker in MARKERS.items():
        points = sorted(
            (r["n_rows"], r[quantity])
            for r in records
            if (r["method"], r["n_leaves"], r["n_features"]) == (method, 20, 50)
        )
        x, y = np.array(points).T
        slope = np.polyfit(np.log(x), np.log(y), 1)[0]
        ax.loglog(x, y, f"{marker}-", label=f"{method}, exponent {slope:.2f}")
    ax.set(xlabel="rows", ylabel=label)
    ax.legend(fontsize="small")
