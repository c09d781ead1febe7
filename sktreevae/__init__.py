"""Tree variational autoencoders as a scikit-learn clustering estimator."""

from .clustering import TreeVAEClustering
from .dendrogram import Dendrogram

__all__ = ["Dendrogram", "TreeVAEClustering"]

__version__ = "0.1.0"
