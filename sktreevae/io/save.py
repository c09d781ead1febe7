"""Saving a fitted estimator in one file."""

from __future__ import annotations

from sklearn.base import BaseEstimator

from .._version import __version__
from ..training.state import GrowingLists
from ..utils.archive import describe, is_json, write_archive
from ..utils.files import PathLike
from .schema import CONTENT, LOCAL, NETWORKS


def save(estimator: BaseEstimator, path: PathLike) -> None:
    """Save a fitted estimator; see `TreeVAEClustering.save`."""
    if isinstance(estimator.history_, GrowingLists):
        raise ValueError(
            "save needs a complete fit, but this estimator is fitted again: its "
            "history_ is of the new fit, and its model of the one before. Save the "
            "fitted_estimator that the callback can ask for, or save after the fit."
        )
    state = estimator.__getstate__()
    parameters = estimator.get_params(deep=False)
    for name in LOCAL:
        del parameters[name]
    networks = {name: state[f"custom_{name}"] for name in NETWORKS}
    objects = {name: value for name, value in parameters.items() if not is_json(value)}
    objects |= {name: value for name, value in networks.items() if value is not None}
    content = {
        "class": type(estimator).__name__,
        "package_version": __version__,
        "parameters": {k: v for k, v in parameters.items() if k not in objects},
        "objects": {name: describe(value) for name, value in objects.items()},
        "state": {name: state.get(name) for name in CONTENT["state"]},
    }
    write_archive(path, content, state["arrays"])
