"""
Tree of handwritten digits
==========================

This example fits a tree with ten leaves to 1797 digits of 8 by 8 pixels, and compares
it with Ward's method and k-means. ``make demo`` runs it.
"""

# %%
# Fit
# ---
# The pixels need no scaling. ``verbose=1`` prints the progress: the neighbor graph
# proposes the whole tree, then the model is trained in one phase.
import argparse

import matplotlib.pyplot as plt
import numpy as np
from scipy.cluster.hierarchy import linkage
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score

from sktreevae import TreeVAEClustering
from sktreevae.display import ContingencyMatrixDisplay, TreeDisplay
from sktreevae.metrics import clustering_accuracy, dendrogram_purity, leaf_purity

X, y = load_digits(return_X_y=True)
model = TreeVAEClustering(n_clusters=10, random_state=0, verbose=1).fit(X)

# %%
# The tree
# --------
# The height of a split is the separation, in nats, of the two nearest clusters in the
# coarsest cut that has it: at 0.7, random walks on the neighbor graph go from one to
# the other as often as by chance; higher, less often.
print("cluster sizes:", np.bincount(model.labels_))
print(model.dendrogram_.export_text())

# %%
# Comparison with Ward and k-means
# --------------------------------
# Labels are used for evaluation only. Dendrogram purity is the mean purity of the
# smallest subtree that contains two samples of a class, over all such pairs. All trees
# have ten leaves.
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
# Digits in each cluster
# ----------------------
# Clusters are in the order of the tree, and digits where most of their images are.
ContingencyMatrixDisplay.from_estimator(model, X, y)

# %%
# Mean images
# -----------
# Each node shows the mean image and the number of the samples below it. Below each leaf
# stands its cluster.
display = TreeDisplay.from_estimator(
    model, X, image_shape=(8, 8), n_clusters=10, orientation="left", cmap="gray_r"
)
# sphinx_gallery_thumbnail_number = 2

parser = argparse.ArgumentParser()
parser.add_argument("--save", help="file to save the figure to")
save = parser.parse_known_args()[0].save
if save:
    display.figure_.savefig(save, dpi=120)
    print("Figure saved to", save)
else:
    plt.show()
