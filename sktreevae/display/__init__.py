"""Drawings of fitted trees. Matplotlib is imported when something is drawn."""

from .dendrogram import plot_dendrogram
from .image_tree import plot_image_tree
from .split import SplitDisplay

__all__ = ["SplitDisplay", "plot_dendrogram", "plot_image_tree"]
