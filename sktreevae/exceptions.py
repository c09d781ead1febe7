"""Exceptions of the package."""

__all__ = ["InvalidParameterError"]


class InvalidParameterError(ValueError, TypeError):
    """An estimator's parameter has an invalid value."""
