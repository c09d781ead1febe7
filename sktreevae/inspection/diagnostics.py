"""Findings about a fit: what looks wrong, the likely cause, and the remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from ..data import FeatureTable, TrainingData
from ..exceptions import OutlierWarning, UnsupportedClustersWarning
from ..graph import split_p_values
from ..model import LIKELIHOODS
from ..training.growth import GrowthOptions
from ..training.trainer import Trainer
from ..tree import Dendrogram
from ..tree.arrays import highest_first
from ..utils.limits import MAX_MODEL_ROWS
from ..utils.text import shorten

__all__ = ["Finding", "add_p_values", "find_problems"]

CATEGORIES: dict[str, type[Warning]] = {
    "divergence": ConvergenceWarning,
    "interruption": ConvergenceWarning,
    "missing clusters": ConvergenceWarning,
    "outliers": OutlierWarning,
    "unsupported splits": UnsupportedClustersWarning,
}
"""Class of the warning of each finding; `UserWarning` of all others."""

MAX_DRIFT = 0.3
"""Maximum share of the rows of `partial_fit` that are in other clusters than before.

Nine batches of the digits and of overlapping blobs have at most 0.01 if they are
shuffled, and at least 0.5 if they are sorted. The warning changes no result.
"""


@dataclass(frozen=True, repr=False)
class Finding:
    """What looks wrong with a fitted estimator, and what helps.

    All values are strings and numbers.

    Parameters
    ----------
    name : str
        Name of the problem, such as "posterior collapse".
    problem : str
        The problem in words, with the numbers.
    remedy : str
        What to do about it: the parameter to change.
    nodes : tuple of int, default=()
        Nodes of ``dendrogram_`` that are concerned, if not the whole tree.
    numbers : dict, default={}
        Measured values by name. A tuple has one value for each of the nodes.

    Attributes
    ----------
    message : str
        Problem and remedy.
    category : type
        Class of the warning.

    Examples
    --------
    >>> from sktreevae.inspection.diagnostics import Finding
    >>> Finding("empty clusters", "Cluster 3 has no samples.", "Lower n_clusters.")
    <Finding empty clusters: Cluster 3 has no samples. Lower n_clusters.>
    """

    name: str
    problem: str
    remedy: str
    nodes: tuple[int, ...] = ()
    numbers: dict[str, float | tuple[float, ...]] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """Problem and remedy."""
        return f"{self.problem} {self.remedy}"

    @property
    def category(self) -> type[Warning]:
        """Class of the warning."""
        return CATEGORIES.get(self.name, UserWarning)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the finding of the fields that `dataclasses.asdict` returns.

        Lists stand for tuples, as in JSON.

        Raises
        ------
        TypeError
            If a field is missing or unknown, or has another type.
        """
        finding = cls(**values)
        texts = finding.name, finding.problem, finding.remedy
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"The texts of a finding are {texts}.")
        numbers = {
            str(name): tuple(value) if isinstance(value, list) else value
            for name, value in dict(finding.numbers).items()
        }
        return replace(finding, nodes=tuple(map(int, finding.nodes)), numbers=numbers)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.message}>"


def find_problems(
    estimator: BaseEstimator,
    data: TrainingData,
    options: GrowthOptions,
    trainer: Trainer,
    index: Sequence[object] | None,
) -> list[Finding]:
    """Return what looks wrong with a fit.

    Parameters
    ----------
    estimator : TreeVAEClustering
        Fitted to `data`, as far as it got.
    data : TrainingData
        Samples and features of the fit.
    options : GrowthOptions
        Growth of the fit.
    trainer : Trainer
        Trainer of the fit.
    index : sequence of length n_samples, or None
        Names of the samples, by default their numbers.
    """

    def diagnose() -> list[Finding | None]:
        rate = trainer.options.learning_rate
        divergence = _find_divergence(estimator, data, rate)
        if divergence is not None:
            return [divergence]
        return [
            _find_outliers(estimator, data, index),
            _find_unsupported_clusters(estimator),
            _find_missing_clusters(estimator, data, options),
        ]

    findings = trainer.interruptible(diagnose)
    if trainer.is_interrupted:
        # Other findings would only be about how far the fit got.
        return [_find_interruption(estimator)]
    return [finding for finding in findings if finding is not None]


