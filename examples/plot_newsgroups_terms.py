"""
Tree of newsgroups and the terms of its splits
==============================================

1500 posts of ten newsgroups are clustered by their tf-idf. The terms tell what a split
is about. The dots in the names of the groups give a hierarchy to compare with.

The file in ``examples/data`` has the 800 most frequent terms of these posts.
``fetch_20newsgroups_tfidf()`` downloads all 20 groups.
"""

# %%
# Fit
# ---
# The matrix is sparse. ``fit`` recognizes text, and gives rare terms more weight.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse import csr_matrix

from sktreevae import TreeVAEClustering
from sktreevae.display import SplitDisplay, TreeDisplay
from sktreevae.metrics import dendrogram_purity

# Notebooks and the build of the documentation have no __file__, and run here.
folder = Path(globals().get("__file__", "")).parent / "data"
with np.load(folder / "newsgroups.npz") as data:
    X = csr_matrix(
        (data["data"].astype(np.float32), data["indices"], data["indptr"]),
        shape=(len(data["y"]), len(data["terms"])),
    )
    terms, groups = data["terms"], data["target_names"][data["y"]]
model = TreeVAEClustering(n_clusters=10, random_state=0).fit(X)
print(f"dendrogram purity: {dendrogram_purity(groups, model):.3f}")

# %%
# Terms of each node
# ------------------
# Each node shows the terms that its posts have more of than those of its sibling, and
# their mean weights. Below each leaf stands its most frequent group, with the share of
# this group.
names = []
for cluster in range(model.n_clusters_):
    found, count = np.unique(groups[model.labels_ == cluster], return_counts=True)
    names.append(f"{found[count.argmax()]} {count.max() / count.sum():.0%}")
TreeDisplay.from_estimator(
    model, feature_names=terms, cluster_names=names, orientation="left"
)
plt.show()

# %%
# Terms of the highest splits
# ---------------------------
# ``explain`` compares the two branches of a node. Terms with positive effects are more
# frequent in the left branch.
tree = model.dendrogram_
splits = tree.internal_nodes[np.argsort(-tree.height[tree.internal_nodes])]
for node in splits[:5]:
    found = model.explain(node, n_features=None, feature_names=terms)
    left, right = (
        ", ".join(found.feature_names[sign * found.effect > 0][:5]) for sign in (1, -1)
    )
    print(f"node {node}: {left}\n    against {right}")

# %%
# The highest split with its effects:
SplitDisplay.from_estimator(model, splits[0], X, feature_names=terms)
plt.show()
