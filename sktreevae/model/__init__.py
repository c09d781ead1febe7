"""The probabilistic model: torch only, no training, no scikit-learn."""

from .features import FeatureMap
from .gaussians import Gaussian
from .posterior import ElboTerms, Posterior
from .topdown import TopDown
from .topology import Topology
from .treevae import TreeVAE

__all__ = [
    "ElboTerms",
    "FeatureMap",
    "Gaussian",
    "Posterior",
    "TopDown",
    "Topology",
    "TreeVAE",
]
