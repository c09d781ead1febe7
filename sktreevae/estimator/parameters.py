"""Checks of parameters and of X, and the options of data, model and training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import assert_all_finite, validate_data
from torch.utils.data import Dataset

from .._version import __version__
from ..data import DataOptions, LazyRows, Matrix, TrainingData, as_matrix, digest
from ..exceptions import InvalidParameterError
from ..inspection.effects import as_dense
from ..model import MIN_SIDE, ImageLayout, ModelConfig
from ..training.augmentation import check_augmentation
from ..training.checkpoint import Checkpoints, reserved
from ..training.contrastive import ContrastOptions
from ..training.fitting import GROWTHS, make_pairs
from ..training.growth import GrowthOptions
from ..training.trainer import TrainingOptions
from ..utils.archive import fingerprint
from ..utils.chunks import row_slices
from ..utils.devices import resolve_precision
from ..utils.processes import ONE_PROCESS, Processes
from ..utils.validation import Number
from .tables import check_frame, name_columns, warn_of_row_numbers

MIN_AUTO_BATCH_SIZE = 256
"""Minimum of ``batch_size="auto"``."""

MAX_STEPS_PER_EPOCH = 1000
"""Maximum number of update steps of an epoch with ``batch_size="auto"``."""

INTEGER_TYPES = [np.dtype(code) for code in np.typecodes["AllInteger"] + "?"]
FLOAT_TYPES = [
    dtype.newbyteorder(order)
    for dtype in map(np.dtype, (np.float64, np.float32, np.float16))
    for order in "=S"
]


@dataclass(frozen=True)
class ImageShape:
    """Height and width of images, with optional channels first or last."""

    def accepts(self, value: object) -> bool:
        """Return whether the value is allowed."""
        if not isinstance(value, tuple | list) or len(value) not in (2, 3):
            return False
        if not all(Number(Integral, 1).accepts(entry) for entry in value):
            return False
        layout = ImageLayout.from_shape(tuple(value))
        return min(layout.height, layout.width) >= MIN_SIDE

    def __str__(self) -> str:
        return (
            f"a tuple of 2 or 3 ints, two of them sides >= {MIN_SIDE}, the third, if "
            "any, the number of channels, first or last"
        )


def _parameters(estimator: BaseEstimator, options: type) -> dict[str, object]:
    """Return the parameters that are fields of options, by name."""
    names = {field.name for field in fields(options)}
    parameters = estimator.get_params(deep=False)
    return {name: value for name, value in parameters.items() if name in names}


def data_options(estimator: BaseEstimator) -> DataOptions:
    """Return the options of the preparation of data."""
    values = _parameters(estimator, DataOptions)
    if not estimator.early_stopping:
        values["validation_fraction"] = 0.0
    return DataOptions(**values)


def model_config(
    estimator: BaseEstimator,
    n_features: int,
    likelihood: str = "gaussian",
    discrete: tuple[tuple[int, ...], ...] = (),
) -> ModelConfig:
    """Return the sizes and networks of the model; a user's networks are checked."""
    chosen = {"likelihood": likelihood, "discrete": discrete, "n_features": n_features}
    return ModelConfig.create(**_parameters(estimator, ModelConfig) | chosen)


def growth_options(estimator: BaseEstimator) -> GrowthOptions:
    """Return the options that shape the tree."""
    return GrowthOptions(**_parameters(estimator, GrowthOptions))


def training_options(
    estimator: BaseEstimator, n_samples: int, device: torch.device
) -> TrainingOptions:
    """Return the options of the optimizer, with "auto" resolved."""
    values = _parameters(estimator, TrainingOptions)
    values["dtype"] = resolve_precision(estimator.precision, device)
    if estimator.max_iter == "auto":
        values["max_iter"] = None
    if estimator.batch_size == "auto":
        values["batch_size"] = max(
            MIN_AUTO_BATCH_SIZE, math.ceil(n_samples / MAX_STEPS_PER_EPOCH)
        )
    if estimator.learning_rate == "auto":
        values["learning_rate"] = GROWTHS[estimator.growth].learning_rate
    return TrainingOptions(**values)


IGNORED = (
    "checkpoint_dir",
    "checkpoint_interval",
    "device",
    "memory",
    "n_jobs",
    "random_state",
    "verbose",
)
"""Parameters that a fit with checkpoints may go on with other values of."""


@contextmanager
def open_checkpoints(
    estimator: BaseEstimator,
    X: Matrix,
    generator: torch.Generator,
    processes: Processes,
) -> Iterator[Checkpoints | None]:
    """Open the checkpoints of a fit, and seed the generator as they began.

    Without `checkpoint_dir`, there are none. The first process reads and writes them,
    and its seed is that of all.
    """
    seed = processes.lead(generator.initial_seed)
    if estimator.checkpoint_dir is None:
        generator.manual_seed(seed)
        yield None
        return
    with ExitStack() as stack:
        folder = processes.lead(
            lambda: stack.enter_context(reserved(estimator.checkpoint_dir))
        )
        identity = _identity(estimator, X, generator, processes)
        place = folder, estimator.checkpoint_interval
        checkpoints = processes.lead(lambda: Checkpoints(*place, identity, seed))
        generator.manual_seed(checkpoints.seed)
        yield checkpoints


def _identity(
    estimator: BaseEstimator,
    X: Matrix,
    generator: torch.Generator,
    processes: Processes,
) -> dict[str, Any]:
    """Return the parameters, data and versions that determine the result of a fit."""
    parameters = estimator.get_params(deep=False)
    is_seeded = estimator.random_state is not None
    return {
        **{
            name: fingerprint(value)
            for name, value in parameters.items()
            if name not in IGNORED
        },
        "random_state": generator.initial_seed() if is_seeded else None,
        "device": generator.device.type,
        "shape of X": (processes.locate(X.shape[0])[1], X.shape[1]),
        "type of X": np.dtype(X.dtype).str,
        "digest of X": digest(X, processes)[:16],
        # Each process draws the samples to stop training by.
        "processes": processes.size if estimator.early_stopping else None,
        "version of sktreevae": __version__,
        "version of torch": torch.__version__,
    }


