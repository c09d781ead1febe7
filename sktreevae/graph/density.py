"""Held-out density of Gaussian clusters, computed from sums over groups of samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from ..tree.arrays import Ints
from ..utils.limits import MAX_DENSE_ROWS, ROUNDING
from .linkage import Array, sum_members

N_COMPONENTS = 10
"""Number of principal components of the density. Covariances of more components depend
on few samples each."""


def principal_components(
    x: NDArray[np.floating], rows: Ints, seed: int
) -> tuple[Array, int]:
    """Return the first principal components, and the number of dimensions that vary.

    Features that are constant, or linear functions of others, add no dimension.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_features)
        The samples.
    rows : ndarray of int of shape (n_rows,)
        Random samples, in random order.
    seed : int
        Starting point of the decomposition.

    Returns
    -------
    components : ndarray of shape (n_samples, n_components)
        Scaled to variance 1. No column if the samples are equal.
    n_dimensions : int
        Number of dimensions of the features.
    """
    if not np.ptp(x, axis=0).any():
        return np.empty((len(x), 0)), 0
    sample = x[rows[:MAX_DENSE_ROWS]].astype(np.float64)
    sample -= sample.mean(axis=0)
    variance = np.linalg.svd(sample, compute_uv=False) ** 2
    n_dimensions = int((variance > ROUNDING * variance[0]).sum())
    pca = PCA(min(N_COMPONENTS, *x.shape), random_state=seed)
    components = pca.fit_transform(x.astype(np.float64))
    variance = components.var(axis=0)
    varies = variance > ROUNDING * variance[0]
    components = components[:, varies] / np.sqrt(variance[varies])
    return np.ascontiguousarray(components), n_dimensions


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over the samples of groups, for two random halves of the samples.

    Parameters
    ----------
    sums : ndarray of shape (2, n_groups, 1 + n_features + n_features**2)
        Number of samples, sum of the samples and of their outer products.
    n_features : int
        Number of features.
    """

    sums: Array
    n_features: int

    @classmethod
    def of_groups(cls, x: Array, half: Ints, group: Ints, n_groups: int) -> Self:
        """Sum over the samples of each group.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            The samples.
        half : ndarray of int of shape (n_samples,)
            Half of each sample, 0 or 1.
        group : ndarray of int of shape (n_samples,)
            Group of each sample, 0 to n_groups - 1.
        n_groups : int
            Number of groups.
        """
        n_samples, d = x.shape
        products = (x[:, :, None] * x[:, None]).reshape(n_samples, d * d)
        rows = np.hstack([np.ones((n_samples, 1)), x, products])
        sums = sum_members(rows, half * n_groups + group, 2 * n_groups)
        return cls(sums.reshape(2, n_groups, -1), d)

    def merge(self, cluster: Ints) -> Self:
        """Return the sums over clusters of groups, 0 to n_clusters - 1."""
        n_clusters = cluster.max() + 1
        sums = [sum_members(half, cluster, n_clusters) for half in self.sums]
        return replace(self, sums=np.stack(sums))

    def _of_half(self, half: int) -> tuple[Array, Array, Array]:
        """Return the counts, sums and sums of outer products of one half."""
        d = self.n_features
        count, total, square = np.split(self.sums[half], [1, 1 + d], axis=1)
        return count[:, 0], total, square.reshape(-1, d, d)

    def log_density(self) -> float:
        """Return the held-out log-density of clusters, in nats per sample.

        Each half of the samples fits a Gaussian to each cluster, and predicts features
        and cluster of the samples in the other half: the completed log-likelihood of
        Biernacki et al. (2000), without their approximation by the BIC. Covariances are
        shrunk toward the covariance within clusters, with the weight of
        ``n_features + 2`` samples.
        """
        total = sum(self._log_density(1 - half, half) for half in (0, 1))
        return total / self.sums[..., 0].sum()

    def _log_density(self, fit: int, held_out: int) -> float:
        """Return the sum of the log-densities of one half by Gaussians of the other."""
        count, total, square = self._of_half(fit)
        n_clusters, d = total.shape
        n_samples = count.sum()
        center = total.sum(axis=0) / n_samples
        spread = square.sum(axis=0) / n_samples - np.outer(center, center)
        is_empty = count == 0
        mean = total / np.maximum(count, 1)[:, None]
        mean[is_empty] = center
        scatter = square - count[:, None, None] * _outer(mean, mean)
        within = scatter.sum(axis=0) / n_samples
        weight = d + 2
        covariance = scatter + weight * within
        covariance /= (count + weight)[:, None, None]
        covariance[is_empty] = spread
        # The same for all clusters: a single sample of the held-out half that is far
        # from all others says nothing about them.
        covariance += self._rounding_errors()
        log_share = np.log((count + 0.5) / (n_samples + 0.5 * n_clusters))
        count, total, square = self._of_half(held_out)
        scatter = square - _outer(mean, total) - _outer(total, mean)
        scatter += count[:, None, None] * _outer(mean, mean)
        distance = np.einsum("kij,kji->k", np.linalg.inv(covariance), scatter)
        log_det = np.linalg.slogdet(covariance).logabsdet
        constant = log_share - 0.5 * (log_det + d * np.log(2 * np.pi))
        return float(count @ constant - 0.5 * distance.sum())

    def _rounding_errors(self) -> Array:
        """Return the covariance of rounding errors, relative to that of all samples."""
        d = self.n_features
        count, total, square = np.split(self.sums.sum(axis=(0, 1)), [1, 1 + d])
        variance = np.diag(square.reshape(d, d)) / count - (total / count) ** 2
        return np.diag(ROUNDING * np.maximum(variance, ROUNDING))


def _outer(a: Array, b: Array) -> Array:
    """Return the outer products of rows, (n_rows, n_features, n_features)."""
    return a[:, :, None] * b[:, None]
