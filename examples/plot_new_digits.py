"""
Generated digits and their nearest training images
==================================================

A tree with convolutional networks generates digits from each of its ten leaves. The
nearest training images show that the samples are not copies. ``predict`` assigns nearly
all samples to the leaf that they were drawn from.

The example uses 1500 of the 60 000 images, which are in ``examples/data``.
``fetch_mnist()`` downloads all of them.
"""

# %%
# Fit
# ---
# With ``image_shape``, encoder and decoders are convolutional networks. A fit of all
# images generates sharper ones.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.neighbors import NearestNeighbors

from sktreevae import TreeVAEClustering
from sktreevae.datasets import fetch_mnist

# Notebooks and the build of the documentation have no __file__, and run here.
data_home = Path(globals().get("__file__", "")).parent / "data"
X = fetch_mnist(data_home=data_home).data
X, X_unseen = X[:1500], X[1500:]
model = TreeVAEClustering(10, image_shape=(28, 28), random_state=0).fit(X)

# %%
# Samples
# -------
# Each pair is a sample and, on gray, its nearest neighbor among all training
# images.
n_columns = 6
search = NearestNeighbors(n_neighbors=1).fit(X)
fig, axes = plt.subplots(
    model.n_clusters_, 2 * n_columns, figsize=(9, 7.8), layout="constrained"
)
for cluster, row in enumerate(axes):
    drawn, _ = model.sample(n_columns, cluster=cluster)
    nearest = X[search.kneighbors(drawn, return_distance=False)[:, 0]]
    for ax, image in zip(row[::2], drawn, strict=True):
        ax.imshow(image.reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
    for ax, image in zip(row[1::2], nearest, strict=True):
        ax.imshow(0.8 * image.reshape(28, 28) + 0.15, cmap="gray_r", vmin=0, vmax=1)
    for ax in row:
        ax.set_axis_off()
    row[0].set_title(f"cluster {cluster}", loc="left", fontsize=8)
plt.show()

# %%
# Samples are not copies
# ----------------------
# If the model reproduced its training images, samples would be closer to these images
# than to as many unseen images.
drawn, labels = model.sample(1000)
for name, images in (("training", X[:500]), ("unseen", X_unseen)):
    distance, _ = NearestNeighbors(n_neighbors=1).fit(images).kneighbors(drawn)
    print(f"median distance to the nearest {name} image: {np.median(distance):.2f}")

# %%
# Consistency of samples and clusters
# -----------------------------------
# Samples of a leaf are assigned to this leaf. The frequencies of the leaves are nearly
# the same among samples from the whole tree and in the data.
back = [
    np.mean(model.predict(model.sample(200, cluster=cluster)[0]) == cluster)
    for cluster in range(model.n_clusters_)
]
sample_frequency, data_frequency = (
    np.bincount(assignment, minlength=model.n_clusters_) / len(assignment)
    for assignment in (labels, model.labels_)
)
variation = np.abs(sample_frequency - data_frequency).sum() / 2
print(f"share assigned to its leaf: mean {np.mean(back):.3f}, minimum {min(back):.3f}")
print(f"total variation distance of the leaf frequencies: {variation:.3f}")
