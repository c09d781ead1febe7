"""Fitted attributes: from a trained model and its data, and all of them or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from sklearn import config_context
from sklearn.base import BaseEstimator

from ..data import TrainingData
from ..inspection.diagnostics import add_p_values
from ..model import TreeVAE
from ..training import FittedTree, Trainer
from ..tree import Dendrogram
from ..utils.random import draw_seed
from .from_model import build_dendrogram, leaf_statistics, update_dendrogram


@contextmanager
def all_or_nothing(estimator: BaseEstimator) -> Iterator[None]:
    """Restore the estimator if a fit fails or is interrupted, and enable gradients.

    The caller may be inside `torch.no_grad()` or `torch.inference_mode()`, and training
    needs gradients. The caller may have asked for dataframes with `sklearn.set_config`,
    and the transformers inside a fit return arrays.
    """
    before = vars(estimator).copy()
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            config_context(transform_output="default"),
        ):
            yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def fit_attributes(
    tree: FittedTree, choices: dict[str, object], data: TrainingData, trainer: Trainer
) -> dict[str, object]:
    """Return the attributes that `fit` sets.

    Parameters
    ----------
    tree : FittedTree
        Result of the training.
    choices : dict
        What the fit has chosen.
    data : TrainingData
        Samples and features.
    trainer : Trainer
        Has the history, and the source of the halves that clusters are compared on.
    """
    leaves = leaf_statistics(tree.model, data)
    dendrogram = build_dendrogram(tree.model.topology, tree.height, *leaves)
    add_p_values(dendrogram, data, trainer.generators.rng)
    return {
        **_shared_attributes(tree.model, data, dendrogram, trainer),
        "choices_": choices,
        "n_samples_seen_": len(data.samples),
        "_seed": draw_seed(trainer.generators.shared),
    }


def partial_fit_attributes(
    model: TreeVAE, data: TrainingData, trainer: Trainer, estimator: BaseEstimator
) -> dict[str, object]:
    """Return the attributes that `partial_fit` sets.

    Parameters
    ----------
    model : TreeVAE
        The model after the pass over the new samples.
    data : TrainingData
        The new samples and their features.
    trainer : Trainer
        Has the history.
    estimator : TreeVAEClustering
        Fitted to earlier samples.
    """
    leaves, n_seen = leaf_statistics(model, data), estimator.n_samples_seen_
    dendrogram = update_dendrogram(estimator.dendrogram_, n_seen, *leaves)
    return {
        **_shared_attributes(model, data, dendrogram, trainer),
        # A fit that was interrupted has been continued.
        "_findings": [f for f in estimator._findings if f.name != "interruption"],
        "n_samples_seen_": n_seen + len(data.samples),
        "_seed": draw_seed(trainer.generators.shared),
    }


def _shared_attributes(
    model: TreeVAE, data: TrainingData, dendrogram: Dendrogram, trainer: Trainer
) -> dict[str, object]:
    """Return the attributes that `fit` and `partial_fit` share."""
    history = trainer.history.as_lists()
    return {
        "module_": model,
        "device_": data.samples.device,
        "kind_": data.kind.name,
        "likelihood_": data.likelihood,
        "_standardizer": data.standardizer,
        "history_": history,
        "n_iter_": len(history["epoch"]),
        "lower_bound_": _last_elbo(history),
        "dendrogram_": dendrogram,
        "labels_": dendrogram.labels,
        "n_clusters_": dendrogram.n_clusters,
        "linkage_matrix_": dendrogram.to_linkage(),
        "_n_features_out": model.config.hidden_dim,
    }


def _last_elbo(history: dict[str, list]) -> float:
    """Return the ELBO of the last epoch that trained on all samples.

    That of a "split" phase is of the new leaves only. A fit can end with one if it is
    interrupted, or stopped by a callback.
    """
    epochs = zip(history["phase"], history["elbo"], strict=True)
    elbos = [elbo for phase, elbo in epochs if phase != "split"]
    return (elbos or history["elbo"])[-1]
