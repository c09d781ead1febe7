"""The probabilistic model, in torch. It knows neither training nor scikit-learn."""

from .config import ModelConfig
from .decoders import LeafDecoders
from .feature_map import FeatureMap
from .gaussians import DiagonalGaussian
from .images import MIN_SIDE, ImageLayout
from .layers import ridge_regression
from .likelihoods import LIKELIHOODS, NORMAL_KURTOSIS
from .moments import Moments, leaf_moments
from .posterior import (
    ElboTerms,
    Encoding,
    Posterior,
    Routing,
    at_depth,
    select_leaves,
)
from .shapes import state_shapes
from .surgery import attach, new_split, prune
from .topdown import TopDown
from .topology import Topology
from .treevae import TreeVAE

__all__ = [
    "LIKELIHOODS",
    "MIN_SIDE",
    "NORMAL_KURTOSIS",
    "DiagonalGaussian",
    "ElboTerms",
    "Encoding",
    "FeatureMap",
    "ImageLayout",
    "LeafDecoders",
    "ModelConfig",
    "Moments",
    "Posterior",
    "Routing",
    "TopDown",
    "Topology",
    "TreeVAE",
    "at_depth",
    "attach",
    "leaf_moments",
    "new_split",
    "prune",
    "ridge_regression",
    "select_leaves",
    "state_shapes",
]