def check_views(estimator: BaseEstimator, X: Matrix, device: torch.device) -> None:
    """Check a user's augmentation on the first rows of X."""
    if callable(estimator.views) and X.shape[0]:
        rows = torch.tensor(as_dense(X[:2]), dtype=torch.float32, device=device)
        check_augmentation(estimator.views, rows)


def contrast_options(
    estimator: BaseEstimator, data: TrainingData, generator: torch.Generator
) -> ContrastOptions | None:
    """Return the options of the contrastive losses; None without `views`."""
    if estimator.views is None:
        return None
    pairs = make_pairs(estimator.views, data, estimator.image_shape, generator)
    return ContrastOptions(pairs, estimator.contrastive_weight, estimator.temperature)


def validate_rows(
    estimator: BaseEstimator,
    X: ArrayLike | Dataset,
    *,
    reset: bool,
    processes: Processes = ONE_PROCESS,
) -> Matrix:
    """Return X as a matrix, without a copy of numeric data.

    Parameters
    ----------
    estimator : TreeVAEClustering
        Gets `n_features_in_` and `feature_names_in_`, or is checked against them.
    X : array-like, sparse matrix, Dataset or Dask array
        Rows, or images of the shape `image_shape`.
    reset : bool
        Whether to set the attributes.
    processes : Processes, default=ONE_PROCESS
        Processes that share the data. One of several may have no rows.

    Raises
    ------
    ValueError, TypeError
        If X isn't numeric, two-dimensional and finite, doesn't agree with the
        estimator, or, with `reset`, has fewer rows than clusters are asked for, or
        other columns than in another process.
    """
    X = as_matrix(_flatten_images(X, estimator.image_shape))
    if isinstance(X, LazyRows):
        # Values are checked whenever they are read.
        X = validate_data(estimator, X, reset=reset, skip_check_array=True)
    else:
        check_frame(X)
        if reset:
            warn_of_row_numbers(X)
        try:
            # Integers stay as they are: batches are converted, never the whole.
            matrix = validate_data(
                estimator,
                X,
                reset=reset,
                accept_sparse="csr",
                dtype=[*FLOAT_TYPES, *INTEGER_TYPES],
                ensure_all_finite=False,
                ensure_min_samples=int(processes.size == 1),
            )
            _check_finite(estimator, matrix)
        except ValueError as error:
            raise name_columns(X, error) from error
        X = matrix
    if sparse.issparse(X) and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    _check_images(estimator, X.shape[1])
    if reset:
        _check_union(X, estimator.n_clusters or 1, processes)
    return X


def _check_union(X: Matrix, n_clusters: int, processes: Processes) -> None:
    """Check that all processes have the same columns, and together enough rows."""
    n_samples, n_features = zip(*processes.gather(X.shape), strict=True)
    if len(set(n_features)) > 1:
        raise ValueError(
            "X must have as many features in all processes, but those of rank 0, 1, "
            f"... have {', '.join(map(str, n_features))}."
        )
    if sum(n_samples) < n_clusters:
        raise ValueError(
            f"n_samples={sum(n_samples)} should be >= n_clusters={n_clusters}."
        )


def _check_finite(estimator: BaseEstimator, X: Matrix) -> None:
    """Raise a ValueError if a value isn't finite.

    `validate_data` makes a mask of all values of a float16 matrix at once.
    """
    rows = [slice(None)] if sparse.issparse(X) else row_slices(*X.shape)
    for chunk in rows:
        name = type(estimator).__name__
        assert_all_finite(X[chunk], estimator_name=name, input_name="X")


def _flatten_images(X: object, image_shape: tuple[int, ...] | None) -> object:
    """Return images, an array with more than two dimensions, as rows.

    Raises
    ------
    ValueError
        If the images don't have the shape `image_shape`.
    """
    shape = getattr(X, "shape", ())
    if image_shape is None or len(shape) <= 2 or not hasattr(X, "reshape"):
        return X
    # A channel axis of length 1 may be left out.
    if [n for n in shape[1:] if n != 1] != [n for n in image_shape if n != 1]:
        raise ValueError(
            f"X has images of shape {tuple(shape[1:])}, but image_shape is "
            f"{tuple(image_shape)}."
        )
    return X.reshape((shape[0], -1))


def _check_images(estimator: BaseEstimator, n_features: int) -> None:
    """Check that the parameters for images agree with each other and with the data.

    Raises
    ------
    InvalidParameterError
        If a parameter needs an image shape that is missing, or the image shape does not
        fit the number of features.
    """
    shape = estimator.image_shape
    if shape is None:
        for name in ("encoder", "decoder", "views"):
            value = getattr(estimator, name)
            if value in ("cnn", "resnet", "image"):
                raise InvalidParameterError(
                    f"{name}={value!r} needs an image_shape, got None."
                )
        return
    has_augmentation = ImageLayout.from_shape(shape).channels in (1, 3)
    if estimator.views == "image" and not has_augmentation:
        raise InvalidParameterError(
            "views='image' needs images of 1 or 3 channels, but image_shape is "
            f"{shape!r}. Pass a callable."
        )
    if math.prod(shape) != n_features:
        raise InvalidParameterError(
            f"image_shape={shape!r} means {math.prod(shape)} features, but X has "
            f"{n_features}."
        )
