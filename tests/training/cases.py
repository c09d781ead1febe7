"""Data and objects that several modules are tested on."""

from dataclasses import replace

import torch

from sktreevae.data import Standardizer, TrainingData
from sktreevae.model import FeatureMap, ModelConfig
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
        "gaussian",
        (),
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
