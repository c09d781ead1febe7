"""From a user's matrix to standardized samples and features."""

from .kinds import KINDS, kind_of_features
from .kinds.discrete import spread_values
from .outliers import MIN_GROUP_SIZE
from .samples import FeatureTable, Samples, n_batches, shuffled_batches
from .scaling import DataSummary, Standardizer, resolve_likelihood
from .sources import LazyRows, Matrix, as_matrix, digest, is_dask_array, is_in_memory
from .training_data import DataOptions, TrainingData

__all__ = [
    "KINDS",
    "MIN_GROUP_SIZE",
    "DataOptions",
    "DataSummary",
    "FeatureTable",
    "LazyRows",
    "Matrix",
    "Samples",
    "Standardizer",
    "TrainingData",
    "as_matrix",
    "digest",
    "is_dask_array",
    "is_in_memory",
    "kind_of_features",
    "n_batches",
    "resolve_likelihood",
    "shuffled_batches",
    "spread_values",
]
