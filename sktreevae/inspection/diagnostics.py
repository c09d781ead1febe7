"""Findings about a fit: what looks wrong, the likely cause, and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import xlog1py, xlogy
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.utils.data import Dataset

from ..data import FeatureTable, Matrix, Samples, TrainingData
from ..exceptions import OutlierWarning, UnsupportedClustersWarning
from ..graph import split_p_values
from ..model import LIKELIHOODS, TreeVAE
from ..training.growth import GrowthOptions
from ..training.trainer import Trainer
from ..tree import Dendrogram
from ..tree.arrays import highest_first
from ..utils.chunks import row_slices
from ..utils.limits import MAX_MODEL_ROWS, ROUNDING
from ..utils.text import shorten
from .columns import last_step, transform_rows
from .effects import MIN_EFFECT, Floats, GroupMoments, as_dense, effect_size
from .explanation import leaf_moments

__all__ = ["Finding", "add_p_values", "diagnose", "find_problems"]

CATEGORIES: dict[str, type[Warning]] = {
    "divergence": ConvergenceWarning,
    "interruption": ConvergenceWarning,
    "missing clusters": ConvergenceWarning,
    "outliers": OutlierWarning,
    "unsupported splits": UnsupportedClustersWarning,
}
"""Class of the warning of each finding; `UserWarning` of all others."""

MIN_PATH_KL = 0.05
"""Minimum information that the latent variables of a leaf have about a sample, in nats.
Models of clusters whose features are independent have several times more."""

MIN_CERTAINTY = 0.7
"""Minimum mean probability of the decisions at a split. Halves of one Gaussian have
0.8, separate clusters more than 0.9."""

MAX_SHARE = 0.9
"""Maximum share of the samples in one leaf."""

MIN_KEPT_GAIN = 0.25
"""Minimum share of the gain over independent features that unseen rows keep."""

N_ERRORS = 3.0
"""Standard errors by which an ELBO or a number of rows must be below expectation."""

MAX_LOSS_PER_FEATURE = 10.0
"""Loss of the ELBO, in nats, from which on rows aren't like the training samples: each
feature is 4.5 standard deviations from its mean."""

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
    """Return problems of a fit.

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

    def find() -> list[Finding | None]:
        rate = trainer.options.learning_rate
        divergence = _find_divergence(estimator, data, rate)
        if divergence is not None:
            return [divergence]
        return [
            _find_outliers(estimator, data, index),
            _find_unsupported_clusters(estimator),
            _find_missing_clusters(estimator, data, options),
        ]

    findings = trainer.interruptible(find)
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


def diagnose(
    estimator: BaseEstimator, X: ArrayLike | Dataset | None = None
) -> list[Finding]:
    """Return problems of a fitted estimator, with the remedies.

    Parameters
    ----------
    estimator : TreeVAEClustering or Pipeline
        Fitted estimator, or a pipeline whose last step it is.
    X : array-like or Dataset of shape (n_samples, n_features), default=None
        Data to diagnose the model on, as for ``estimator.predict``; see
        `TreeVAEClustering.diagnose`.

    Returns
    -------
    findings : list of Finding
        Warnings of the fit, and failures that are measured. Empty if nothing looks
        wrong.

    Raises
    ------
    ValueError
        If X isn't valid.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sktreevae import TreeVAEClustering, diagnose
    >>> X, y = load_iris(return_X_y=True)
    >>> diagnose(TreeVAEClustering(n_clusters=2, random_state=0).fit(X), X)
    []
    """
    if X is not None:
        X = transform_rows(estimator, X)
    estimator = last_step(estimator)
    check_is_fitted(estimator)
    model, tree = estimator.module_, estimator.dendrogram_
    moments, labels, worse = leaf_moments(estimator), None, None
    if X is None:
        samples = FeatureTable.from_tensor(_generate(model))
    else:
        rows, labels = estimator._validate(X), np.asarray(estimator.predict(X))
        scores = np.asarray(estimator.score_samples(X))
        worse = _find_worse_rows(estimator, moments, rows, scores)
        units, device = estimator._standardizer, estimator.device_
        samples = Samples(rows, units, device, likelihood=estimator.likelihood_)
    with estimator._threads():
        path_kl, certainty = _node_statistics(model, samples)
    findings = [
        worse,
        _find_collapse(estimator, path_kl),
        _find_undecided_routers(certainty),
        _find_imbalance(tree),
        _find_duplicates(tree, moments),
        _find_empty_leaves(tree, labels),
    ]
    return [*estimator._findings, *filter(None, findings)]


@torch.no_grad()
def _generate(model: TreeVAE, n_samples: int = 128) -> Tensor:
    """Generate the same number of samples at each leaf."""
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(0)
    leaves = range(len(model.topology.leaves))
    return torch.cat([model.sample(n_samples, generator, [i])[0] for i in leaves])


