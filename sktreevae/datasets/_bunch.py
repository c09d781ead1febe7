"""Results of the fetchers, in the forms of scikit-learn's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import Bunch

from ..utils.extras import import_extra


@dataclass(frozen=True)
class Form:
    """Form of a result.

    Parameters
    ----------
    dataset : str
        Name of the dataset.
    as_tuple : bool
        Whether the result is only data and target.
    as_frame : bool
        Whether data and target are of pandas.

    Raises
    ------
    ImportError
        If `as_frame` is set and pandas is not installed.
    """

    dataset: str
    as_tuple: bool
    as_frame: bool

    def __post_init__(self) -> None:
        if self.as_frame:
            import_extra("pandas", "as_frame=True needs pandas", "'sktreevae[io]'")

    def apply(self, bunch: Bunch) -> Bunch | tuple[Any, Any]:
        """Return a bunch with ``frame`` and ``DESCR``, or its data and target."""
        description = files(__package__).joinpath("descr", f"{self.dataset}.rst")
        bunch.update(frame=None, DESCR=description.read_text("utf-8"))
        if self.as_frame:
            _convert_to_frames(bunch)
        return (bunch.data, bunch.target) if self.as_tuple else bunch


def image_bunch(
    form: Form, images: NDArray, target: NDArray, target_names: Any, **others: NDArray
) -> Bunch | tuple[Any, Any]:
    """Return the result of a fetcher of images.

    Parameters
    ----------
    form : Form
        Form of the result.
    images : ndarray of shape (n_samples, height, width) or (..., 3)
        Levels of dtype uint8, or of float32 in [0, 1].
    target : ndarray of int of shape (n_samples,) or (n_samples, n_outputs)
        Labels.
    target_names : sequence of str
        Names of the classes or outputs.
    **others : ndarray
        Further attributes.
    """
    if images.dtype == np.uint8:
        scaled = np.empty(images.shape, np.float32)
        images = np.divide(images, np.float32(255), out=scaled)
    bunch = Bunch(
        data=images.reshape(len(images), -1),
        images=images,
        target=target,
        feature_names=pixel_names(images.shape[1:]),
        target_names=np.array(target_names),
        **others,
    )
    return form.apply(bunch)


def pixel_names(shape: Sequence[int]) -> list[str]:
    """Return the feature names of images.

    Examples
    --------
    >>> pixel_names((1, 2))
    ['pixel_0_0', 'pixel_0_1']
    >>> pixel_names((1, 1, 3))
    ['pixel_0_0_red', 'pixel_0_0_green', 'pixel_0_0_blue']
    """
    height, width, *channels = shape
    colors = ("_red", "_green", "_blue") if channels else ("",)
    places = itertools.product(range(height), range(width), colors)
    return [f"pixel_{row}_{column}{color}" for row, column, color in places]


def _convert_to_frames(bunch: Bunch) -> None:
    """Convert data and target to pandas, and join them in ``frame``."""
    import pandas as pd

    if sparse.issparse(bunch.data):
        to_frame = pd.DataFrame.sparse.from_spmatrix
    else:
        to_frame = pd.DataFrame
    bunch.data = to_frame(bunch.data, columns=bunch.feature_names)
    if bunch.target.ndim == 2:
        bunch.target = pd.DataFrame(bunch.target, columns=bunch.target_names)
    else:
        bunch.target = pd.Series(bunch.target, name="target")
    bunch.frame = pd.concat([bunch.data, bunch.target], axis=1)
