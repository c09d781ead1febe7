"""Failures of fitted models, measured on data or on generated samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, stats
from scipy.special import xlog1py, xlogy
from sklearn.base import BaseEstimator
from torch import Tensor
from torch.utils.data import Dataset

from ..data import FeatureTable, Matrix, Samples, row_slices
from ..model import LIKELIHOODS, TreeVAE
from ..tree import Dendrogram
from .diagnostics import Finding
from .effects import GroupMoments, effect_size, mix_moments
from .explain import leaf_moments

__all__ = ["find_failures"]

N_GENERATED = 128
"""Samples that are generated for each leaf if there is no data."""

MIN_PATH_KL = 0.05
"""Minimum information that the latent variables of a leaf have about a sample, in nats.
Models of clusters whose features are independent have several times more."""

MIN_CERTAINTY = 0.7
"""Minimum mean probability of the decisions at a split. Halves of one Gaussian have
0.8, separate clusters more than 0.9."""

MAX_SHARE = 0.9
"""Maximum share of the samples in one leaf."""

MIN_DISTANCE = 0.5
"""Minimum distance between two leaves, in standard deviations within them. Thirds of a
Gaussian are further apart than 1."""

MIN_EXPECTED_ROWS = 10.0
"""A leaf without rows is empty if so many were expected."""

MIN_KEPT_GAIN = 0.25
"""Minimum share of the gain over independent features that unseen rows keep."""

N_ERRORS = 3.0
"""Standard errors by which an ELBO must fall to be lower for sure."""

MEDIAN_ERROR = 1.2533
"""Standard error of a median of normal values, relative to that of the mean."""

MIN_MEAN = 1e-6
"""Minimum mean of a feature with independent features: no value is impossible."""

MAX_LOSS_PER_FEATURE = 10.0
"""Loss of the ELBO, in nats, from which on rows aren't like the training samples: each
feature is 4.5 standard deviations from its mean."""

MAX_SHOWN = 5
"""Maximum number of clusters or nodes that are named."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NodeStatistics:
    """Statistics of the inference model, means over the samples that reach a node.

    Parameters
    ----------
    path_kl : ndarray of shape (n_leaves,)
        Divergences between posterior and prior on the path to each leaf, in nats; NaN
        if no sample reaches the leaf.
    certainty : ndarray of shape (n_nodes,)
        Probability of the more probable decision at each node of the dendrogram; NaN
        for leaves, and if no sample reaches the node.
    """

    path_kl: Floats
    certainty: Floats


def find_failures(
    estimator: BaseEstimator, X: ArrayLike | Dataset | None
) -> list[Finding]:
    """Return the failures of a fitted estimator.

    Parameters
    ----------
    estimator : TreeVAEClustering
        Fitted estimator.
    X : array-like or Dataset of shape (n_samples, n_features) or None
        Data to look at. None means generated samples, as many at each leaf.
    """
    moments = leaf_moments(estimator)
    tree, labels, overfitting = estimator.dendrogram_, None, None
    if X is None:
        samples = FeatureTable.from_tensor(_generate(estimator.module_))
    else:
        rows = estimator._validate(X)
        labels, elbo = estimator.predict(X), estimator.score_samples(X)
        overfitting = _find_unlike_rows(estimator, elbo) or _find_overfitting(
            estimator, moments, rows, elbo
        )
        samples = Samples(
            rows,
            estimator._standardizer,
            estimator.device_,
            likelihood=estimator.likelihood_,
        )
    with estimator._threads():
        statistics = _node_statistics(estimator.module_, samples)
    findings = [
        overfitting,
        _find_collapse(estimator, statistics),
        _find_undecided_routers(statistics),
        _find_imbalance(tree),
        _find_duplicates(tree, moments),
        _find_empty_leaves(tree, labels),
    ]
    return [finding for finding in findings if finding is not None]


@torch.no_grad()
def _generate(model: TreeVAE) -> Tensor:
    """Generate the same number of samples at each leaf."""
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(0)
    leaves = range(len(model.topology.leaves))
    return torch.cat([model.sample(N_GENERATED, generator, [i])[0] for i in leaves])


def _node_statistics(model: TreeVAE, rows: FeatureTable | Samples) -> NodeStatistics:
    """Measure the inference model on rows."""
    terms = rows.map(partial(_row_terms, model)).numpy(force=True)
    n_leaves, n_splits = len(model.topology.leaves), len(model.topology.splits)
    kl, leaf_weight, certain, split_weight = np.split(
        terms.sum(axis=0, dtype=np.float64), np.cumsum([n_leaves, n_leaves, n_splits])
    )
    nodes = model.topology.contract().source
    certainty = np.full(len(nodes), np.nan)
    splits = [nodes.index(node) for node in model.topology.splits]
    certainty[splits] = _divide(certain, split_weight)
    return NodeStatistics(_divide(kl, leaf_weight), certainty)


