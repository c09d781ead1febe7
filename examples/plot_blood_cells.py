"""
Hierarchy of blood cell types
=============================

The data has 700 blood cells with the expression of 300 genes each. A good tree
separates B cells from T cells before it separates the types of T cells.

The cells are those of the reduced 68k PBMC data of scanpy. The file in
``examples/data`` has the 300 most variable genes.
"""

# %%
# Fit
# ---
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sktreevae import TreeVAEClustering
from sktreevae.display import DendrogramDisplay, TreeDisplay

# Notebooks and the build of the documentation have no __file__, and run here.
folder = Path(globals().get("__file__", "")).parent / "data"
with np.load(folder / "blood_cells.npz") as data:
    # Scaled expression is usually clipped at 10.
    X, coarse = data["X"].astype(np.float32).clip(max=10), data["y_coarse"]
    group_names, gene_names = data["coarse_names"], data["gene_names"]
model = TreeVAEClustering(n_clusters=10, random_state=0).fit(X)

# %%
# Coarse groups are subtrees
# --------------------------
# Each cluster is named after its most frequent group, with the number of cells of this
# group. The fit did not see these labels. The first split separates myeloid cells from
# lymphocytes. The NK cells are beside the T cells, which they resemble. The split that
# the warning of ``fit`` is about is dashed.
names = []
for cluster in range(model.n_clusters_):
    groups = coarse[model.labels_ == cluster]
    count = np.bincount(groups)
    names.append(f"{group_names[count.argmax()]}\n{count.max()} of {len(groups)}")
print(*names, sep="\n\n")

fig, ax = plt.subplots(figsize=(10, 4.5), layout="constrained")
DendrogramDisplay.from_estimator(model, ax=ax, cluster_names=names)
plt.show()

# %%
# Genes of each node
# ------------------
# Each node shows the genes that tell its cells from all others, by what the model
# generates. CD79A and MS4A1 mark B cells, CD3E marks T cells, and NKG7 and GZMB are
# genes of cytotoxic cells.
TreeDisplay.from_estimator(
    model, feature_names=gene_names, cluster_names=names, orientation="left"
)
plt.show()
