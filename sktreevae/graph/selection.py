"""Choice between proposals from different features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict

from ..data import FeatureTable
from ..utils.limits import MAX_MODEL_ROWS
from ..utils.random import draw_rows, draw_seed
from .proposal import Proposal


def best_proposal(
    proposals: Sequence[Proposal],
    features: FeatureTable,
    n_first: int,
    generator: torch.Generator,
) -> int:
    """Return the position of the proposal that linear classifiers predict best.

    Costs of partitions of different graphs aren't comparable. The score of a proposal
    is the accuracy on held-out samples, averaged over both kinds of features (Gadetsky
    et al. 2024).

    Parameters
    ----------
    proposals : sequence of Proposal
        Proposals for the same samples.
    features : FeatureTable of shape (n_samples, n_features)
        Features of two kinds, side by side.
    n_first : int
        Number of features of the first kind.
    generator : torch.Generator
        Draws samples, if there are many, and their halves.
    """
    rows = draw_rows(len(features), MAX_MODEL_ROWS, generator)
    index = torch.from_numpy(rows).to(features.device)
    kinds = np.split(features[index].numpy(force=True), [n_first], axis=1)
    seed = draw_seed(generator)
    scores = []
    for proposal in proposals:
        cluster = proposal.cluster[index].numpy(force=True)
        scores.append(np.mean([held_out_accuracy(x, cluster, seed) for x in kinds]))
    return int(np.argmax(scores))


def held_out_accuracy(
    x: NDArray[np.floating], cluster: NDArray[np.int64], seed: int
) -> float:
    """Return the accuracy of a linear classifier for clusters of held-out samples.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        At least two samples, with a mean squared length of about 1.
    cluster : ndarray of int of shape (n_samples,)
        Their clusters.
    seed : int
        Seed of the two halves, each of which is predicted by the other.

    Examples
    --------
    >>> x = np.eye(2)[[0, 1] * 20]
    >>> held_out_accuracy(x, x.argmax(axis=1), seed=0)
    1.0
    """
    halves = KFold(2, shuffle=True, random_state=seed)
    is_member = np.eye(cluster.max() + 1)[cluster]
    predicted = cross_val_predict(Ridge(), x, is_member, cv=halves)
    # The column of a single cluster is one-dimensional.
    predicted = predicted.reshape(is_member.shape).argmax(axis=1)
    return float(np.mean(predicted == cluster))
