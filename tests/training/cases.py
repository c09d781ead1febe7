"""Data and objects that several modules are tested on."""

from dataclasses import replace

import torch
from sklearn.datasets import make_blobs

from sktreevae.data import Standardizer, TrainingData
from sktreevae.model import FeatureMap, ModelConfig
from sktreevae.training.contrastive import ContrastOptions
from sktreevae.training.growth import GrowthOptions
from sktreevae.training.state import Generators
from sktreevae.training.trainer import Trainer, TrainingOptions

CONFIG = ModelConfig(
    n_features=3, hidden_dim=16, latent_dim=2, bottom_up_depth=3, likelihood="gaussian"
)


def make_data(X, n_validation=0):
    """Return training data whose features are the standardized rows."""
    data = TrainingData.reuse(
        X,
        Standardizer(X.mean(axis=0), X.std(axis=0)),
        FeatureMap(X.shape[1]),
        CONFIG,
        torch.device("cpu"),
    )
    rows = torch.arange(len(X))
    train, validation = rows[: len(X) - n_validation], rows[len(X) - n_validation :]
    return replace(data, train=train, validation=validation)


def make_trainer(seed=0, **options):
    """Return a trainer without regularization."""
    options = {"learning_rate": 5e-3, "weight_decay": 0.0, "tol": 0.0, **options}
    generator = torch.Generator().manual_seed(seed)
    options = TrainingOptions(n_iter_no_change=10, **options)
    return Trainer(options, Generators(generator))


def make_blobs_growth(
    growth_class, n_clusters=4, n_validation=0, pairs=None, **options
):
    """Return a growth from the top down, of four blobs of 40 samples."""
    X, _ = make_blobs(160, 3, centers=4, cluster_std=0.3, random_state=1)
    trainer = {"max_iter": 3, "seed": 0}
    trainer |= {name: options.pop(name) for name in trainer.keys() & options.keys()}
    return growth_class(
        make_data(X, n_validation),
        CONFIG,
        GrowthOptions(n_clusters, **{"min_cluster_size": 0.01, **options}),
        make_trainer(batch_size=32, **trainer),
        pairs and ContrastOptions(pairs, 2.0, 0.5),
    )
