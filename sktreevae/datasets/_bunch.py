"""Results of the fetchers, in the forms of scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import Bunch

from ._sources import Source

__all__ = ["Form", "image_bunch", "pixel_names"]


@dataclass(frozen=True)
class Form:
    """Form of a result.

    Parameters
    ----------
    as_tuple : bool
        Whether the result is only data and target.
    as_frame : bool
        Whether data and target are of pandas.

    Raises
    ------
    ImportError
        If `as_frame` is set and pandas is not installed.
    """

    as_tuple: bool
    as_frame: bool

    def __post_init__(self) -> None:
        if self.as_frame:
            _import_pandas()

    def apply(self, bunch: Bunch) -> Bunch | tuple[Any, Any]:
        """Return a bunch with ``frame``, or its data and target."""
        bunch.frame = None
        if self.as_frame:
            bunch.frame, bunch.data, bunch.target = _to_frame(
                bunch.data, bunch.target, bunch.feature_names, bunch.target_names
            )
        if self.as_tuple:
            return bunch.data, bunch.target
        return bunch


def image_bunch(
    source: Source,
    images: NDArray[np.uint8] | NDArray[np.float32],
    target: NDArray[np.int64],
    target_names: Sequence[str],
    form: Form,
    **others: NDArray,
) -> Bunch | tuple[Any, Any]:
    """Return the result of a fetcher of images.

    Parameters
    ----------
    source : Source
        Entry in the table of sources.
    images : ndarray of shape (n_samples, height, width) or (..., 3)
        Levels of dtype uint8, or of float32 in [0, 1].
    target : ndarray of int of shape (n_samples,) or (n_samples, n_outputs)
        Labels.
    target_names : sequence of str
        Names of the classes or outputs.
    form : Form
        Form of the result.
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
        DESCR=source.description,
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
    colors = ("_red", "_green", "_blue") if len(shape) == 3 else ("",)
    return [
        f"pixel_{row}_{column}{color}"
        for row in range(shape[0])
        for column in range(shape[1])
        for color in colors
    ]


def _to_frame(
    data: Any, target: NDArray, feature_names: Sequence[str], target_names: Any
) -> tuple[Any, Any, Any]:
    """Return all columns, those of the data, and the target."""
    pd = _import_pandas()
    if sparse.issparse(data):
        data = pd.DataFrame.sparse.from_spmatrix(data, columns=feature_names)
    else:
        data = pd.DataFrame(data, columns=feature_names, copy=False)
    if np.ndim(target) == 2:
        target = pd.DataFrame(target, columns=target_names)
    else:
        target = pd.Series(target, name="target")
    return pd.concat([data, target], axis=1), data, target


def _import_pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "as_frame=True needs pandas. Install it with: pip install 'sktreevae[io]'"
        ) from error
    return pandas
