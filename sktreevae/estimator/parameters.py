"""From the parameters of the estimator to the options of data, model and training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from scipy import sparse

from ..data import DataOptions, Matrix, TrainingData
from ..model import ModelConfig
from ..training import (
    ContrastOptions,
    GrowthOptions,
    TrainingOptions,
    check_augmentation,
    make_pairs,
)
from ..utils.devices import resolve_precision

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = [
    "check_views",
    "contrast_options",
    "data_options",
    "growth_options",
    "model_config",
    "training_options",
]

MIN_AUTO_BATCH_SIZE = 256
"""Minimum of ``batch_size="auto"``."""

MAX_STEPS_PER_EPOCH = 1000
"""Maximum number of update steps of an epoch with ``batch_size="auto"``."""


def data_options(estimator: BaseEstimator) -> DataOptions:
    """Return the options of the preparation of data."""
    fraction = estimator.validation_fraction if estimator.early_stopping else 0.0
    return DataOptions(estimator.likelihood, estimator.image_shape, fraction)


def model_config(
    estimator: BaseEstimator, n_features: int, **fields: object
) -> ModelConfig:
    """Return the sizes and networks of the model; a user's networks are checked."""
    return ModelConfig.create(
        n_features=n_features,
        hidden_dim=estimator.hidden_dim,
        latent_dim=estimator.latent_dim,
        encoder=estimator.encoder,
        decoder=estimator.decoder,
        image_shape=estimator.image_shape,
        **fields,
    )


def growth_options(estimator: BaseEstimator) -> GrowthOptions:
    """Return the options that shape the tree."""
    return GrowthOptions(
        n_clusters=estimator.n_clusters,
        max_depth=estimator.max_depth,
        min_cluster_size=estimator.min_cluster_size,
        growth=estimator.growth,
        split_criterion=estimator.split_criterion,
    )


def training_options(
    estimator: BaseEstimator, n_samples: int, device: torch.device
) -> TrainingOptions:
    """Return the options of the optimizer."""
    batch_size = estimator.batch_size
    if batch_size == "auto":
        batch_size = math.ceil(n_samples / MAX_STEPS_PER_EPOCH)
        batch_size = max(MIN_AUTO_BATCH_SIZE, batch_size)
    return TrainingOptions(
        max_iter=None if estimator.max_iter == "auto" else estimator.max_iter,
        batch_size=batch_size,
        learning_rate=estimator.learning_rate,
        weight_decay=estimator.weight_decay,
        dtype=resolve_precision(estimator.precision, device),
    )


def check_views(estimator: BaseEstimator, X: Matrix, device: torch.device) -> None:
    """Check a user's augmentation on the first rows of X."""
    if callable(estimator.views):
        rows = X[:2].toarray() if sparse.issparse(X) else X[:2]
        rows = torch.tensor(rows, dtype=torch.float32, device=device)
        check_augmentation(estimator.views, rows)


def contrast_options(
    estimator: BaseEstimator, data: TrainingData, generator: torch.Generator
) -> ContrastOptions | None:
    """Return the options of the contrastive losses; None without `views`."""
    if estimator.views is None:
        return None
    pairs = make_pairs(estimator.views, data, estimator.image_shape, generator)
    return ContrastOptions(pairs, estimator.contrastive_weight, estimator.temperature)
