"""Embeddings: rows whose direction has a meaning, and whose length has none."""

from __future__ import annotations

import numpy as np
import torch

from ...model import FeatureMap
from ...utils.limits import MAX_STATISTICS_ROWS
from ...utils.random import draw_rows
from ..scaling import MAX_PLAIN_FEATURES
from .base import Kind, Observations, draw_component_rows, raw_features, unit_buffers

MAX_LENGTH_ERROR = 0.01
"""Maximum difference of the length of an embedding from the median length, relative to
the root mean squared distance from the mean. Errors of half precision are smaller; so
are the differences of a fifth of rows of 384 normal values."""


class Embeddings(Kind):
    """Rows of more than 64 features and of both signs, most of which have one length.

    Features are the rows without their mean, scaled to unit length before and after.
    """

    name = "embeddings"
    features = ("directions",)
    round_clusters = True

    def share(self, data: Observations, rng: np.random.Generator) -> float:
        """Return the share of the data that is of this kind; see `Kind.share`."""
        samples, summary = data.samples, data.summary
        if summary.n_features <= MAX_PLAIN_FEATURES or summary.low >= 0:
            return 0.0
        index = torch.from_numpy(draw_rows(len(samples), MAX_STATISTICS_ROWS, rng))
        rows = samples[index.to(samples.device)].numpy(force=True).astype(np.float64)
        rows = rows * samples.standardizer.scale + samples.standardizer.center
        length = np.linalg.norm(rows, axis=1)
        # Rows with one large column have almost one length, too.
        spread = np.sqrt(rows.var(axis=0).sum())
        difference = np.abs(length - np.median(length))
        return float(np.mean(difference < MAX_LENGTH_ERROR * spread))

    def fit_features(self, data: Observations, rng: np.random.Generator) -> FeatureMap:
        """Fit features; see `Kind.fit_features`."""
        samples = data.samples
        index = draw_component_rows(samples, rng)
        feature_map = FeatureMap(samples.n_features, kind="directions")
        feature_map.set_buffers(**unit_buffers(samples.standardizer))
        return feature_map.set_buffers(
            mean=raw_features(feature_map, samples, index).mean(axis=0)
        )
