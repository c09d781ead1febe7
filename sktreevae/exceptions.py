"""Exceptions of the package."""

__all__ = [
    "AmbiguousKindWarning",
    "CheckpointWarning",
    "InvalidParameterError",
    "OutlierWarning",
    "ProcessError",
    "UnsupportedClustersWarning",
]


class AmbiguousKindWarning(UserWarning):
    """The kind of the training data isn't clear."""


class CheckpointWarning(UserWarning):
    """The state of a fit can't be written, or only an older one can be read."""


class InvalidParameterError(ValueError, TypeError):
    """An estimator's parameter has an invalid value."""


class OutlierWarning(UserWarning):
    """A value of the training data is far from all others of its feature."""


class ProcessError(RuntimeError):
    """Another process of the same fit has failed."""


class UnsupportedClustersWarning(UserWarning):
    """Held-out samples support fewer clusters than the tree has."""