def _node_statistics(
    model: TreeVAE, rows: FeatureTable | Samples
) -> tuple[Floats, Floats]:
    """Return means of the inference model over the rows that reach a node.

    Returns
    -------
    path_kl : ndarray of shape (n_leaves,)
        Divergences between posterior and prior on the path to each leaf, in nats; NaN
        if no row reaches the leaf.
    certainty : ndarray of shape (n_nodes,)
        Probability of the more probable decision at each node of the dendrogram; NaN
        for leaves, and if no row reaches the node.
    """
    terms = rows.map(partial(_row_terms, model)).numpy(force=True)
    total, weight = np.split(terms.sum(axis=0, dtype=np.float64), 2)
    # Less than one sample says nothing.
    mean = np.divide(total, weight, out=np.full(len(total), np.nan), where=weight >= 1)
    path_kl, certain = np.split(mean, [len(model.topology.leaves)])
    nodes = model.topology.contract().source
    certainty = np.full(len(nodes), np.nan)
    certainty[[nodes.index(node) for node in model.topology.splits]] = certain
    return path_kl, certainty


def _row_terms(model: TreeVAE, x: Tensor) -> Tensor:
    """Return weighted statistics of each row, and their weights, side by side."""
    posterior = model.posterior(model.encode(x))
    topology, routing = model.topology, posterior.routing
    path_kl = model.top_down.index.path_sums(posterior.q.kl(posterior.p))
    certainty = routing.q_logit.abs().sigmoid()
    weight = routing.node_log_proba.exp()[[*topology.leaves, *topology.splits]]
    return torch.cat([weight * torch.cat([path_kl, certainty]), weight]).T


def _find_collapse(estimator: BaseEstimator, path_kl: Floats) -> Finding | None:
    """Find leaves whose latent variables don't depend on the sample."""
    clusters = np.flatnonzero(path_kl < MIN_PATH_KL)
    if not len(clusters):
        return None
    kl = path_kl[clusters]
    remedy = "A lower n_clusters or more samples leave more for them to learn."
    sharper = LIKELIHOODS[estimator.likelihood_].sharper
    if sharper is not None:
        remedy = f"likelihood={sharper!r} tells values apart more sharply. {remedy}"
    return Finding(
        "posterior collapse",
        f"The latent variables of {_name(clusters)} hold at most {kl.max():.2g} nats "
        "about a sample: what the model generates and reconstructs is nearly the same "
        "for all samples of a cluster. Clusters are not affected.",
        remedy,
        _nodes(estimator.dendrogram_, clusters),
        {"kl": tuple(kl.tolist())},
    )


def _find_undecided_routers(certainty: Floats) -> Finding | None:
    """Find splits whose decisions are nearly random."""
    nodes = np.flatnonzero(certainty < MIN_CERTAINTY)
    if not len(nodes):
        return None
    certainty = certainty[nodes]
    return Finding(
        "undecided routers",
        f"The decisions at {_name(nodes, 'node')} are uncertain: the more probable "
        f"branch has a mean probability of {certainty.min():.2f}, where 0.5 is a coin.",
        "A lower n_clusters avoids splits without a gap between their branches; a "
        "higher max_iter trains the routers for longer.",
        tuple(nodes.tolist()),
        {"certainty": tuple(certainty.tolist())},
    )


def _find_imbalance(tree: Dendrogram) -> Finding | None:
    """Find a leaf with nearly all samples."""
    n_samples = tree.n_node_samples[tree.leaves]
    share = n_samples / max(1, n_samples.sum())
    cluster = int(share.argmax())
    if tree.n_clusters == 1 or share[cluster] <= MAX_SHARE:
        return None
    return Finding(
        "imbalance",
        f"Cluster {cluster} has {share[cluster]:.1%} of the samples, and the "
        f"{tree.n_clusters - 1} others share the rest.",
        "If they are outliers or duplicates, remove them, or raise min_cluster_size.",
        _nodes(tree, [cluster]),
        {"share": float(share[cluster])},
    )


def _find_duplicates(tree: Dendrogram, moments: GroupMoments) -> Finding | None:
    """Find pairs of leaves that generate nearly the same."""
    pairs = sorted(
        (float(np.linalg.norm(effect_size(moments[i], moments[j]))), i, j)
        for i, j in combinations(range(tree.n_clusters), 2)
    )
    pairs = [pair for pair in pairs if pair[0] < MIN_EFFECT]
    if not pairs:
        return None
    shown = shorten([f"{i} and {j}" for _, i, j in pairs])
    clusters = sorted({cluster for _, *pair in pairs for cluster in pair})
    return Finding(
        "near-duplicate clusters",
        f"Clusters {shown} generate nearly the same: their means are less than "
        f"{MIN_EFFECT:g} standard deviations apart, {pairs[0][0]:.2g} at least.",
        "Lower n_clusters, or cut the tree: predict(X, n_clusters=...).",
        _nodes(tree, clusters),
        {"distance": pairs[0][0]},
    )


