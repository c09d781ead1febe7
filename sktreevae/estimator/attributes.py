"""Fitted attributes: from a trained model and its data, and all of them or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator
from torch import Tensor

from ..data import TrainingData
from ..inspection.diagnostics import add_p_values, find_drift
from ..io.state import derived_attributes
from ..model import Topology, TreeVAE
from ..training.state import FitState
from ..training.trainer import Trainer
from ..tree import Dendrogram
from ..tree.arrays import sum_below
from ..utils.random import draw_seed


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
    state: FitState, data: TrainingData, trainer: Trainer
) -> dict[str, object]:
    """Return the attributes that `fit` sets.

    Parameters
    ----------
    state : FitState
        Result of the training.
    data : TrainingData
        Samples and features.
    trainer : Trainer
        Has the history, and the source of the halves that clusters are compared on.
    """
    model, leaves = state.model, leaf_statistics(state.model, data)
    dendrogram = build_dendrogram(model.topology, state.height.numpy(), *leaves)
    if state.excess_cost is not None:
        splits, source = dendrogram.internal_nodes, model.topology.contract().source
        dendrogram.excess_costs[splits] = state.excess_cost[list(source)][splits]
    add_p_values(dendrogram, data, trainer.generators.rng)
    return {
        **_shared_attributes(model, data, dendrogram, trainer),
        "choices_": state.plan.choices,
        "n_samples_seen_": data.n_samples,
    }


def partial_fit_attributes(
    state: FitState, data: TrainingData, trainer: Trainer, estimator: BaseEstimator
) -> dict[str, object]:
    """Return the attributes that `partial_fit` sets.

    Parameters
    ----------
    state : FitState
        The state after the pass over the new samples.
    data : TrainingData
        The new samples and their features.
    trainer : Trainer
        Has the history.
    estimator : TreeVAEClustering
        Fitted to earlier samples.
    """
    model, n_seen = state.model, estimator.n_samples_seen_
    leaves = leaf_statistics(model, data)
    dendrogram = update_dendrogram(estimator.dendrogram_, n_seen, *leaves)
    # A fit that was interrupted has been continued.
    others = ("interruption", "drift")
    findings = [f for f in estimator._findings if f.name not in others]
    return {
        **_shared_attributes(model, data, dendrogram, trainer),
        "_findings": findings + find_drift(estimator.dendrogram_, dendrogram.labels),
        "n_samples_seen_": n_seen + data.n_samples,
    }


def _shared_attributes(
    model: TreeVAE, data: TrainingData, dendrogram: Dendrogram, trainer: Trainer
) -> dict[str, object]:
    """Return the attributes that `fit` and `partial_fit` share."""
    history, device = trainer.history.as_lists(), data.samples.device
    return {
        **derived_attributes(model, data.standardizer, dendrogram, device),
        "history_": history,
        "n_iter_": len(history["epoch"]),
        "lower_bound_": _last_elbo(history),
        "_seed": data.decide(lambda: draw_seed(trainer.generators.shared)),
    }


def _last_elbo(history: dict[str, list]) -> float:
    """Return the ELBO of the last epoch that trained on all samples.

    That of a "split" phase is of the new leaves only. A fit can end with one if it is
    interrupted, or stopped by a callback.
    """
    epochs = zip(history["phase"], history["elbo"], strict=True)
    elbos = [elbo for phase, elbo in epochs if phase != "split"]
    return (elbos or history["elbo"])[-1]


def leaf_statistics(
    model: TreeVAE, data: TrainingData
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return statistics of samples at the leaves, in one pass over the features.

    Parameters
    ----------
    model : TreeVAE
        The model.
    data : TrainingData
        Samples and features.

    Returns
    -------
    weight : ndarray of shape (n_leaves,)
        Share of the probability mass at each leaf.
    labels : ndarray of int of shape (n_own,)
        Leaf of each sample of this process.
    """
    labels = np.empty(len(data.samples), dtype=np.int64)

    def leaf_proba(rows: Tensor) -> Tensor:
        log_proba = data.features.map(model.leaf_log_proba, rows)
        labels[rows.numpy(force=True)] = log_proba.argmax(1).numpy(force=True)
        return log_proba.exp().double()

    return data.mean(leaf_proba, data.all_rows).numpy(force=True), labels


def build_dendrogram(
    topology: Topology,
    height: NDArray[np.float64],
    leaf_weight: NDArray[np.float64],
    labels: NDArray[np.int64],
) -> Dendrogram:
    """Contract a tree to its leaves and splits.

    Parameters
    ----------
    topology : Topology
        The tree; nodes with one child are contracted away.
    height : ndarray of shape (n_nodes,)
        Height of each node of the tree.
    leaf_weight : ndarray of shape (n_leaves,)
        Share of the probability mass at each leaf.
    labels : ndarray of int of shape (n_samples,)
        Leaf of each sample.
    """
    change = topology.contract()
    parent, leaves = np.array(change.topology.parent), list(change.topology.leaves)
    weight = sum_below(parent, leaves, leaf_weight)
    return Dendrogram(parent, height[list(change.source)], labels, weight)


def update_dendrogram(
    old: Dendrogram,
    n_old: int,
    leaf_weight: NDArray[np.float64],
    labels: NDArray[np.int64],
) -> Dendrogram:
    """Return a dendrogram with the labels of new samples.

    Weights become means over all samples. Heights, p-values and costs stay.

    Parameters
    ----------
    old : Dendrogram
        The tree before.
    n_old : int
        Number of samples that its weights are means of.
    leaf_weight : ndarray of shape (n_leaves,)
        Share of the probability mass of the new samples at each leaf.
    labels : ndarray of int of shape (n_samples,)
        Leaf of each new sample.
    """
    n_new = len(labels)
    mass = n_old * old.weight[old.leaves] + n_new * leaf_weight
    weight = sum_below(old.parent, old.leaves, mass / (n_old + n_new))
    dendrogram = Dendrogram(old.parent, old.height, labels, weight)
    dendrogram.p_values, dendrogram.excess_costs = old.p_values, old.excess_costs
    return dendrogram


def cut_proba(
    dendrogram: Dendrogram, leaf_log_proba: NDArray[np.floating], n_clusters: int | None
) -> NDArray[np.float64]:
    """Return the probabilities of the clusters of a cut.

    The probability of a cluster is proportional to that of its most probable leaf, so
    that cuts nest.

    Parameters
    ----------
    dendrogram : Dendrogram
        The tree.
    leaf_log_proba : ndarray of shape (n_samples, n_leaves)
        log P(l | x).
    n_clusters : int or None
        Number of clusters of the cut; all leaves if None.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_clusters)
        Rows sum to 1.
    """
    starts = np.arange(dendrogram.n_clusters)
    if n_clusters is not None:
        # The leaves of a cluster have consecutive numbers.
        starts = np.searchsorted(dendrogram.cut(n_clusters), np.arange(n_clusters))
    # In float64, different log-probabilities keep their order.
    proba = np.exp(leaf_log_proba.astype(np.float64))
    proba = np.maximum.reduceat(proba, starts, axis=1)
    return proba / proba.sum(axis=1, keepdims=True)
