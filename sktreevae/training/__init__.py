"""How a model comes to fit data: knows the model, but not scikit-learn."""

from .batches import Samples
from .growing import GrowthOptions, grow
from .loop import History, LoopOptions

__all__ = ["GrowthOptions", "History", "LoopOptions", "Samples", "grow"]
