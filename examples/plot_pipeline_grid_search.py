"""
Pipeline, grid search and caching
=================================

The estimator is used in a Pipeline, tuned by a grid search beside
AgglomerativeClustering, and searched faster with a cache. Its embedding serves a
classifier.
"""

# %%
# Grid search over two clusterers
# -------------------------------
# The last step of the pipeline is itself a parameter of the search. The score is the
# dendrogram purity of trees with equally many leaves. Labels are used for scoring only.
# AgglomerativeClustering cannot predict, so the scorer fits it to each test fold. This
# is an advantage, because it sees the samples that it is scored on.
from tempfile import TemporaryDirectory
from time import perf_counter

import matplotlib.pyplot as plt
from scipy.cluster.hierarchy import dendrogram
from sklearn.cluster import AgglomerativeClustering
from sklearn.datasets import load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    ShuffleSplit,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sktreevae import TreeVAEClustering
from sktreevae.metrics import dendrogram_purity_scorer

X, y = load_wine(return_X_y=True)
pipeline = Pipeline([("scale", StandardScaler()), ("cluster", TreeVAEClustering())])
search = GridSearchCV(
    pipeline,
    [
        {
            "cluster": [TreeVAEClustering(random_state=0)],
            "cluster__n_clusters": [2, 3, 4],
        },
        {
            "cluster": [AgglomerativeClustering()],
            "cluster__n_clusters": [2, 3, 4],
        },
    ],
    scoring=dendrogram_purity_scorer,
    cv=3,
)
search.fit(X, y)
results = search.cv_results_
for params, mean in zip(results["params"], results["mean_test_score"], strict=True):
    name = type(params["cluster"]).__name__
    print(f"{name:<24} n_clusters={params['cluster__n_clusters']}  purity {mean:.3f}")

# %%
# Grid search with a cache
# ------------------------
# ``memory`` stores the features, the neighbor graph and the proposed trees. The
# features and the graph are computed once for each fold, and the proposed tree once for
# each fold and ``n_clusters``. Fits that differ only in ``latent_dim`` read all three,
# and train only. The results are the same with and without a cache. ``max_iter=1``
# keeps the example short.
X_digits, y_digits = (array[:800] for array in load_digits(return_X_y=True))


def search_seconds(memory):
    """Return the seconds of a search. There is no cache if memory is None."""
    start = perf_counter()
    GridSearchCV(
        TreeVAEClustering(max_iter=1, random_state=0, memory=memory),
        {"n_clusters": [8, 10], "latent_dim": [4, 8]},
        scoring=dendrogram_purity_scorer,
        cv=ShuffleSplit(1, test_size=0.5, random_state=0),
        refit=False,
    ).fit(X_digits, y_digits)
    return perf_counter() - start


print(f"without a cache: {search_seconds(None):5.1f} s")
with TemporaryDirectory() as folder:
    print(f"with a cache:    {search_seconds(folder):5.1f} s")

# %%
# Cut without a refit, predict, embed
# -----------------------------------
# The same tree gives three clusters or two, also for unseen samples. Its embedding is
# the input of a classifier.
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X_train)
print("three clusters:", model.predict(X_test[:20]))
print("two clusters:  ", model.predict(X_test[:20], n_clusters=2))
classifier = make_pipeline(StandardScaler(), model, LogisticRegression())
print(
    f"accuracy on the embedding: {cross_val_score(classifier, X, y, cv=3).mean():.3f}"
)

# %%
# Drawings by scipy and by ``dendrogram_.plot``
# ---------------------------------------------
fig, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
dendrogram(model.linkage_matrix_, ax=axes[0])
axes[0].set_title("scipy.cluster.hierarchy.dendrogram")
model.dendrogram_.plot(axes[1])
axes[1].set_title("dendrogram_.plot()")
plt.show()
