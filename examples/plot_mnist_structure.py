"""
The structure of MNIST in four leaves
=====================================

The first experiment of the paper: a tree of four leaves at depth two. Which digits end
up together, what does the model draw at each leaf, and how are its nodes related?

Looks for ``mnist.npz`` in the folder that ``SKTREEVAE_DATA`` names, and asks OpenML
otherwise.
"""

# %%
# Fit
# ---
# 3000 images are enough to see the structure, and take seconds.
import os

import matplotlib.pyplot as plt
import numpy as np

from sktreevae import TreeVAEClustering
from sktreevae.datasets import load_mnist
from sktreevae.plotting import plot_image_tree

X, y, X_test, y_test = load_mnist(os.environ.get("SKTREEVAE_DATA"))
X, y = X[:3000], y[:3000]
model = TreeVAEClustering(n_clusters=4, max_depth=2, random_state=0).fit(X)
tree = model.dendrogram_
print(tree.export_text())

# %%
# Who goes where
# --------------
# Digits that are written alike share a leaf, and leaves that are alike share a parent.
# The labels were not seen: they are from the test part, which was not seen either.
labels = model.predict(X_test)
counts = np.zeros((4, 10), dtype=int)
np.add.at(counts, (labels, y_test), 1)
print("digit    ", *(f"{digit:5d}" for digit in range(10)))
for cluster in range(model.n_clusters_):
    print(f"cluster {cluster}", *(f"{count:5d}" for count in counts[cluster]))

# %%
# The learned structure
# ---------------------
# The mean image of each node, with the digits that make up most of it.
below = np.zeros((tree.n_nodes, 10), dtype=int)
below[tree.leaves] = counts
for node in range(tree.n_nodes - 1, 0, -1):
    below[tree.parent[node]] += below[node]
digits = [np.flatnonzero(row > 0.5 * counts.sum(axis=0)) for row in below]
titles = [", ".join(map(str, d)) if len(d) < 10 else "all digits" for d in digits]
plot_image_tree(tree, X.reshape(-1, 28, 28), cmap="gray_r", titles=titles)
plt.show()

# %%
# New digits from every leaf
# --------------------------
# The model is generative: each row below is drawn from one leaf.
n_columns = 10
fig, axes = plt.subplots(4, n_columns, figsize=(n_columns, 4.2), layout="constrained")
for cluster, row in enumerate(axes):
    images, _ = model.sample(n_columns, cluster=cluster)
    for ax, image in zip(row, images, strict=True):
        ax.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        ax.set_axis_off()
    row[0].set_title(f"cluster {cluster}", loc="left", fontsize=9)
plt.show()
