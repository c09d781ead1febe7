"""Context of `fit` and `partial_fit`: gradients, arrays, and no change on failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from sklearn import config_context
from sklearn.base import BaseEstimator

__all__ = ["fit_context"]


@contextmanager
def fit_context(estimator: BaseEstimator) -> Iterator[None]:
    """Enable gradients, and restore the estimator if a fit fails or is interrupted.

    The caller may be inside `torch.no_grad()` or `torch.inference_mode()`, and training
    needs gradients. The caller may have asked for dataframes with `sklearn.set_config`,
    and the transformers inside a fit return arrays.
    """
    before = vars(estimator).copy()
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            config_context(transform_output="default"),
        ):
            yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
