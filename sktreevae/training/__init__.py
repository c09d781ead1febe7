"""How a model comes to fit data: knows the model, but not scikit-learn."""

from .batches import Samples, map_blocks
from .gardener import GrowthOptions
from .growing import IterativeGrowth
from .guiding import GraphClustering, GuidedGrowth
from .loop import History, LoopOptions
from .selection import count_supported

__all__ = [
    "GraphClustering",
    "GrowthOptions",
    "GuidedGrowth",
    "History",
    "IterativeGrowth",
    "LoopOptions",
    "Samples",
    "count_supported",
    "map_blocks",
]
