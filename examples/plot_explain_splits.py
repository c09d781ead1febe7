"""
What splits are about
=====================

Which features tell the two branches of a split apart? ``explain`` compares the rows in
each branch, or what the model generates there.
"""

# %%
# Tables
# ------
# The root of the iris data splits one species from the two others. Its petals are
# shorter and narrower. Effects are in standard deviations within the branches.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits, load_iris

from sktreevae import TreeVAEClustering
from sktreevae.display import SplitDisplay

X = load_iris(as_frame=True).data
model = TreeVAEClustering(n_clusters=2, random_state=0).fit(X)
explanation = model.explain(0, X)
print(explanation)
SplitDisplay(explanation).plot()
plt.show()

# %%
# Images
# ------
# For images, the mean images of both branches and their difference are drawn. Red
# pixels are brighter in the left branch, and blue ones in the right branch.
digits = load_digits()
model = TreeVAEClustering(n_clusters=10, image_shape=(8, 8), random_state=0)
model.fit(digits.data[:700])
tree = model.dendrogram_
splits = tree.internal_nodes[np.argsort(-tree.height[tree.internal_nodes])]
fig, axes = plt.subplots(3, 1, figsize=(7, 7), layout="constrained")
displays = [
    SplitDisplay.from_estimator(model, node, ax=ax)
    for node, ax in zip(splits[:3], axes, strict=True)
]
plt.show()

# %%
# Clusters
# --------
# ``against="rest"`` compares one cluster with all others. The labels tell which digits
# a cluster has; the fit did not see them.
names = [f"row {i}, column {j}" for i in range(8) for j in range(8)]
for cluster, node in enumerate(tree.leaves):
    found = model.explain(node, against="rest", n_features=3, feature_names=names)
    digit = np.bincount(digits.target[:700][model.labels_ == cluster]).argmax()
    texts = [
        f"{pixel} {'brighter' if d > 0 else 'darker'}"
        for pixel, d in zip(found.feature_names, found.effect, strict=True)
    ]
    print(f"cluster {cluster}, mostly {digit}: {'; '.join(texts)}")
