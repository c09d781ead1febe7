"""How a model comes to fit data: knows the model, but not scikit-learn."""

from .batches import Samples, map_blocks
from .contrast import ContrastOptions
from .gardener import GrowthOptions, train_further
from .growing import IterativeGrowth
from .guiding import GraphClustering, GuidedGrowth
from .loop import History, LoopOptions
from .neighbors import nearest_neighbors
from .selection import count_supported
from .views import (
    ImageViews,
    NeighborViews,
    SampleViews,
    View,
    Views,
    check_view,
)

__all__ = [
    "ContrastOptions",
    "GraphClustering",
    "GrowthOptions",
    "GuidedGrowth",
    "History",
    "ImageViews",
    "IterativeGrowth",
    "LoopOptions",
    "NeighborViews",
    "SampleViews",
    "Samples",
    "View",
    "Views",
    "check_view",
    "count_supported",
    "map_blocks",
    "nearest_neighbors",
    "train_further",
]