def find_drift(before: Dendrogram, labels: NDArray[np.int64]) -> list[Finding]:
    """Find that new rows of `partial_fit` are in other clusters than those before.

    It is measured by the total variation distance of the shares of clusters, without
    what random rows would have on average.

    Parameters
    ----------
    before : Dendrogram
        The tree before the call; its weights are means over all earlier rows.
    labels : ndarray of int of shape (n_samples,)
        Clusters of the new rows.
    """
    expected = before.weight[before.leaves]
    share = np.bincount(labels, minlength=before.n_clusters) / len(labels)
    by_chance = np.sqrt(expected * (1 - expected) / len(labels))
    distance = (np.abs(share - expected) - by_chance).sum() / 2
    if distance <= MAX_DRIFT:
        return []
    return [
        Finding(
            "drift",
            "The rows of partial_fit are in other clusters than the rows before them. "
            "Training on one part of the data after the other moves all clusters.",
            "Shuffle the rows, so that each call has rows of all clusters.",
            numbers={"distance": float(distance)},
        )
    ]


def add_p_values(
    dendrogram: Dendrogram, data: TrainingData, rng: np.random.Generator
) -> None:
    """Set the p-values of the splits of a dendrogram of all samples.

    Parameters
    ----------
    dendrogram : Dendrogram
        The tree, changed in place.
    data : TrainingData
        Samples and features.
    rng : numpy Generator
        Draws the halves that clusters are compared on.
    """
    # Lowest first, as the rows of a linkage matrix.
    splits = highest_first(dendrogram.height, dendrogram.leaf_label)[::-1]
    merges = dendrogram.to_linkage()[:, :2].astype(np.int64)
    rows = data.draw(MAX_MODEL_ROWS, data.all_rows, rng)
    features = FeatureTable.from_tensor(data.gather(data.features[rows]))
    labels = data.gather(torch.from_numpy(dendrogram.labels)[rows.cpu()]).numpy()
    dendrogram.p_values[splits] = data.decide(
        lambda: split_p_values(features, labels, merges, rng)
    )


def _find_interruption(estimator: BaseEstimator) -> Finding:
    """Return what an interrupted fit has reached."""
    asked = "" if estimator.n_clusters is None else f" of {estimator.n_clusters}"
    return Finding(
        "interruption",
        f"Training was interrupted in phase {estimator.history_['phase'][-1]!r}, after "
        f"{estimator.n_iter_} epochs in all. The model has {estimator.n_clusters_}"
        f"{asked} clusters and can be used, but it may be far from converged.",
        "Call fit again to train it to the end.",
        numbers={"epochs": estimator.n_iter_, "clusters": estimator.n_clusters_},
    )


def _find_divergence(
    estimator: BaseEstimator,
    data: TrainingData,
    learning_rate: float,
    max_loss: float = 10.0,
    max_loss_per_feature: float = 4.0,
) -> Finding | None:
    """Find an ELBO that is too low for a trained model, in nats.

    A normal distribution fitted to a standardized feature has a negative log-density of
    1.4 nats, and a fair coin one of 0.7.
    """
    if LIKELIHOODS[data.likelihood].is_count:
        return None
    # Of standardized data.
    loss = -(estimator.lower_bound_ + data.standardizer.log_det)
    n_features = data.summary.n_features
    if loss <= max_loss + max_loss_per_feature * n_features:
        return None
    return Finding(
        "divergence",
        f"Training did not converge: the ELBO is {estimator.lower_bound_:.3g} nats per "
        "sample, far below that of independent features.",
        f"A learning_rate below {learning_rate:g} usually helps.",
        numbers={"elbo": float(estimator.lower_bound_)},
    )


