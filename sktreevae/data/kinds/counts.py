"""Counts, whose likelihood the user names."""

from __future__ import annotations

import numpy as np
from scipy.linalg import block_diag

from ...exceptions import InvalidParameterError
from ...model import FeatureMap
from ...model.likelihoods import LIKELIHOODS
from ..scaling import MAX_PLAIN_FEATURES
from .base import (
    Kind,
    Observations,
    components,
    draw_component_rows,
    project,
    raw_features,
)

TOTAL_WEIGHT = 0.2
"""Weight of the total of a row of counts, relative to the shares."""


class Counts(Kind):
    """Counts, according to the likelihood.

    Features are the square roots of up to 64 features. Of more features, they are 50
    principal components of the logarithms of their shares, scaled to the median total,
    and the logarithm of the total at a fifth of the weight. The total is the sequencing
    depth of a cell or the length of a text, which says little about its kind.
    """

    name = "counts"
    features = "roots", "log_shares"

    def share(self, data: Observations, rng: np.random.Generator) -> float:
        """Return the share of the data that is of this kind; see `Kind.share`."""
        return float(LIKELIHOODS[data.samples.likelihood].is_count)

    def check(self, data: Observations) -> None:
        """Raise an error for other likelihoods; see `Kind.check`."""
        likelihood = data.samples.likelihood
        allowed = [name for name, kind in LIKELIHOODS.items() if kind.is_count]
        if likelihood not in allowed:
            raise InvalidParameterError(
                f"kind='counts' needs likelihood={' or '.join(map(repr, allowed))}, "
                f"got likelihood={likelihood!r}."
            )

    def fit_features(self, data: Observations, rng: np.random.Generator) -> FeatureMap:
        """Fit features; see `Kind.fit_features`."""
        samples = data.samples
        n_features = samples.n_features
        index = draw_component_rows(samples, rng)
        if n_features <= MAX_PLAIN_FEATURES:
            roots = FeatureMap(n_features, kind="roots")
            raw = raw_features(roots, samples, index)
            return project(roots, raw, components(raw, rng))
        totals = samples.map(lambda rows: rows.sum(1), index).numpy(force=True)
        log_shares = FeatureMap(n_features, kind="log_shares")
        log_shares.set_buffers(depth=max(np.median(totals), 1.0))
        raw = raw_features(log_shares, samples, index)
        shares, total = raw[:, :-1], raw[:, -1:]
        projection = block_diag(
            components(shares, rng), TOTAL_WEIGHT * components(total, rng)
        )
        return project(log_shares, raw, projection)
