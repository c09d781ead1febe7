"""Exceptions of the package."""

__all__ = [
    "AmbiguousKindWarning",
    "InvalidParameterError",
    "OutlierWarning",
    "UnsupportedClustersWarning",
]


class AmbiguousKindWarning(UserWarning):
    """The kind of the training data isn't clear."""


class InvalidParameterError(ValueError, TypeError):
    """An estimator's parameter has an invalid value."""


class OutlierWarning(UserWarning):
    """A value of the training data is far from all others of its feature."""


class UnsupportedClustersWarning(UserWarning):
    """Held-out samples support fewer clusters than were asked for."""
