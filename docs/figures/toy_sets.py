"""Clusters of six sets in two dimensions, with a given and an estimated number."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs, make_circles, make_moons

from sktreevae import TreeVAEClustering

N_SAMPLES = 300
rng = np.random.default_rng(0)
blobs = make_blobs(N_SAMPLES, centers=3, random_state=8)[0]
sets = {
    "rings": (make_circles(N_SAMPLES, noise=0.05, factor=0.4, random_state=0)[0], 2),
    "moons": (make_moons(N_SAMPLES, noise=0.06, random_state=0)[0], 2),
    "stretched": (blobs @ [[0.6, -0.6], [-0.4, 0.8]], 3),
    "blobs": (blobs, 3),
    "a square": (rng.random((N_SAMPLES, 2)), 3),
}

fig, axes = plt.subplots(2, len(sets), figsize=(8, 3.7), layout="constrained")
for (name, (X, n_clusters)), column in zip(sets.items(), axes.T, strict=True):
    for n, ax in zip((n_clusters, None), column, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = TreeVAEClustering(n, max_iter=30, random_state=0).fit(X)
        ax.scatter(*X.T, c=model.labels_, cmap="tab20", s=6)
        ax.set(xticks=[], yticks=[], xlabel=f"{model.n_clusters_} clusters")
    column[0].set_title(name)
axes[0, 0].set_ylabel("number given")
axes[1, 0].set_ylabel("n_clusters=None")
