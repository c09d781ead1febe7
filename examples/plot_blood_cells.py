"""
Types of blood cells, and how they nest
=======================================

700 blood cells, each with the activity of 765 genes, and no label: does the tree know
that B cells differ from T cells more than the kinds of T cells do among themselves?

Looks for ``sc_pbmc68k_reduced.npz``, the reduced 68k PBMC data of scanpy with labels
``y_train`` (ten types) and ``y_coarse_train`` (five groups), in the folder that
``SKTREEVAE_DATA`` names.
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
from sktreevae.plotting import plot_dendrogram

with np.load(Path(os.environ["SKTREEVAE_DATA"]) / "sc_pbmc68k_reduced.npz") as data:
    X, coarse = data["X_train"], data["y_coarse_train"]
    group_names = data["coarse_names"]
model = TreeVAEClustering(n_clusters=10, random_state=0).fit(X)

# %%
# Coarse groups are subtrees
# --------------------------
# Below each cluster, the group that most of its cells belong to, and how many do. The
# labels were not seen by the fit. Myeloid cells and lymphocytes part at the top; the NK
# cells are among the T cells, which they resemble.
names = []
for cluster in range(model.n_clusters_):
    groups = coarse[model.labels_ == cluster]
    count = np.bincount(groups)
    names.append(f"{group_names[count.argmax()]}\n{count.max()} of {len(groups)}")
print(*names, sep="\n\n")

fig, ax = plt.subplots(figsize=(10, 4.5), layout="constrained")
plot_dendrogram(model.dendrogram_, ax=ax, cluster_names=names)
ax.set_ylabel("Jeffreys divergence (nats)")

parser = argparse.ArgumentParser()
parser.add_argument("--save", type=Path)
path = parser.parse_known_args()[0].save
if path is not None:
    fig.savefig(path, dpi=120)
plt.show()
