"""Checkpoints: the state of a fit in a folder, from which a later fit goes on."""

from __future__ import annotations

import errno
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..exceptions import CheckpointWarning, ProcessError
from ..utils.archive import INVALID, read_archive, to_json, write_archive
from ..utils.files import TEMPORARY, PathLike, check_regular, sync_folder, try_lock
from .state import StateDict

LOCK = "lock"
"""File that is locked while a fit uses the folder."""

N_KEPT = 2
"""Number of generations that stay: the newest, and one for the case that it is damaged.
"""


@contextmanager
def reserved(folder: PathLike) -> Iterator[Path]:
    """Make a folder for one fit, and refuse it to others meanwhile.

    Unfinished files of a killed fit are deleted; other content stays.

    Raises
    ------
    ValueError
        If the folder has no name.
    OSError
        If it can't be written to, or another fit uses it.
    """
    if not os.fsdecode(folder):
        raise ValueError("checkpoint_dir must be the name of a folder, got ''.")
    folder = Path(os.fsdecode(folder)).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        check_regular(folder / LOCK)
    with open(folder / LOCK, "ab") as stream:
        if not try_lock(stream):
            raise BlockingIOError(
                errno.EAGAIN,
                f"checkpoint_dir={os.fspath(folder)!r} is in use by another fit. Wait "
                "for its end to go on from there, or pass another folder",
            )
        for path in filter(Path.is_file, folder.glob(TEMPORARY)):
            path.unlink()
        with TemporaryFile(dir=folder):  # an error if nothing can be written
            pass
        yield folder


class Checkpoints:
    """Generations of the state of one fit, files in a folder with numbers as names.

    A generation is there as a whole or not at all; see `write_archive`.

    Parameters
    ----------
    folder : Path
        The folder; see `reserved`.
    interval : float
        Minutes between two generations. There is also one at the end of each stage.
    identity : dict
        JSON values that determine the result of the fit.
    seed : int
        Seed of a new fit.

    Attributes
    ----------
    seed : int
        Seed of the fit: of the stored one, if there is one.
    stored : dict or None
        State of the newest generation that can be read; see `FitState.state_dict`.

    Raises
    ------
    ValueError
        If the folder has the state of a fit with another identity, or no generation
        can be read.

    Warns
    -----
    CheckpointWarning
        If the newest generation can't be read, and the one before is used.
    """

    def __init__(
        self,
        folder: Path,
        interval: float,
        identity: Mapping[str, Any],
        seed: int,
    ) -> None:
        self.folder = folder
        self.interval = interval
        self.seed = seed
        self.stored: StateDict | None = None
        self._identity = identity
        self._last = time.monotonic()
        self._resume()

    @property
    def is_due(self) -> bool:
        """Whether the interval has passed."""
        return time.monotonic() - self._last >= 60.0 * self.interval

    def save(self, state: StateDict) -> None:
        """Write a generation.

        Parameters
        ----------
        state : dict
            The state at the end of an epoch or between two stages; see
            `FitState.state_dict`.

        Warns
        -----
        CheckpointWarning
            If it can't be written. The generations before stay.
        """
        try:
            self._write(state)
        except OSError as error:
            warnings.warn(
                f"The state of the fit can't be written to checkpoint_dir="
                f"{os.fspath(self.folder)!r}: {error}. The fit goes on; a later one "
                "would go on from the last state that is there.",
                CheckpointWarning,
                stacklevel=2,
            )
        self._last = time.monotonic()

    def _write(self, state: StateDict) -> None:
        """Write a generation, and delete those that aren't kept."""
        content = {
            "identity": self._identity,
            "seed": self.seed,
            "values": state["values"],
        }
        arrays = {name: t.numpy(force=True) for name, t in state["tensors"].items()}
        number = max(self._generations(), default=0) + 1
        write_archive(self._path(number), content, arrays)
        sync_folder(self.folder)
        for old in self._generations()[:-N_KEPT]:
            self._path(old).unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08}.safetensors"

    def _generations(self) -> list[int]:
        """Return the numbers of the generations, in ascending order."""
        names = (path.name for path in self.folder.iterdir())
        matches = (re.fullmatch(r"(\d{8,})\.safetensors", name) for name in names)
        return sorted(int(match[1]) for match in matches if match)

    def _resume(self) -> None:
        """Read the newest generation that can be read, and delete later ones."""
        errors: list[Exception] = []
        damaged: list[int] = []
        for number in reversed(self._generations()):
            try:
                content, arrays = read_archive(self._path(number))
                identity, seed = dict(content["identity"]), int(content["seed"])
                tensors = {name: _tensor(array) for name, array in arrays.items()}
                stored = {"tensors": tensors, "values": content["values"]}
            except (OSError, *INVALID) as error:
                errors.append(error)
                damaged.append(number)
                continue
            self._check_identity(identity)
            self.stored, self.seed = stored, seed
            break
        if not errors:
            return
        if self.stored is None:
            raise ValueError(
                f"checkpoint_dir={os.fspath(self.folder)!r} has no state that can be "
                f"read: {errors[0]} Pass another folder to begin anew."
            ) from errors[0]
        warnings.warn(
            f"The newest state in checkpoint_dir={os.fspath(self.folder)!r} can't be "
            f"read: {errors[0]} The fit goes on from the one before.",
            CheckpointWarning,
            stacklevel=2,
        )
        # Otherwise the next write would delete the one that can be read.
        for number in damaged:
            self._path(number).unlink()

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Raise a ValueError with the name of the folder if its state is invalid."""
        try:
            yield
        except ProcessError:
            raise
        except INVALID as error:
            raise ValueError(
                f"The state in checkpoint_dir={os.fspath(self.folder)!r} is invalid: "
                f"{error!r}. Pass another folder to begin anew."
            ) from error

    def _check_identity(self, stored: Mapping[str, Any]) -> None:
        """Check that the stored state is of this fit."""
        differences = [
            f"{name} was {stored.get(name)!r} and is {value!r}"
            for name, value in self._identity.items()
            if to_json(stored.get(name)) != to_json(value)
        ]
        if differences:
            raise ValueError(
                f"checkpoint_dir={os.fspath(self.folder)!r} has the state of another "
                f"fit: {'; '.join(differences)}. Pass the same parameters and data to "
                "go on, or another folder to begin anew."
            )


def _tensor(array: NDArray) -> torch.Tensor:
    return torch.from_numpy(np.require(array, requirements="W"))
