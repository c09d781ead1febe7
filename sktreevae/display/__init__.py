"""Displays of fitted trees. Matplotlib is imported when a display draws."""

from .contingency import ContingencyMatrixDisplay
from .dendrogram import DendrogramDisplay
from .embedding import EmbeddingDisplay
from .history import HistoryDisplay
from .profile import ProfileDisplay
from .split import SplitDisplay
from .tree import TreeDisplay

__all__ = [
    "ContingencyMatrixDisplay",
    "DendrogramDisplay",
    "EmbeddingDisplay",
    "HistoryDisplay",
    "ProfileDisplay",
    "SplitDisplay",
    "TreeDisplay",
]
