"""
Outlier detection: digits and clothes
=====================================

``score_samples`` is a lower bound on the log-density of a sample. Low scores indicate
outliers. TreeVAE and IsolationForest are fitted to 2000 digits of MNIST, and score
unseen digits (inliers) and images of clothes (outliers).

The images are in ``examples/data``. ``fetch_mnist()`` and ``fetch_fashion_mnist()``
download all of them.
"""

# %%
# Fit
# ---
# The training data has no labels and no outliers.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from sktreevae import TreeVAEClustering
from sktreevae.datasets import fetch_fashion_mnist, fetch_mnist

# Notebooks and the build of the documentation have no __file__, and run here.
data_home = Path(globals().get("__file__", "")).parent / "data"
X = fetch_mnist(data_home=data_home).data
digits = fetch_mnist(data_home=data_home, subset="test").data
clothes = fetch_fashion_mnist(data_home=data_home, subset="test").data
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
# Errors
# ------
# The least probable digits have bold strokes or unusual shapes. The most probable
# clothes are flat shoes, with few dark pixels. The reverse task fails: a model of
# clothes does not give digits low scores (see the user guide).
order = np.argsort(scores["TreeVAE"])
rows = {
    "least probable digits": order[is_digit[order]][:10],
    "most probable clothes": order[~is_digit[order]][::-1][:10],
}
fig, axes = plt.subplots(2, 10, figsize=(10, 2.4), layout="constrained")
for row, (title, index) in zip(axes, rows.items(), strict=True):
    for ax, i in zip(row, index, strict=True):
        ax.imshow(images[i].reshape(28, 28), cmap="gray_r", vmin=0, vmax=1)
        ax.set_axis_off()
    row[0].set_title(title, loc="left", fontsize=9)
plt.show()
