"""All that training needs to know about the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ..exceptions import InvalidParameterError
from ..model import FeatureMap, ModelConfig, TreeVAE
from ..model.likelihoods import LIKELIHOODS
from ..utils.cache import Cache
from ..utils.chunks import row_slices
from ..utils.limits import MAX_STATISTICS_ROWS
from ..utils.processes import ONE_PROCESS, Processes
from ..utils.random import draw_rows
from .kinds import Kind, Observations, choose_kind, kind_of_features
from .outliers import FeatureBounds
from .samples import FeatureTable, Samples
from .scaling import MAX_PLAIN_FEATURES, DataSummary, Standardizer, resolve_likelihood
from .sources import Matrix, is_in_memory

T = TypeVar("T")


@dataclass(frozen=True)
class DataOptions:
    """Options of `TrainingData.prepare`.

    Parameters
    ----------
    likelihood : str
        "auto" or the name of a likelihood.
    kind : str
        "auto" or the name of a kind; see `choose_kind`.
    image_shape : tuple of int or None
        Height, width and optionally channels of images.
    validation_fraction : float
        Fraction of the samples that is held out, to stop training by; at most all
        samples but one.
    """

    likelihood: str = "auto"
    kind: str = "auto"
    image_shape: tuple[int, ...] | None = None
    validation_fraction: float = 0.0


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Samples, their features and the split into training and validation samples.

    Parameters
    ----------
    samples : Samples
        Standardized samples.
    feature_map : FeatureMap
        Maps samples to features.
    features : FeatureTable
        Features of all samples.
    train, validation : Tensor of int
        Indices of the samples to train on and of those held out, in ascending order.
    summary : DataSummary
        Statistics of the features in the user's units.
    discrete : tuple of tuples of int
        Discrete columns of a mixed likelihood; see `MixedLikelihood`.
    processes : Processes
        Processes that share the data. Samples, features and indices belong to this
        process; reductions are over the samples of all processes.
    """

    samples: Samples
    feature_map: FeatureMap
    features: FeatureTable
    train: Tensor
    validation: Tensor
    summary: DataSummary
    discrete: tuple[tuple[int, ...], ...]
    processes: Processes = ONE_PROCESS

    @property
    def likelihood(self) -> str:
        """Name of the likelihood."""
        return self.samples.likelihood

    @property
    def kind(self) -> Kind:
        """Kind of the data."""
        return kind_of_features(self.feature_map.kind)

    @property
    def standardizer(self) -> Standardizer:
        """Map between the units of the user and those of the model."""
        return self.samples.standardizer

    @property
    def choices(self) -> dict[str, object]:
        """Kind and number of the features."""
        kind, n_features = self.feature_map.kind, self.feature_map.n_outputs
        return {"features": kind, "n_features": n_features}

    @property
    def n_samples(self) -> int:
        """Number of samples of all processes."""
        return self.summary.n_samples

    @property
    def all_rows(self) -> Tensor:
        """Indices of the samples of this process, (n_own,)."""
        return torch.arange(len(self.samples), device=self.train.device)

    # All reductions over rows, and so over processes.

    def size(self, index: Tensor) -> int:
        """Return the number of samples of an index, in all processes."""
        _, total = self.processes.locate(len(index))
        return total

    def sum(
        self,
        function: Callable[[Tensor], tuple[Tensor, ...]],
        index: Tensor | None = None,
        *,
        block_size: int | None = None,
    ) -> tuple[Tensor, ...]:
        """Return sums over samples, computed block by block.

        Parameters
        ----------
        function : callable
            Maps the indices of a block of samples, (n,), to one or more sums over it.
        index : Tensor of int, default=None
            The samples; all training samples by default.
        block_size : int, default=None
            Maximum number of samples of a block; as many as may be read at once by
            default.
        """
        index = self.train if index is None else index
        size = block_size or self.samples.chunk_size
        blocks = row_slices(len(index), self.samples.n_features, size)
        parts = [function(index[rows]) for rows in blocks]
        totals = (sum(values) for values in zip(*parts, strict=True))
        return tuple(map(self.processes.sum, totals))

    def count(
        self, group: Tensor, n_groups: int, index: Tensor | None = None
    ) -> Tensor:
        """Count the samples of each group, (n_groups,).

        Parameters
        ----------
        group : Tensor of int of shape (n_own,)
            Group of each sample of this process.
        n_groups : int
            Number of groups.
        index : Tensor of int, default=None
            The samples; all by default.
        """
        (count,) = self.sum(
            lambda rows: (group[rows].bincount(minlength=n_groups),),
            self.all_rows if index is None else index,
        )
        return count

    def mean(self, function: Callable[[Tensor], Tensor], index: Tensor) -> Tensor:
        """Return the mean of values of samples, computed block by block.

        Parameters
        ----------
        function : callable
            Maps the indices of a block of samples, (n,), to their values, (n, ...).
        index : Tensor of int
            The samples. The mean of none is 0.
        """
        (total,) = self.sum(lambda rows: (function(rows).sum(0),), index)
        return total / max(1, self.size(index))

    def draw(
        self, n: int, index: Tensor, generator: torch.Generator | np.random.Generator
    ) -> Tensor:
        """Return the indices of up to n random samples of some, in their order.

        All that is decided on a part of the samples is decided on samples drawn here.
        Each process draws in proportion to its samples.
        """
        n_own = self.processes.share(len(index), n)
        rows = draw_rows(len(index), n_own, generator)
        return index[torch.from_numpy(rows).to(index.device)]

    def gather(self, values: Tensor) -> Tensor:
        """Return values of the samples of all processes, in the order of the ranks."""
        return self.processes.concatenate(values)

    def assign(self, model: TreeVAE) -> Tensor:
        """Return the most probable leaf of each sample of this process, (n_own,)."""
        return self.features.map(model.assign_leaves)

    def decide(self, function: Callable[[], T]) -> T:
        """Return the result of a function that chooses between trees.

        The first process calls it for all. The result, such as the merges of clusters,
        has no values of single samples, and the function calls no reduction.
        """
        return self.processes.lead(function)

    def scatter(self, values: Tensor, index: Tensor | None = None) -> Tensor:
        """Spread values of some samples over all samples of this process.

        Parameters
        ----------
        values : Tensor of shape (len(index), ...)
            The values.
        index : Tensor of int, default=None
            Their samples; the training samples by default. Values of others are 0.

        Returns
        -------
        values : Tensor of shape (n_own, ...)
            The values.
        """
        result = values.new_zeros(len(self.samples), *values.shape[1:])
        result[self.train if index is None else index] = values
        return result

    @classmethod
    def prepare(
        cls,
        X: Matrix,
        options: DataOptions,
        generator: torch.Generator,
        rng: np.random.Generator,
        cache: Cache | None = None,
        processes: Processes = ONE_PROCESS,
    ) -> Self:
        """Choose likelihood, scaling and features, and hold samples out.

        Parameters
        ----------
        X : ndarray, CSR matrix or LazyRows of shape (n_samples, n_features)
            Data in the user's units. Before anything else is computed, at most 20 000
            random rows are read for the bounds of outliers, and all rows for their
            statistics.
        options : DataOptions
            Options.
        generator : torch.Generator
            Draws these rows and the validation samples. All tensors are on its
            device.
        rng : numpy.random.Generator
            Fits the feature map.
        cache : Cache, default=None
            Stores the feature map and the features of data in memory.
        processes : Processes, default=ONE_PROCESS
            Processes that share the data, each with its own rows. The first one decides
            for all, on at most 20 000 random rows.

        Raises
        ------
        ValueError
            If the likelihood doesn't support the data, or values are too large.
        """
        if sparse.issparse(X) and X.shape[1] <= MAX_PLAIN_FEATURES:
            X = X.toarray()
        is_image = options.image_shape is not None
        name = options.likelihood
        is_real = name == "auto" or LIKELIHOODS[name].standardize
        observed, bounds = _observe(X, generator, processes), None
        if is_real and not is_image and not sparse.issparse(X):
            bounds = processes.lead(
                lambda: FeatureBounds.from_matrix(observed, generator)
            )
        columns = slice(None) if is_image else None
        summary = DataSummary.from_matrix(
            X, bounds=bounds, columns=columns, processes=processes
        )
        likelihood = resolve_likelihood(summary, name, is_image)
        has_discrete = LIKELIHOODS[likelihood].has_discrete
        if has_discrete and bounds is None:
            raise InvalidParameterError(
                "likelihood='mixed' needs a table, but X is sparse or has images. Pass "
                "X.toarray(), or fit a model with likelihood='auto'."
            )
        standardizer = Standardizer.fit(summary, likelihood, as_a_whole=is_image)
        units = standardizer, generator.device, likelihood
        samples = Samples(X, *units)
        seen = samples if observed is X else Samples(observed, *units)
        if cache is None or not is_in_memory(X):
            cache = Cache(None)
        arguments = seen, summary, options.kind, options.image_shape
        feature_map, values = processes.lead(
            lambda: cache(_fit_features, *arguments, rng=rng)
        )
        feature_map.to(generator.device)
        features = (
            FeatureTable(samples, feature_map)
            if values is None or observed is not X
            else FeatureTable.from_tensor(values.to(generator.device))
        )
        parts = _hold_out(len(samples), options.validation_fraction, generator)
        discrete = summary.binary.groups if has_discrete else ()
        return cls(samples, feature_map, features, *parts, summary, discrete, processes)

    @classmethod
    def reuse(
        cls,
        X: Matrix,
        standardizer: Standardizer,
        feature_map: FeatureMap,
        config: ModelConfig,
        device: torch.device | None = None,
    ) -> Self:
        """Prepare new data for a fitted model, and hold no samples out.

        Parameters
        ----------
        X : ndarray, CSR matrix or LazyRows of shape (n_samples, n_features)
            Data in the user's units. They are read once, and so checked, before
            anything else is computed.
        standardizer : Standardizer
            The standardizer of the model.
        feature_map : FeatureMap
            The feature map of the model, on `device`.
        config : ModelConfig
            Has the likelihood and the discrete columns of the model.
        device : torch.device, default=None
            Device of all tensors; the CPU by default.

        Raises
        ------
        ValueError
            If the likelihood doesn't support the data, or values are too large.
        """
        summary = DataSummary.from_matrix(X, columns=standardizer.columns)
        resolve_likelihood(summary, config.likelihood)
        samples = Samples(X, standardizer, device, config.likelihood)
        features = FeatureTable(samples, feature_map)
        train = torch.arange(len(samples), device=samples.device)
        parts = train, train[:0]
        return cls(samples, feature_map, features, *parts, summary, config.discrete)


