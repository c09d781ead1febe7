"""
Structure of MNIST in four leaves
=================================

The first experiment of the paper fits a tree with four leaves at depth two. This
example shows which digits share a leaf, and what the model generates at each leaf.

The example uses 2000 of the 60 000 images, which are in ``examples/data``.
``fetch_mnist()`` downloads all of them.
"""

# %%
# Fit
# ---
# 2000 images are enough to show the structure.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sktreevae import TreeVAEClustering
from sktreevae.datasets import fetch_mnist
from sktreevae.display import TreeDisplay

# Notebooks and the build of the documentation have no __file__, and run here.
data_home = Path(globals().get("__file__", "")).parent / "data"
X = fetch_mnist(data_home=data_home).data
X_test, y_test = fetch_mnist(data_home=data_home, subset="test", return_X_y=True)
model = TreeVAEClustering(n_clusters=4, max_depth=2, random_state=0).fit(X)
tree = model.dendrogram_
print(tree.export_text())

# %%
# Digits in each cluster
# ----------------------
# Similar digits share a leaf, and similar leaves share a parent. The table counts
# images of the test part. The fit saw neither these images nor any label.
labels = model.predict(X_test)
counts = np.zeros((4, 10), dtype=int)
np.add.at(counts, (labels, y_test), 1)
print("digit    ", *(f"{digit:5d}" for digit in range(10)))
for cluster in range(model.n_clusters_):
    print(f"cluster {cluster}", *(f"{count:5d}" for count in counts[cluster]))

# %%
# The tree
# --------
# Each node shows the mean image of its samples, and the digits that have more than half
# of their images below it.
node_counts = np.zeros((tree.n_nodes, 10), dtype=int)
node_counts[tree.leaves] = counts
for node in range(tree.n_nodes - 1, 0, -1):
    node_counts[tree.parent[node]] += node_counts[node]
digits = [np.flatnonzero(row > 0.5 * counts.sum(axis=0)) for row in node_counts]
titles = [", ".join(map(str, d)) if len(d) < 10 else "all digits" for d in digits]
TreeDisplay.from_estimator(model, X, image_shape=(28, 28), cmap="gray_r", titles=titles)
plt.show()

# %%
# Generated digits
# ----------------
# Each row shows samples from one leaf.
n_columns = 10
fig, axes = plt.subplots(4, n_columns, figsize=(n_columns, 4.2), layout="constrained")
for cluster, row in enumerate(axes):
    images, _ = model.sample(n_columns, cluster=cluster)
    for ax, image in zip(row, images, strict=True):
        ax.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        ax.set_axis_off()
    row[0].set_title(f"cluster {cluster}", loc="left", fontsize=9)
plt.show()
