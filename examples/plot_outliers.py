"""
Outliers: digits against clothes
================================

A model of digits should find a boot improbable. ``score_samples`` bounds the
log-density of a sample from below, so low scores mark outliers. TreeVAE and
IsolationForest see 10 000 digits of MNIST, and then score digits and clothes that
neither has seen.

Looks for ``mnist.npz`` and ``fashion_mnist.npz`` in the folder that ``SKTREEVAE_DATA``
names, and asks OpenML otherwise.
"""

# %%
# Fit
# ---
# Neither method sees a label, or an outlier.
import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from sktreevae import TreeVAEClustering
from sktreevae.datasets import load_fashion_mnist, load_mnist

data_dir = os.environ.get("SKTREEVAE_DATA")
X, _, digits, _ = load_mnist(data_dir)
_, _, clothes, _ = load_fashion_mnist(data_dir)
X, digits, clothes = X[:10_000], digits[:2000], clothes[:2000]
models = {
    "TreeVAE": TreeVAEClustering(n_clusters=10, random_state=0).fit(X),
    "IsolationForest": IsolationForest(random_state=0).fit(X),
}

# %%
# Score
# -----
# The area under the ROC curve is the probability that a digit has a higher score than a
# piece of clothing.
images = np.vstack([digits, clothes])
is_digit = np.arange(len(images)) < len(digits)
scores = {name: model.score_samples(images) for name, model in models.items()}
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for ax, (name, score) in zip(axes, scores.items(), strict=True):
    auroc = roc_auc_score(is_digit, score)
    print(f"{name:<15} AUROC {auroc:.4f}")
    bins = np.linspace(*np.quantile(score, [0.005, 1.0]), 50)
    ax.hist(score[is_digit], bins, alpha=0.6, label="digits (inliers)")
    ax.hist(score[~is_digit], bins, alpha=0.6, label="clothes (outliers)")
    ax.set(title=f"{name}: AUROC {auroc:.3f}", xlabel="score_samples", yticks=[])
axes[0].legend(loc="upper left")
plt.show()

# %%
# At the edges
# ------------
# The least probable digits are bold or oddly written. The most probable clothes are
# flat shoes, with few dark pixels. The other way round, a model of clothes doesn't find
# digits improbable; the user guide has figures.
order = np.argsort(scores["TreeVAE"])
rows = {
    "the least probable digits": order[is_digit[order]][:10],
    "the most probable clothes": order[~is_digit[order]][::-1][:10],
}
fig, axes = plt.subplots(2, 10, figsize=(10, 2.4), layout="constrained")
for row, (title, chosen) in zip(axes, rows.items(), strict=True):
    for ax, i in zip(row, chosen, strict=True):
        ax.imshow(images[i].reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        ax.set_axis_off()
    row[0].set_title(title, loc="left", fontsize=9)
plt.show()