def _row_terms(model: TreeVAE, x: Tensor) -> Tensor:
    """Return weighted statistics of each row, and their weights, side by side."""
    posterior = model.posterior(model.encode(x))
    index, routing = model.top_down.index, posterior.routing
    kl = torch.cat([level.q.kl(level.p) for level in posterior.levels])
    leaf_weight = routing.leaf_log_proba.exp()
    path_kl = leaf_weight * (index.ancestry.T @ kl)
    if len(kl) == 1:
        return torch.cat([path_kl, leaf_weight]).T
    split_weight = torch.cat(
        [
            log_proba[index.splits(depth)].exp()
            for depth, log_proba in enumerate(routing.node_log_proba[:-1])
        ]
    )
    certain = split_weight * torch.cat(routing.q_logits).abs().sigmoid()
    return torch.cat([path_kl, leaf_weight, certain, split_weight]).T


def _divide(total: Floats, weight: Floats) -> Floats:
    """Return means, or NaN where the weight is below that of one sample."""
    return np.divide(total, weight, out=np.full(len(total), np.nan), where=weight >= 1)


def _find_collapse(
    estimator: BaseEstimator, statistics: NodeStatistics
) -> Finding | None:
    """Find leaves whose latent variables don't depend on the sample."""
    clusters = np.flatnonzero(statistics.path_kl < MIN_PATH_KL)
    if not len(clusters):
        return None
    kl = statistics.path_kl[clusters]
    remedy = "A lower n_clusters or more samples leave more for them to learn."
    if estimator.likelihood_ == "bernoulli":
        remedy = (
            "likelihood='gaussian' tells values between 0 and 1 apart more sharply. "
            + remedy
        )
    return Finding(
        "posterior collapse",
        f"The latent variables of {_name(clusters)} hold at most {kl.max():.2g} nats "
        "about a sample: what the model generates and reconstructs is nearly the same "
        "for all samples of a cluster. Clusters are not affected.",
        remedy,
        _nodes(estimator.dendrogram_, clusters),
        {"kl": tuple(kl.tolist())},
    )


def _find_undecided_routers(statistics: NodeStatistics) -> Finding | None:
    """Find splits whose decisions are nearly random."""
    nodes = np.flatnonzero(statistics.certainty < MIN_CERTAINTY)
    if not len(nodes):
        return None
    certainty = statistics.certainty[nodes]
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
    if tree.n_leaves == 1 or share[cluster] <= MAX_SHARE:
        return None
    return Finding(
        "imbalance",
        f"Cluster {cluster} has {share[cluster]:.1%} of the samples, and the "
        f"{tree.n_leaves - 1} others share the rest.",
        "If they are outliers or duplicates, remove them, or raise min_cluster_size.",
        _nodes(tree, [cluster]),
        {"share": float(share[cluster])},
    )


