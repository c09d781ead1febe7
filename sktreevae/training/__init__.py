"""Training: growths of the tree, objectives, and the loop that optimizes them."""

from .augmentation import Augmentation, ImageAugmentation, check_augmentation
from .callbacks import ProgressLine
from .checkpoint import Checkpoints
from .contrastive import ContrastOptions
from .fitting import (
    GROWTHS,
    Continuation,
    make_fit_task,
    make_growth,
    make_pairs,
)
from .growth import FittedTree, GrowthOptions
from .guided import GuidedGrowth
from .iterative import IterativeGrowth
from .published import PublishedGrowth
from .state import Generators, GrowingLists, History
from .trainer import Callback, Task, Trainer, TrainingOptions

__all__ = [
    "GROWTHS",
    "Augmentation",
    "Callback",
    "Checkpoints",
    "Continuation",
    "ContrastOptions",
    "FittedTree",
    "Generators",
    "GrowingLists",
    "GrowthOptions",
    "GuidedGrowth",
    "History",
    "ImageAugmentation",
    "IterativeGrowth",
    "ProgressLine",
    "PublishedGrowth",
    "Task",
    "Trainer",
    "TrainingOptions",
    "check_augmentation",
    "make_fit_task",
    "make_growth",
    "make_pairs",
]
