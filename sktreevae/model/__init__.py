"""The probabilistic model: torch only, no training, no scikit-learn."""

from .features import FeatureMap
from .gaussians import Gaussian
from .images import MIN_SIDE, ImageLayout
from .networks import decoder_factory, encoder_factory
from .posterior import ElboTerms, Posterior, Routing
from .topdown import TopDown
from .topology import Topology
from .treevae import TreeVAE

__all__ = [
    "ElboTerms",
    "FeatureMap",
    "Gaussian",
    "ImageLayout",
    "MIN_SIDE",
    "Posterior",
    "Routing",
    "TopDown",
    "Topology",
    "TreeVAE",
    "decoder_factory",
    "encoder_factory",
]
