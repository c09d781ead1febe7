"""Tree variational autoencoders as a scikit-learn clustering estimator."""

from ._version import __version__
from .clustering import TreeVAEClustering
from .dendrogram import Dendrogram
from .training import ImageAugmentation

__all__ = ["Dendrogram", "ImageAugmentation", "TreeVAEClustering", "__version__"]
