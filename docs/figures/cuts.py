"""Samples, their tree, and two cuts of it."""

import matplotlib.pyplot as plt
from sklearn.datasets import make_blobs

from sktreevae import TreeVAEClustering
from sktreevae.display import DendrogramDisplay

centers = [[0, 0], [3, 0], [1.5, 3], [12, 1], [15, 1], [13.5, 8]]
X, y = make_blobs([60] * 6, centers=centers, cluster_std=0.5, random_state=0)
model = TreeVAEClustering(n_clusters=6, random_state=0).fit(X)

fig, axes = plt.subplots(1, 3, figsize=(8, 2.8), layout="constrained")
DendrogramDisplay.from_estimator(model, ax=axes[0])
for ax, n_clusters in zip(axes[1:], (6, 3), strict=True):
    labels = model.predict(X, n_clusters=n_clusters)
    ax.scatter(*X.T, c=labels, cmap="tab10", s=6)
    for label in range(n_clusters):
        ax.annotate(str(label), X[labels == label].mean(axis=0), weight="bold")
    ax.set(xticks=[], yticks=[], title=f"{n_clusters} clusters")
