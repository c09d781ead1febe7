"""Agreement of clusters and hierarchies with classes, and with each other.

All metrics take what is known first, as in `sklearn.metrics`. The scorers take an
estimator and can be passed to ``GridSearchCV(scoring=...)``.
"""

from ._clusters import clustering_accuracy, leaf_purity
from ._hierarchy import cophenetic_correlation, dendrogram_purity, triplet_agreement
from ._scorers import (
    clustering_accuracy_scorer,
    dendrogram_purity_scorer,
    leaf_purity_scorer,
)

__all__ = [
    "clustering_accuracy",
    "clustering_accuracy_scorer",
    "cophenetic_correlation",
    "dendrogram_purity",
    "dendrogram_purity_scorer",
    "leaf_purity",
    "leaf_purity_scorer",
    "triplet_agreement",
]
