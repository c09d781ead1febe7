"""Fitted estimators as arrays and plain values, in files and in pickles."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from .._version import __version__
from ..data import Standardizer
from ..inspection.diagnostics import Finding
from ..model import FeatureMap, ModelConfig, Topology, TreeVAE
from ..training import GrowingLists
from ..utils.devices import available_device, resolve_device
from ..utils.validation import check_parameters
from .archive import FORMAT_VERSION, PathLike, read_archive, write_archive
from .load import (
    State,
    encode_parameters,
    make_estimator,
    naming_file,
    needed_functions,
    read_state,
    restore_dendrogram,
    to_arrays,
    to_content,
)
from .parameters import find_functions
from .schema import (
    DENDROGRAM_ARRAYS,
    STANDARDIZER_ARRAYS,
    check_arrays,
    check_content,
)

__all__ = ["PersistenceMixin", "from_state", "to_state"]

DERIVED = ("device_", "labels_", "linkage_matrix_", "n_clusters_")
"""Fitted attributes that follow from others."""


class PersistenceMixin:
    """Methods that save and load a fitted estimator, and its pickles."""

    def save(self, path: PathLike) -> None:
        """Save the fitted estimator in one file of arrays and JSON.

        The file has the parameters, the tree, the model, `history_` and all other
        attributes of a fit, but for `memory` and for what isn't of a fit: callbacks,
        `set_output` and metadata requests. It doesn't have the training data, apart
        from `labels_`. An existing file is replaced as a whole.

        Parameters
        ----------
        path : str or path-like
            Name of the file. Nothing is appended to it.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator isn't fitted.
        ValueError
            If a parameter isn't valid, or is a function that can't be imported by name.
            Also if a callback saves the estimator while it is fitted again; save the
            callback's `fitted_estimator` instead. An existing file stays as it was.
        OSError
            If the file can't be written, or the name is that of a folder, a pipe or a
            device. An existing file stays as it was.

        See Also
        --------
        load : Load the file.

        Examples
        --------
        >>> import os, tempfile
        >>> from sklearn.datasets import make_blobs
        >>> from sktreevae import TreeVAEClustering
        >>> X, y = make_blobs([40, 40], cluster_std=0.5, random_state=0)
        >>> model = TreeVAEClustering(n_clusters=2, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "blobs.safetensors")
        ...     model.save(path)
        ...     twin = TreeVAEClustering.load(path)
        >>> bool((twin.predict_proba(X) == model.predict_proba(X)).all())
        True
        """
        check_is_fitted(self)
        check_parameters(self, self._allowed)
        if isinstance(self.history_, GrowingLists):
            raise ValueError(
                "save needs a complete fit, but this estimator is fitted again: its "
                "history_ is of the new fit, and its model of the one before. Save the "
                "fitted_estimator that the callback can ask for, or save after the fit."
            )
        state = self.__getstate__()
        content = {
            "class": type(self).__name__,
            "package_version": __version__,
            "parameters": encode_parameters(self.get_params(deep=False)),
            **to_content(state),
        }
        write_archive(path, content, to_arrays(state))

    @classmethod
    def load(
        cls,
        path: PathLike,
        device: str | torch.device | None = None,
        *,
        encoder: Callable | None = None,
        decoder: Callable | None = None,
        views: Callable | None = None,
        trusted: str | Collection[str] = (),
    ) -> Self:
        """Load a fitted estimator that `save` has written.

        Nothing in the file is run. Parts of a file that contradict each other are
        refused before the model is built, and nothing larger than the file is
        allocated until then.

        Parameters
        ----------
        path : str or path-like
            Name of the file.
        device : str, torch.device or None, default=None
            Device of the model, and `device` parameter of the estimator. By default the
            one that was saved or, with a warning, the CPU if that isn't available.
        encoder, decoder, views : callable, default=None
            The functions of these parameters, if the saved estimator has such ones.
        trusted : str or collection of str, default=()
            Functions that may be imported instead, as ``"package.module:function"``.

        Returns
        -------
        estimator : TreeVAEClustering
            The fitted estimator. Its `memory` is None.

        Raises
        ------
        FileNotFoundError
            If there is no file of this name.
        OSError
            If the name is that of a folder, a pipe or a device.
        ValueError
            If the file is truncated, damaged, of another kind or of an unknown format
            version, contradicts itself, or needs functions that are neither passed nor
            trusted. Also if the device isn't available.

        See Also
        --------
        save : Write the file.
        """
        if device is not None:
            resolve_device(device)
        given = {"encoder": encoder, "decoder": decoder, "views": views}
        content, arrays = read_archive(path)
        with naming_file(path):
            check_content(content)
            needed = needed_functions(content)
        functions = find_functions(needed, given, trusted)
        with naming_file(path):
            estimator = make_estimator(cls, content, functions)
            check_arrays(content, arrays)
            state = read_state(content, arrays, functions)
        if device is not None:
            estimator.device = device
        estimator._restore(state, available_device(estimator.device))
        return estimator

    def __getstate__(self) -> State:
        """Return the state as arrays and plain values, whatever the device."""
        state = {**super().__getstate__(), "format_version": FORMAT_VERSION}
        if "module_" in state:
            state["module_"] = to_state(state["module_"])
            state["dendrogram_"] = {
                name: getattr(self.dendrogram_, name) for name in DENDROGRAM_ARRAYS
            }
            state["_standardizer"] = {
                name: np.asarray(getattr(self._standardizer, name), dtype=np.float64)
                for name in STANDARDIZER_ARRAYS
            }
            state["_findings"] = [asdict(finding) for finding in self._findings]
            for name in DERIVED:
                state.pop(name, None)
        return state

    def __setstate__(self, state: State) -> None:
        """Build the estimator again, on its device or else on the CPU."""
        state = dict(state)
        version = state.pop("format_version", 0)
        if version != FORMAT_VERSION:
            raise ValueError(
                f"The pickle has the format version {version}, and this version of "
                f"sktreevae reads version {FORMAT_VERSION}."
            )
        if "module_" in state:
            state["dendrogram_"] = restore_dendrogram(state["dendrogram_"])
            self._restore(state, available_device(state["device"]))
        else:
            super().__setstate__(state)

    def _restore(self, state: State, device: torch.device) -> None:
        """Set all attributes from the state of a fitted estimator."""
        dendrogram = state["dendrogram_"]
        discrete = state["module_"]["config"]["discrete"]
        standardizer = Standardizer(
            *(
                np.array(array) if array.ndim else float(array)
                for array in map(state["_standardizer"].get, STANDARDIZER_ARRAYS)
            ),
            binary=tuple(sorted(column for group in discrete for column in group)),
        )
        attributes = {
            "module_": from_state(state["module_"], device),
            "device_": device,
            "labels_": dendrogram.labels,
            "n_clusters_": dendrogram.n_leaves,
            "linkage_matrix_": dendrogram.to_linkage(),
            "_standardizer": standardizer,
            "_findings": [
                Finding.from_dict(values) for values in state.get("_findings", ())
            ],
        }
        super().__setstate__({**state, **attributes})


def to_state(model: TreeVAE) -> State:
    """Return a model as arrays and JSON-able values, independent of its device.

    A user's own networks are kept as the callables that build them.
    """
    arrays: dict[str, NDArray[np.generic]] = {
        name: value.numpy(force=True) for name, value in model.state_dict().items()
    }
    config = model.config
    return {
        "topology": model.topology.parent,
        "config": config.to_dict(),
        "custom_encoder": config.custom_encoder,
        "custom_decoder": config.custom_decoder,
        "feature_map": model.feature_map.config,
        "arrays": arrays,
    }


def from_state(state: State, device: torch.device) -> TreeVAE:
    """Return the model of a state, in evaluation mode on a device.

    Raises
    ------
    ValueError
        If a user's networks have other parameters than those of the state.
    """
    # Tensors of an inference mode around this couldn't be trained further.
    with torch.inference_mode(False):
        model = TreeVAE(
            Topology(tuple(state["topology"])),
            ModelConfig.from_dict(
                state["config"],
                custom_encoder=state["custom_encoder"],
                custom_decoder=state["custom_decoder"],
            ),
            feature_map=FeatureMap(**state["feature_map"]),
            generator=torch.Generator(),
        )
        arrays = {name: torch.tensor(value) for name, value in state["arrays"].items()}
        try:
            model.load_state_dict(arrays)
        except RuntimeError as error:
            raise ValueError(
                f"The networks don't fit the saved model: {error}"
            ) from error
        return model.to(device).eval()
