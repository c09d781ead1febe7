"""Drawings of fitted trees. Matplotlib is imported when a function draws."""

from .dendrogram import plot_dendrogram
from .image_tree import plot_image_tree

__all__ = ["plot_dendrogram", "plot_image_tree"]
