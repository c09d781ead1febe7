"""Tree variational autoencoders as a scikit-learn clustering estimator."""

from ._version import __version__
from .display.html import export_html
from .estimator import TreeVAEClustering
from .inspection.diagnostics import diagnose
from .inspection.explanation import explain
from .training.augmentation import ImageAugmentation
from .tree import Dendrogram

__all__ = [
    "Dendrogram",
    "ImageAugmentation",
    "TreeVAEClustering",
    "__version__",
    "diagnose",
    "explain",
    "export_html",
]
