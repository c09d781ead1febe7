"""How a model comes to fit data: knows the model, but not scikit-learn."""

from .batches import Features, Samples, map_blocks, subset
from .contrast import ContrastOptions
from .gardener import GrowthOptions, train_further
from .growing import IterativeGrowth
from .guiding import GuidedGrowth
from .loop import History, LoopOptions
from .neighbors import nearest_neighbors
from .proposals import GraphClustering
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
    "Features",
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
    "subset",
    "train_further",
]
