"""
Hierarchy of blood cell types
=============================

The data has 700 blood cells with the expression of 765 genes each. A good tree
separates B cells from T cells before it separates the types of T cells.

The example reads ``sc_pbmc68k_reduced.npz``, the reduced 68k PBMC data of scanpy with
the labels ``y_train`` (ten types) and ``y_coarse_train`` (five groups), from the folder
in the environment variable ``SKTREEVAE_DATA``.
"""

# %%
# Fit
# ---
import argparse
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sktreevae import TreeVAEClustering
from sktreevae.display import DendrogramDisplay

with np.load(Path(os.environ["SKTREEVAE_DATA"]) / "sc_pbmc68k_reduced.npz") as data:
    X, coarse = data["X_train"], data["y_coarse_train"]
    group_names = data["coarse_names"]
model = TreeVAEClustering(n_clusters=10, random_state=0).fit(X)

# %%
# Coarse groups are subtrees
# --------------------------
# Each cluster is named after its most frequent group, with the number of cells of this
# group. The fit did not see these labels. The first split separates myeloid cells from
# lymphocytes. The NK cells are beside the T cells, which they resemble.
names = []
for cluster in range(model.n_clusters_):
    groups = coarse[model.labels_ == cluster]
    count = np.bincount(groups)
    names.append(f"{group_names[count.argmax()]}\n{count.max()} of {len(groups)}")
print(*names, sep="\n\n")

fig, ax = plt.subplots(figsize=(10, 4.5), layout="constrained")
DendrogramDisplay.from_estimator(model, ax=ax, cluster_names=names)

parser = argparse.ArgumentParser()
parser.add_argument("--save", type=Path)
path = parser.parse_known_args()[0].save
if path is not None:
    fig.savefig(path, dpi=120)
plt.show()
