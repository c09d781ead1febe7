"""
New digits from every leaf, and the nearest that were seen
==========================================================

A tree of convolutional networks draws digits from each of its ten leaves. Beside each
is the training image nearest to it: what is drawn isn't a copy. And it is recognised:
``predict`` sends nearly all of it back to the leaf that it was drawn from.

Looks for ``mnist.npz`` in the folder that ``SKTREEVAE_DATA`` names, and asks OpenML
otherwise.
"""

# %%
# Fit
# ---
# ``image_shape`` says that rows are images: convolutional networks see and draw them.
# 4000 images take less than half a minute; all 60 000 draw sharper ones.
import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.neighbors import NearestNeighbors

from sktreevae import TreeVAEClustering
from sktreevae.datasets import load_mnist

X, *_ = load_mnist(os.environ.get("SKTREEVAE_DATA"))
X, X_unseen = X[:4000], X[4000:8000]
model = TreeVAEClustering(10, image_shape=(28, 28), random_state=0).fit(X)

# %%
# Draw
# ----
# Each pair is a new image and, on grey, its nearest neighbour among all 4000.
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
# No copies
# ---------
# If the model repeated its training images, what it draws would be nearer to them than
# to as many others that it hasn't seen.
drawn, labels = model.sample(1000)
for name, images in (("training", X), ("unseen", X_unseen)):
    distance, _ = NearestNeighbors(n_neighbors=1).fit(images).kneighbors(drawn)
    print(f"median distance to the nearest {name} image: {np.median(distance):.2f}")

# %%
# The way back
# ------------
# The samples of a leaf belong there, and the whole tree visits its leaves as often as
# the data does.
back = [
    np.mean(model.predict(model.sample(200, cluster=cluster)[0]) == cluster)
    for cluster in range(model.n_clusters_)
]
of_samples, of_data = (
    np.bincount(found, minlength=model.n_clusters_) / len(found)
    for found in (labels, model.labels_)
)
variation = np.abs(of_samples - of_data).sum() / 2
print(f"sent back to their leaf: {np.mean(back):.3f}, at least {min(back):.3f}")
print(f"total variation of the leaves' frequencies: {variation:.3f}")
