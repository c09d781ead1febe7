"""Methods that stay lazy on Dask arrays: a call for each block of rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..data import is_dask_array


def blockwise(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of an estimator and of X that returns a Dask array for one.

    The method maps each row on its own, so that blocks of rows can be computed anywhere
    and in any order.
    """

    @wraps(method)
    def wrapper(self: BaseEstimator, X: Any, *args: Any, **kwargs: Any) -> Any:
        if is_dask_array(X) and X.ndim > 1:
            check_is_fitted(self)
            return _map_blocks(self, method, X, args, kwargs)
        return method(self, X, *args, **kwargs)

    return wrapper


def _map_blocks(
    estimator: BaseEstimator,
    method: Callable[..., Any],
    X: Any,
    args: tuple,
    kwargs: dict[str, Any],
) -> Any:
    """Return the Dask array of the results of all blocks of rows."""
    from dask import delayed

    # The result of one row tells the type and width, and whether X fits the estimator.
    row = np.zeros((1, *X.shape[1:]), dtype=X.dtype)
    empty = method(estimator, row, *args, **kwargs)[:0]
    X = X.rechunk(dict.fromkeys(range(1, X.ndim), -1))
    return X.map_blocks(
        _call,
        method.__name__,
        # A task of its own, which reaches each worker once.
        delayed(estimator, pure=False),
        empty,
        *args,
        **kwargs,
        dtype=empty.dtype,
        chunks=(X.chunks[0], *((size,) for size in empty.shape[1:])),
        drop_axis=list(range(empty.ndim, X.ndim)),
        meta=empty,
    )


def _call(
    block: Any,
    name: str,
    estimator: BaseEstimator,
    empty: np.ndarray,
    *args: Any,
    **kwargs: Any,
) -> np.ndarray:
    """Call a method on a block; a block may have no rows."""
    if not block.shape[0]:
        return empty
    # The method itself returns arrays, whatever `set_output` says.
    method = inspect.unwrap(getattr(type(estimator), name))
    return method(estimator, block, *args, **kwargs)
