"""
A tree of topics
================

The documentation of scikit-learn and SciPy is a collection of texts that is at hand.
Functions and classes are clustered by what their docstrings say. Topics have names and
documents at each level of the tree, and new texts go to a topic.
"""

# %%
# Texts
# -----
# The text of a function ends before its notes and examples. The module that it is in is
# not used until the end.
import importlib
import inspect
import re

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, normalize

from sktreevae import TreeVAEClustering, explain
from sktreevae.display import TreeDisplay

MODULES = {
    "scipy": "cluster.hierarchy fft integrate interpolate linalg ndimage optimize "
    "signal sparse sparse.csgraph sparse.linalg spatial.distance special stats",
    "sklearn": "cluster datasets decomposition ensemble feature_selection linear_model "
    "manifold metrics neighbors preprocessing svm tree",
}
END = re.compile(r"\n(See Also|Notes|References|Examples)\n")
modules = {}
for package, names in MODULES.items():
    for name in names.split():
        module = importlib.import_module(f"{package}.{name}")
        for function in module.__all__:
            text = inspect.getdoc(getattr(module, function)) or ""
            if "Returns\n" in text or "Parameters\n" in text:
                modules.setdefault(END.split(text)[0], (f"{package}.{name}", function))
texts, (module_of, function_of) = list(modules), np.array(list(modules.values())).T
print(f"{len(texts)} texts of {len(set(module_of))} modules")

# %%
# Fit
# ---
# A tree clusters embeddings by any encoder. A sentence encoder is best::
#
#     from sentence_transformers import SentenceTransformer
#     X = SentenceTransformer("all-MiniLM-L6-v2").encode(texts)
#
# Here it is latent semantic analysis, which needs no download.
vectorizer = CountVectorizer(
    stop_words="english", token_pattern="[a-zA-Z]{3,}", min_df=3, max_df=0.2
)
counts = vectorizer.fit_transform(texts)
encoder = make_pipeline(
    TfidfTransformer(sublinear_tf=True), TruncatedSVD(100, random_state=0), Normalizer()
)
X = encoder.fit_transform(counts)
model = TreeVAEClustering(n_clusters=20, random_state=0).fit(X)

# %%
# Names
# -----
# Terms come from the counts. c-TF-IDF is the frequency of a term in a topic, weighted
# by how rare the term is in all topics. It names the topics of any cut of the tree.
terms = vectorizer.get_feature_names_out()


def name_topics(labels, n_terms=3):
    """Return the terms of the highest c-TF-IDF of each topic."""
    in_topic = np.eye(labels.max() + 1)[labels].T @ counts
    idf = np.log1p(in_topic.sum() / len(in_topic) / in_topic.sum(axis=0))
    best = np.argsort(-normalize(in_topic, "l1") * idf)[:, :n_terms]
    return [", ".join(terms[row]) for row in best]


tree = model.dendrogram_
for n_topics in (5, 20):
    labels = tree.cut(n_topics)[tree.labels]
    names = name_topics(labels)
    print(f"\n{n_topics} topics")
    for name, size in zip(names, np.bincount(labels), strict=True):
        print(f"{size:4} {name}")

# %%
# The tree with the names of its leaves. Nodes show the terms that they have more of
# than their sibling. ``tree.export_html`` writes a page of the same.
TreeDisplay.from_dendrogram(
    tree, counts, feature_names=terms, cluster_names=names, orientation="left"
)
plt.show()

# %%
# Documents
# ---------
# Those nearest to the mean of a topic say what a name means.
for topic, name in enumerate(names):
    similarity = X @ X[model.labels_ == topic].mean(axis=0)
    nearest = np.argsort(-np.where(model.labels_ == topic, similarity, -1))[:4]
    print(f"{name}: {', '.join(function_of[nearest])}")

# %%
# Splits
# ------
# ``explain`` describes the labels by other columns than those that were clustered.
print(explain(model, 0, counts, labels=model.labels_, feature_names=terms))

# %%
# New texts
# ---------
# They go to a topic at any level.
new = [
    "Compute the eigenvalues of a symmetric banded matrix.",
    "Probability mass function of the number of failures before a success.",
    "Shortest path between two nodes of a graph.",
]
rows = encoder.transform(vectorizer.transform(new))
for n_topics in (5, 20):
    found = name_topics(tree.cut(n_topics)[tree.labels])
    for text, topic in zip(new, model.predict(rows, n_clusters=n_topics), strict=True):
        print(f"{text[:40]}... {found[topic]}")

# %%
# Modules
# -------
# The modules are known, and can be compared with topics.
ami = adjusted_mutual_info_score(module_of, model.labels_)
print(f"AMI of modules and topics: {ami:.2f}")
