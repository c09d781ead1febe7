"""The tree over the clusters, as NumPy arrays; imports no torch."""

from .dendrogram import Dendrogram, DendrogramPlotData

__all__ = ["Dendrogram", "DendrogramPlotData"]
