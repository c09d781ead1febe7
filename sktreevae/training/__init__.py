"""Training: growths of the tree, objectives, and the loop that optimizes them."""

from .augmentation import Augmentation, ImageAugmentation, check_augmentation
from .callbacks import ProgressLine
from .contrastive import ContrastOptions
from .fitting import continue_training, fit_tree, make_pairs
from .growth import GrowthOptions
from .guided import GuidedGrowth
from .iterative import IterativeGrowth
from .published import PublishedGrowth
from .trainer import Callback, History, Trainer, TrainingOptions

__all__ = [
    "Augmentation",
    "Callback",
    "ContrastOptions",
    "GrowthOptions",
    "GuidedGrowth",
    "History",
    "ImageAugmentation",
    "IterativeGrowth",
    "ProgressLine",
    "PublishedGrowth",
    "Trainer",
    "TrainingOptions",
    "check_augmentation",
    "continue_training",
    "fit_tree",
    "make_pairs",
]
