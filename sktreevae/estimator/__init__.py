"""The estimator: its parameters, fitted attributes and callbacks."""

from .clustering import TreeVAEClustering

__all__ = ["TreeVAEClustering"]
