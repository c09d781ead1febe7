"""The score of density estimators."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from torch.utils.data import Dataset

__all__ = ["ScoreMixin"]


class ScoreMixin:
    """Mean of `score_samples`."""

    def score(
        self,
        X: ArrayLike | Dataset,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the mean ELBO in nats, the mean of `score_samples`.

        Its standard error, as an estimate for the distribution of the samples, is
        ``score_samples(X).std() / sqrt(n_samples)``. It includes the error of the draws
        of the latents, since they are independent between samples.

        Parameters
        ----------
        X : array-like or Dataset of shape (n_samples, n_features)
            Data, as for `fit`.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the mean, not negative; None for equal weights.

        Returns
        -------
        elbo : float
            Nats per sample; higher is better.

        Raises
        ------
        ValueError
            If X or the weights are not valid.
        """
        scores = self.score_samples(X)
        if sample_weight is None:
            return float(scores.mean(dtype=np.float64))
        weights = np.asarray(sample_weight, dtype=np.float64)
        if weights.shape != scores.shape:
            raise ValueError(
                f"sample_weight must have shape {scores.shape}, got {weights.shape}."
            )
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise ValueError(
                "sample_weight must be finite, not negative, and not all zero."
            )
        return float(np.average(scores.astype(np.float64), weights=weights))
