"""
Tree or flat VAE: clothes
=========================

The second experiment of the paper compares the tree with a flat VAE, whose embedding is
clustered afterwards. A tree of one leaf is a flat VAE. Dendrogram purity on unseen
images of Fashion-MNIST compares the hierarchies.

The example uses 1500 of the 60 000 images, which are in ``examples/data``.
``fetch_fashion_mnist()`` downloads all of them.
"""

# %%
# Fit
# ---
# Both models have the same networks and the same training. The clusters of the flat VAE
# are those of k-means on its embedding, and Ward's method joins their centers.
from pathlib import Path

import matplotlib.pyplot as plt
from scipy.cluster.hierarchy import linkage
from sklearn.cluster import KMeans

from sktreevae import TreeVAEClustering
from sktreevae.datasets import fetch_fashion_mnist
from sktreevae.display import ContingencyMatrixDisplay, TreeDisplay
from sktreevae.metrics import clustering_accuracy, dendrogram_purity, leaf_purity

# Notebooks and the build of the documentation have no __file__, and run here.
data_home = Path(globals().get("__file__", "")).parent / "data"
X = fetch_fashion_mnist(data_home=data_home).data
test = fetch_fashion_mnist(data_home=data_home, subset="test")
X_test, y_test = test.data, test.target
settings = {"max_iter": 20, "random_state": 0}
tree = TreeVAEClustering(n_clusters=10, **settings).fit(X)
flat = TreeVAEClustering(n_clusters=1, **settings).fit(X)
kmeans = KMeans(10, n_init=10, random_state=0).fit(flat.transform(X))
ward = linkage(kmeans.cluster_centers_, "ward")

# %%
# Comparison
# ----------
# Dendrogram purity is the mean purity of the smallest subtree that contains two samples
# of a class. One fit of 1500 images shows the direction only: :doc:`../benchmarks` has
# results of all images and several seeds.
rows = {
    "TreeVAE": (tree.dendrogram_, tree.predict(X_test)),
    "flat VAE": (ward, kmeans.predict(flat.transform(X_test))),
}
print("          dendrogram purity  leaf purity  accuracy")
for name, (hierarchy, labels) in rows.items():
    print(
        f"{name:<9} {dendrogram_purity(y_test, hierarchy, labels):17.3f}"
        f"  {leaf_purity(y_test, labels):11.3f}"
        f"  {clustering_accuracy(y_test, labels):8.3f}"
    )

# %%
# The tree
# --------
# Each node shows the mean of its unseen images.
TreeDisplay.from_estimator(tree, X_test, image_shape=(28, 28), cmap="gray_r")
plt.show()

# %%
# Clothes in each cluster
# -----------------------
ContingencyMatrixDisplay.from_estimator(tree, X_test, test.target_names[y_test])
plt.show()
