"""
A tree of handwritten digits
============================

The first thing to try: 1797 digits of 8 by 8 pixels, grown into a tree of ten leaves,
beside Ward's tree and k-means. This is also what ``make demo`` runs.
"""

# %%
# Fit
# ---
# Pixels are rows of numbers for the estimator, and nothing need be scaled. With
# ``verbose=1`` it says what it does: the neighbour graph proposes the tree at once, and
# one phase of training follows.
import argparse

import matplotlib.pyplot as plt
import numpy as np
from scipy.cluster.hierarchy import linkage
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score

from sktreevae import TreeVAEClustering
from sktreevae.metrics import clustering_accuracy, dendrogram_purity, leaf_purity
from sktreevae.plotting import plot_image_tree

X, y = load_digits(return_X_y=True)
model = TreeVAEClustering(n_clusters=10, random_state=0, verbose=1).fit(X)

# %%
# The tree
# --------
# Heights are Jeffreys divergences: how many nats the model would lose if it took the
# samples of one branch for those of the other.
print("cluster sizes:", np.bincount(model.labels_))
print(model.dendrogram_.export_text())

# %%
# Beside Ward and k-means
# -----------------------
# Labels serve to evaluate, never to fit. Dendrogram purity asks: for two samples of a
# class, how pure is the smallest subtree that holds both? All trees have ten leaves.
ward = AgglomerativeClustering(10, compute_full_tree=True).fit(X)
kmeans = KMeans(10, n_init=10, random_state=0).fit(X)
kmeans_tree = linkage(kmeans.cluster_centers_, "ward")
rows = {
    "TreeVAE": (dendrogram_purity(y, model), model.labels_),
    "Ward": (dendrogram_purity(y, ward, n_leaves=10), ward.labels_),
    "KMeans + Ward": (
        dendrogram_purity(y, kmeans_tree, kmeans.labels_),
        kmeans.labels_,
    ),
}
print(f"{'':<14} dendrogram purity  leaf purity  accuracy   NMI")
for name, (purity, labels) in rows.items():
    print(
        f"{name:<14} {purity:17.3f}  {leaf_purity(y, labels):11.3f}"
        f"  {clustering_accuracy(y, labels):8.3f}"
        f"  {normalized_mutual_info_score(y, labels):5.3f}"
    )

# %%
# A picture
# ---------
# The mean image of the samples below each node, and their number.
plot_image_tree(model.dendrogram_, X.reshape(-1, 8, 8), cmap="gray_r")

parser = argparse.ArgumentParser()
parser.add_argument("--save", help="write the picture to this file")
save = parser.parse_known_args()[0].save
if save:
    plt.savefig(save, dpi=120)
    print("The picture is in", save)
else:
    plt.show()