def _observe(X: Matrix, generator: torch.Generator, processes: Processes) -> Matrix:
    """Return random rows of all processes; X itself for one process."""
    if processes.size == 1:
        return X
    n_rows = processes.share(X.shape[0], MAX_STATISTICS_ROWS)
    parts = processes.gather(X[draw_rows(X.shape[0], n_rows, generator)])
    if sparse.issparse(X):
        return sparse.vstack(parts, "csr")
    return np.concatenate(list(map(np.asarray, parts)))


def _fit_features(
    samples: Samples,
    summary: DataSummary,
    kind: str,
    image_shape: tuple[int, ...] | None,
    rng: np.random.Generator,
) -> tuple[FeatureMap, Tensor | None]:
    """Fit a feature map, and apply it to data in memory.

    Returns
    -------
    feature_map : FeatureMap
        On the CPU.
    values : Tensor of shape (n_samples, n_outputs) or None
        Features of all samples, on the CPU; None if they aren't kept in memory.
    """
    data = Observations(samples, summary, image_shape)
    feature_map = choose_kind(kind, data, rng).fit_features(data, rng)
    features = FeatureTable(samples, feature_map.to(samples.device))
    values = features[:].cpu() if features.is_in_memory else None
    return feature_map.cpu(), values


def _hold_out(
    n_samples: int, fraction: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Split samples at random into those to train on and those to stop by."""
    n_validation = min(math.ceil(fraction * n_samples), max(0, n_samples - 1))
    order = torch.randperm(n_samples, generator=generator, device=generator.device)
    train, validation = order[n_validation:], order[:n_validation]
    return train.sort().values, validation.sort().values
