"""Tree variational autoencoders as a scikit-learn clustering estimator."""

from ._version import __version__
from .clustering import TreeVAEClustering
from .dendrogram import Dendrogram

__all__ = ["Dendrogram", "TreeVAEClustering", "__version__"]
