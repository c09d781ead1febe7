"""Features learned from augmentations, for the neighbor graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data import TrainingData, n_batches
from ..model import FeatureMap
from ..model.layers import MLP, StackedMLP
from ..utils.limits import MAX_STATISTICS_ROWS
from .contrastive import PairSampler, nt_xent
from .optimizer import AdamW


class ViewFeatures(nn.Module):
    """Features, beside an embedding of them that varies little under augmentation.

    Both have a mean squared length of 1, and so has the result. Half as much weight of
    the embedding was less accurate on Fashion-MNIST, Omniglot and CIFAR-10, one seed
    each.

    Parameters
    ----------
    feature_map : FeatureMap
        Maps data to features.
    generator : torch.Generator
        Source of the initial weights.
    width : int, default=256
        Width of the embedding.
    """

    def __init__(
        self, feature_map: FeatureMap, generator: torch.Generator, width: int = 256
    ) -> None:
        super().__init__()
        n_features = feature_map.n_outputs
        self.n_outputs = n_features + width
        self.feature_map = feature_map
        self.encoder = MLP((n_features, width, width), generator=generator)
        self.register_buffer("mean", torch.zeros(width, device=generator.device))

    def embed(self, features: Tensor) -> Tensor:
        """Map features, (batch, n_features), to embeddings, (batch, width)."""
        return self.encoder(math.sqrt(features.shape[1]) * features)

    def forward(self, x: Tensor) -> Tensor:
        """Map data, (batch, n_columns), to features and embeddings."""
        features = self.feature_map(x)
        embedding = F.normalize(self.embed(features) - self.mean)
        return torch.hstack([features, embedding]) / math.sqrt(2)


def learn_view_features(
    data: TrainingData,
    pairs: PairSampler,
    generator: torch.Generator,
    *,
    max_steps: int = 400,
    max_epochs: int = 40,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
    temperature: float = 0.2,
) -> ViewFeatures:
    """Train an embedding by the NT-Xent loss between two augmentations of a sample.

    The time is bounded, whatever the number of samples. The loss acts on projections,
    so that the embedding can keep information that differs between augmentations.

    Parameters
    ----------
    data : TrainingData
        Samples and features.
    pairs : PairSampler
        Source of augmentations.
    generator : torch.Generator
        Draws weights, batches and augmentations.
    max_steps, max_epochs : int, default=400 and 40
        Maximum numbers of update steps, and of epochs.
    batch_size : int, default=512
        Samples of a step; all if there are fewer.
    learning_rate : float, default=1e-3
        Learning rate of the first step. It falls along a half cosine.
    temperature : float, default=0.2
        Temperature of the loss.
    """
    result = ViewFeatures(data.feature_map, generator)
    width = len(result.mean)
    projection = StackedMLP(1, (width, width, width // 4), generator=generator)
    parameters = *result.encoder.parameters(), *projection.parameters()
    optimizer = AdamW(parameters, weight_decay=0.0)
    n_steps = min(max_steps, max_epochs * n_batches(len(data.train), batch_size))
    for step in range(n_steps):
        order = torch.randperm(
            len(data.train), generator=generator, device=generator.device
        )
        rows = data.train[order[:batch_size]]
        views = (pairs(rows, generator) for _ in range(2))
        a, b = (projection(result.embed(view))[0] for view in views)
        rate = learning_rate * (1 + math.cos(math.pi * step / n_steps)) / 2
        optimizer.step(nt_xent(a, b, temperature), rate)
    rows = data.train[order[:MAX_STATISTICS_ROWS]]
    with torch.no_grad():
        result.mean = data.features.map(result.embed, rows).mean(0)
    if not result.mean.isfinite().all():
        raise FloatingPointError(
            "The features of views aren't finite. Check that views return values in "
            "the range of X."
        )
    return result.eval().requires_grad_(False)
