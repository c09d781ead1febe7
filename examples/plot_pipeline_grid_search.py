"""
In a Pipeline and a grid search, beside AgglomerativeClustering
===============================================================

The estimator is one of scikit-learn's in every respect: it takes a place in a
Pipeline, is cloned by a grid search, and is scored like its peers.
"""

# %%
# One search, two clusterers
# --------------------------
# The last step of the pipeline is itself a parameter of the search. Labels are used
# for scoring alone; both are scored by the dendrogram purity of trees with as many
# leaves. AgglomerativeClustering can't predict, so the scorer fits it to each test
# fold anew: an advantage, since it sees the samples that it is scored on.
import matplotlib.pyplot as plt
from scipy.cluster.hierarchy import dendrogram
from sklearn.cluster import AgglomerativeClustering
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
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
# What the others can't: cut without a refit, predict, embed
# ----------------------------------------------------------
# The same tree gives two clusters or three, also for samples it hasn't seen, and its
# embedding serves as features for the next step.
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
model = TreeVAEClustering(n_clusters=3, random_state=0).fit(X_train)
print("three clusters:", model.predict(X_test[:20]))
print("two clusters:  ", model.predict(X_test[:20], n_clusters=2))
classifier = make_pipeline(StandardScaler(), model, LogisticRegression())
print(f"accuracy on the embedding: {cross_val_score(classifier, X, y).mean():.3f}")

# %%
# The tree, drawn by scipy and by ourselves
# -----------------------------------------
fig, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
dendrogram(model.linkage_matrix_, ax=axes[0])
axes[0].set_title("scipy.cluster.hierarchy.dendrogram")
model.dendrogram_.plot(axes[1])
axes[1].set_title("dendrogram_.plot()")
plt.show()
