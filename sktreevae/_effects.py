"""Moments of groups, and effect sizes of the differences between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GroupMoments", "mix_moments"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GroupMoments:
    """Mean and variance of each feature in each group.

    Parameters
    ----------
    mean, variance : ndarray of shape (n_groups, n_features)
        Mean and variance, in the units of X.
    """

    mean: Floats
    variance: Floats


def mix_moments(moments: GroupMoments, share: Floats) -> GroupMoments:
    """Return the moments of mixtures of groups.

    The variance of a mixture is the mean variance of its groups, plus the variance of
    their means.

    Parameters
    ----------
    moments : GroupMoments
        Moments of the groups.
    share : ndarray of shape (n_mixtures, n_groups)
        Share of each group in each mixture; rows sum to 1.
    """
    mean = share @ moments.mean
    variance = np.empty_like(mean)
    for i, row in enumerate(share):
        between = np.square(moments.mean - mean[i])
        variance[i] = row @ (moments.variance + between)
    return GroupMoments(mean, variance)