def _find_outliers(
    estimator: BaseEstimator, data: TrainingData, index: Sequence[object] | None
) -> Finding | None:
    """Find values that would be more than half of the variance of their features."""
    if not (LIKELIHOODS[data.likelihood].standardize and data.summary.outliers):
        return None
    mean, std = data.summary.mean, data.summary.std
    max_distance = np.sqrt(data.summary.n_samples)
    low, high = _common_range(data)
    outliers = [
        outlier
        for outlier in data.summary.outliers
        if not low <= outlier.value <= high
        and abs(outlier.value - mean[outlier.feature])
        > max_distance * std[outlier.feature]
    ]
    if not outliers:
        return None
    numbers = np.arange(estimator.n_features_in_, dtype=object)
    names = getattr(estimator, "feature_names_in_", numbers)[data.standardizer.columns]
    samples = range(data.n_samples) if index is None else index
    texts = [
        f"feature {names[outlier.feature]!r}, sample {samples[outlier.sample]}: "
        f"{outlier.value:.6g}, clipped to [{outlier.low:.6g}, {outlier.high:.6g}]"
        for outlier in outliers
    ]
    return Finding(
        "outliers",
        f"X has values far from all others of their features: {shorten(texts, '; ')}.",
        "Correct them, or scale X.",
        numbers={"n_features": len(outliers)},
    )


def _common_range(data: TrainingData) -> tuple[float, float]:
    """Return the bounds of all features together; (inf, -inf) if their units differ.

    A value that is far from all others of its feature is no outlier if other features
    of the same unit have such values, as pixels do.
    """
    low, high = data.summary.bounds.low, data.summary.bounds.high
    is_bounded = np.isfinite(low)
    has_one_unit = data.feature_map.kind in data.kind.common_units
    if not has_one_unit or not is_bounded.any():
        return np.inf, -np.inf
    return low[is_bounded].min(), high[is_bounded].max()


def _find_unsupported_clusters(estimator: BaseEstimator) -> Finding | None:
    """Find splits without a gap between their branches."""
    tree = estimator.dendrogram_
    nodes = np.flatnonzero(~tree.is_supported)
    if len(nodes) == 0:
        return None
    n_supported = estimator.n_clusters_ - len(nodes)
    remedy = "n_clusters=None estimates the number."
    if estimator.n_clusters is None:
        remedy = "Cut the tree: dendrogram_.levels() has numbers with support."
    return Finding(
        "unsupported splits",
        f"Held-out samples support {n_supported} of the {estimator.n_clusters_} "
        "clusters: no gap separates the branches of the other splits.",
        remedy,
        tuple(nodes.tolist()),
        {"n_supported": n_supported, "p_values": tuple(tree.p_values[nodes].tolist())},
    )


def _find_missing_clusters(
    estimator: BaseEstimator, data: TrainingData, options: GrowthOptions
) -> Finding | None:
    """Find that there are fewer clusters than asked for."""
    n_clusters = estimator.n_clusters
    if n_clusters is None or estimator.n_clusters_ >= n_clusters:
        return None
    min_samples = options.min_samples(data.n_samples)
    few = "without" if min_samples == 1 else f"with fewer than {min_samples}"
    return Finding(
        "missing clusters",
        f"Number of clusters found ({estimator.n_clusters_}) is smaller than "
        f"n_clusters ({n_clusters}). Leaves {few} samples (min_cluster_size) "
        "were pruned, or could not be split.",
        f"Possible causes: {_causes(estimator, data)}.",
        numbers={"n_clusters": estimator.n_clusters_, "min_samples": int(min_samples)},
    )


def _causes(
    estimator: BaseEstimator, data: TrainingData, min_samples_per_cluster: int = 20
) -> str:
    """Return the possible causes of missing clusters, the likely ones first."""
    causes = []
    n_train, depth = data.size(data.train), estimator.max_depth
    if depth is not None and estimator.n_clusters > 2**depth:
        causes.append(f"max_depth={depth} has room for {2**depth} leaves")
    if estimator.hidden_dim < estimator.latent_dim:
        causes.append(f"hidden_dim={estimator.hidden_dim} is small")
    if n_train < min_samples_per_cluster * estimator.n_clusters:
        held_out = ", without the validation_fraction" * estimator.early_stopping
        causes.append(f"there are only {n_train} training samples{held_out}")
    causes.append("X has duplicates or outliers")
    sharper = LIKELIHOODS[data.likelihood].sharper
    if sharper is not None:
        causes.append(f"most values of X are tiny (set likelihood={sharper!r})")
    return "; ".join(causes)