def _find_duplicates(tree: Dendrogram, moments: GroupMoments) -> Finding | None:
    """Find pairs of leaves that generate nearly the same."""
    pairs = []
    for i in range(1, tree.n_leaves):
        others = GroupMoments(moments.mean[:i], moments.variance[:i])
        leaf = GroupMoments(moments.mean[i], moments.variance[i])
        distance = np.sqrt(np.square(effect_size(leaf, others)).sum(axis=1))
        pairs += [
            (float(distance[j]), int(j), i)
            for j in np.flatnonzero(distance < MIN_DISTANCE)
        ]
    if not pairs:
        return None
    pairs.sort()
    shown = ", ".join(f"{i} and {j}" for _, i, j in pairs[:MAX_SHOWN])
    clusters = sorted({cluster for _, *pair in pairs for cluster in pair})
    return Finding(
        "near-duplicate clusters",
        f"Clusters {shown} generate nearly the same: their means are less than "
        f"{MIN_DISTANCE:g} standard deviations apart, {pairs[0][0]:.2g} at least.",
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
        n_rows = np.bincount(labels, minlength=tree.n_leaves)
        expected = tree.weight[tree.leaves] * len(labels)
        is_empty, what = (n_rows == 0) & (expected >= MIN_EXPECTED_ROWS), "rows of X"
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


def _find_unlike_rows(estimator: BaseEstimator, elbo: Floats) -> Finding | None:
    """Find rows that are far from all training samples."""
    if LIKELIHOODS[estimator.likelihood_].support == "counts":
        # Log-probabilities of counts have no common scale.
        return None
    loss = float(estimator.lower_bound_ - np.median(elbo))
    if loss < MAX_LOSS_PER_FEATURE * estimator.module_.config.n_features:
        return None
    return Finding(
        "unlike rows",
        f"The ELBO is {estimator.lower_bound_:.4g} nats for the training samples, and "
        f"{np.median(elbo):.4g} for X (median).",
        "Check that the columns of X have the order, the units and the scaling of the "
        "training data.",
        numbers={
            "training_elbo": float(estimator.lower_bound_),
            "elbo": float(np.median(elbo)),
        },
    )


def _find_overfitting(
    estimator: BaseEstimator, moments: GroupMoments, X: Matrix, elbo: Floats
) -> Finding | None:
    """Find that unseen rows don't gain from the model what training samples gain."""
    tree = estimator.dendrogram_
    root = mix_moments(moments, tree.weight[None, tree.leaves])
    baseline = np.concatenate(
        [
            _independent_log_prob(X[rows], root, estimator)
            for rows in row_slices(*X.shape)
        ]
    )
    # Medians, since a few outliers among the rows can have any density.
    gain = float(np.median(elbo - baseline))
    training_gain = float(estimator.lower_bound_ - np.median(baseline))
    spread = stats.median_abs_deviation(elbo, scale="normal")
    error = MEDIAN_ERROR * spread / np.sqrt(len(elbo))
    is_lower = estimator.lower_bound_ - np.median(elbo) > N_ERRORS * error
    if not is_lower or training_gain <= 0 or gain >= MIN_KEPT_GAIN * training_gain:
        return None
    return Finding(
        "overfitting",
        f"The ELBO is {estimator.lower_bound_:.4g} nats for the training samples, and "
        f"{np.median(elbo):.4g} for X (median). Beyond independent features, the "
        f"training samples gain {training_gain:.3g} nats, and X {gain:.3g}.",
        "early_stopping=True, a weight_decay of 0.1 to 1, a lower max_iter or more "
        "samples help, unless X isn't like the training samples.",
        numbers={
            "training_elbo": float(estimator.lower_bound_),
            "elbo": float(np.median(elbo)),
            "training_gain": training_gain,
            "gain": gain,
        },
    )


def _independent_log_prob(
    rows: np.ndarray | sparse.csr_array, moments: GroupMoments, estimator: BaseEstimator
) -> Floats:
    """Return the log-density of rows if the features were independent, (n_rows,)."""
    units = estimator._standardizer
    rows = rows[..., units.columns]
    x = (rows.toarray() if sparse.issparse(rows) else rows).astype(np.float64)
    mean, variance = moments.mean[0, units.columns], moments.variance[0, units.columns]
    support = LIKELIHOODS[estimator.likelihood_].support
    if support == "counts":
        # Negative binomial; nearly Poisson if the variance isn't larger than the mean.
        mean = np.maximum(mean, MIN_MEAN)
        size = mean**2 / np.maximum(variance - mean, MIN_MEAN * mean)
        return stats.nbinom.logpmf(x, size, size / (size + mean)).sum(axis=1)
    is_binary = np.full(len(mean), support == "unit_interval")
    is_binary[list(units.binary)] = True
    p, target = ((v - units.center) / units.scale for v in (mean, x))
    p = np.clip(p, MIN_MEAN, 1.0 - MIN_MEAN)
    target = np.clip(target, 0.0, 1.0)[:, is_binary]
    log_prob = xlogy(target, p[is_binary]) + xlog1py(1.0 - target, -p[is_binary])
    real = ~is_binary
    density = stats.norm.logpdf(x[:, real], mean[real], np.sqrt(variance[real]))
    return log_prob.sum(axis=1) + density.sum(axis=1)


def _nodes(tree: Dendrogram, clusters: Iterable[int]) -> tuple[int, ...]:
    """Return the nodes of leaves."""
    return tuple(int(node) for node in tree.leaves[list(clusters)])


def _name(numbers: NDArray[np.int64], noun: str = "cluster") -> str:
    """Return a list of clusters or nodes in words."""
    shown = ", ".join(map(str, numbers[:MAX_SHOWN]))
    more = len(numbers) - MAX_SHOWN
    plural = "s" * (len(numbers) > 1)
    return f"{noun}{plural} {shown}{f' and {more} more' if more > 0 else ''}"