def _find_empty_leaves(
    tree: Dendrogram, labels: NDArray[np.int64] | None
) -> Finding | None:
    """Find leaves without samples of the last fit, or without rows that are labeled."""
    n_training = tree.n_node_samples[tree.leaves]
    is_empty, what = n_training == 0, "training samples"
    if labels is not None and not is_empty.any():
        n_rows = np.bincount(labels, minlength=tree.n_clusters)
        # The standard error of a count is the root of its expectation.
        expected = tree.weight[tree.leaves] * len(labels)
        is_empty, what = (n_rows == 0) & (expected >= N_ERRORS**2), "rows of X"
    clusters = np.flatnonzero(is_empty)
    if not len(clusters):
        return None
    return Finding(
        "empty clusters",
        f"No {what} are assigned to {_name(clusters)}.",
        "Samples of all clusters must be in each batch of partial_fit and in X. If "
        "they are, fit again with a lower n_clusters or a larger min_cluster_size.",
        _nodes(tree, clusters),
        {"weight": tuple(tree.weight[tree.leaves][clusters].tolist())},
    )


def _find_worse_rows(
    estimator: BaseEstimator, moments: GroupMoments, X: Matrix, elbo: Floats
) -> Finding | None:
    """Find rows that are far from all samples, or to which the model fits less well.

    Medians are compared, since a few outliers among the rows can have any density.
    """
    training, median = float(estimator.lower_bound_), float(np.median(elbo))
    problem = (
        f"The ELBO is {training:.4g} nats for the training samples, and {median:.4g} "
        "for X (median)."
    )
    numbers = {"training_elbo": training, "elbo": median}
    max_loss = MAX_LOSS_PER_FEATURE * estimator.module_.config.n_features
    is_count = LIKELIHOODS[estimator.likelihood_].is_count
    if not is_count and training - median >= max_loss:
        return Finding(
            "unlike rows",
            problem,
            "Check that the columns of X have the order, the units and the scaling of "
            "the training data.",
            numbers=numbers,
        )
    spread = stats.median_abs_deviation(elbo, scale="normal")
    # The standard error of a median of normal values.
    error = np.sqrt(np.pi / 2) * spread / np.sqrt(len(elbo))
    baseline = _independent_log_prob(X, moments, estimator)
    gain = float(np.median(elbo - baseline))
    training_gain = training - float(np.median(baseline))
    is_lower = training - median > N_ERRORS * error
    if not is_lower or training_gain <= 0 or gain >= MIN_KEPT_GAIN * training_gain:
        return None
    return Finding(
        "overfitting",
        f"{problem} Beyond independent features, the training samples gain "
        f"{training_gain:.3g} nats, and X {gain:.3g}.",
        "early_stopping=True, a weight_decay of 0.1 to 1, a lower max_iter or more "
        "samples help, unless X isn't like the training samples.",
        numbers=numbers | {"training_gain": training_gain, "gain": gain},
    )


def _independent_log_prob(
    X: Matrix, moments: GroupMoments, estimator: BaseEstimator
) -> Floats:
    """Return the log-density of rows if the features were independent, (n_rows,)."""
    columns, root = estimator._standardizer.columns, moments.pool()
    root = GroupMoments(root.mean[columns], root.variance[columns], root.weight)
    density = partial(_feature_log_prob, moments=root, estimator=estimator)
    chunks = (as_dense(X[rows][:, columns]) for rows in row_slices(*X.shape))
    return np.concatenate([density(x.astype(np.float64)).sum(axis=1) for x in chunks])


def _feature_log_prob(
    x: Floats, moments: GroupMoments, estimator: BaseEstimator
) -> Floats:
    """Return the log-density of each value, (n_rows, n_features)."""
    mean, variance = moments.mean, moments.variance
    likelihood = LIKELIHOODS[estimator.likelihood_]
    if likelihood.is_count:
        # Negative binomial; nearly Poisson if the variance isn't larger than the mean.
        mean = np.maximum(mean, ROUNDING)  # no value is impossible
        size = mean**2 / np.maximum(variance - mean, ROUNDING * mean)
        return stats.nbinom.logpmf(x, size, size / (size + mean))
    units = estimator._standardizer
    is_binary = np.full(len(mean), not likelihood.standardize)
    is_binary[list(units.binary)] = True
    p = np.clip((mean - units.center) / units.scale, ROUNDING, 1.0 - ROUNDING)
    target = np.clip((x - units.center) / units.scale, 0.0, 1.0)
    binary = xlogy(target, p) + xlog1py(1.0 - target, -p)
    return np.where(is_binary, binary, stats.norm.logpdf(x, mean, np.sqrt(variance)))


def _nodes(tree: Dendrogram, clusters: Iterable[int]) -> tuple[int, ...]:
    """Return the nodes of leaves."""
    return tuple(int(node) for node in tree.leaves[list(clusters)])


def _name(numbers: NDArray[np.int64], noun: str = "cluster") -> str:
    """Return a list of clusters or nodes in words."""
    return f"{noun}{'s' * (len(numbers) > 1)} {shorten(numbers)}"
