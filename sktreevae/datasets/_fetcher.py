"""Finds the files of a dataset in a folder, and downloads those that are missing."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
import urllib.request
import warnings
from dataclasses import dataclass
from http.client import HTTPException
from numbers import Integral, Real
from pathlib import Path
from types import TracebackType
from typing import BinaryIO
from urllib.error import URLError

from sklearn.datasets import get_data_home

from ..exceptions import InvalidParameterError
from ._sources import SOURCES, File, Source

__all__ = ["Fetcher", "Progress", "check_subset"]

TIMEOUT = 60.0
"""Seconds without an answer after which a download has failed."""

CHUNK = 2**18
"""Bytes that are read at a time."""


def check_subset(subset: str, allowed: tuple[str, ...]) -> None:
    """Raise an `InvalidParameterError` for a part that a dataset doesn't have."""
    if subset not in allowed:
        raise InvalidParameterError(
            f"subset must be one of {list(allowed)}, got {subset!r}."
        )


@dataclass(frozen=True)
class Fetcher:
    """Files of a dataset.

    Parameters
    ----------
    name : str
        Name of the dataset in the table of sources.
    data_home : str or path-like, default=None
        Folder of scikit-learn's datasets. The files are in the folder
        ``sktreevae/<name>`` in it.
    download_if_missing : bool, default=True
        Whether missing files are downloaded.
    n_retries : int, default=3
        Number of times that a failed download is tried again.
    delay : float, default=1.0
        Seconds between two tries.
    verbose : bool, default=True
        Whether progress is shown in a terminal.

    Raises
    ------
    InvalidParameterError
        If `n_retries` or `delay` is negative or of another type.
    """

    name: str
    data_home: str | os.PathLike[str] | None = None
    download_if_missing: bool = True
    n_retries: int = 3
    delay: float = 1.0
    verbose: bool = True

    def __post_init__(self) -> None:
        for name, kind, text in (
            ("n_retries", Integral, "an int"),
            ("delay", Real, "a number"),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind) or not value >= 0:
                raise InvalidParameterError(
                    f"{name} must be {text} of at least 0, got {value!r}."
                )

    @property
    def source(self) -> Source:
        """Entry in the table of sources."""
        return SOURCES[self.name]

    @property
    def home(self) -> Path:
        """Folder of scikit-learn's datasets."""
        return Path(get_data_home(self.data_home))

    def path(self, name: str) -> Path:
        """Return the path of a file, which is downloaded if it is missing.

        A file whose name ends in ``.gz`` may be there without compression, and without
        this ending.

        Raises
        ------
        OSError
            If the file is missing and can't be downloaded.
        """
        folder = self.home / "sktreevae" / self.name
        for candidate in (folder / name, folder / name.removesuffix(".gz")):
            if candidate.exists():
                return candidate
        file = self.source.file(name)
        if not self.download_if_missing:
            raise OSError(
                f"{folder / name} does not exist, and download_if_missing is False. "
                f"It can be downloaded from {file.url}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        self._download(file, folder)
        return folder / name

    def _download(self, file: File, folder: Path) -> None:
        """Download a file, and try again after errors of the network."""
        n_tries = self.n_retries + 1
        for n_left in reversed(range(n_tries)):
            try:
                _download_once(file, folder, self.verbose)
                return
            except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
                if n_left == 0:
                    raise OSError(
                        f"Could not download {file.url}: {error}. Without a network "
                        f"connection, put the file there by hand: {folder / file.name}"
                    ) from error
                warnings.warn(
                    f"Could not download {file.url}: {error}. Trying again.",
                    stacklevel=4,
                )
                time.sleep(self.delay)


def _download_once(file: File, folder: Path, verbose: bool) -> None:
    """Download a file under a temporary name, and rename it if its checksum is right.

    Raises
    ------
    ConnectionError
        If the file is shorter than expected.
    OSError
        If the checksum is wrong.
    """
    with tempfile.NamedTemporaryFile(
        dir=folder, prefix=f"{file.name}.part_", delete=False
    ) as temporary:
        path = Path(temporary.name)
        try:
            n_bytes, sha256 = _copy(file, temporary, verbose)
        except BaseException:
            temporary.close()
            path.unlink()
            raise
    if sha256 == file.sha256:
        path.replace(folder / file.name)
        return
    path.unlink()
    if n_bytes < file.size:
        raise ConnectionError(f"it ended after {n_bytes} of {file.size} bytes")
    raise OSError(
        f"The file at {file.url} has the SHA-256 checksum {sha256} instead of "
        f"{file.sha256}, and was not kept. If you have the right file, put it there "
        f"by hand: {folder / file.name}"
    )


def _copy(file: File, target: BinaryIO, verbose: bool) -> tuple[int, str]:
    """Write a download to a file. Return its number of bytes and its checksum."""
    sha256 = hashlib.sha256()
    n_bytes = 0
    with (
        urllib.request.urlopen(file.url, timeout=TIMEOUT) as response,
        Progress(file.name, file.size, f"{file.size / 1e6:.1f} MB", verbose) as bar,
    ):
        while chunk := response.read(CHUNK):
            target.write(chunk)
            sha256.update(chunk)
            n_bytes += len(chunk)
            bar.update(n_bytes)
    return n_bytes, sha256.hexdigest()


class Progress:
    """One line on standard error, kept up to date; only in a terminal.

    Parameters
    ----------
    title : str
        Beginning of the line.
    total : int
        Number of steps.
    total_text : str
        Total with its unit.
    verbose : bool
        Whether the line is shown.
    """

    def __init__(self, title: str, total: int, total_text: str, verbose: bool) -> None:
        self._title = title
        self._total = total
        self._total_text = total_text
        self._is_shown = bool(verbose) and sys.stderr.isatty()
        self._percent = -1

    def __enter__(self) -> Progress:
        self.update(0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_shown:
            sys.stderr.write("\n")
            sys.stderr.flush()

    def update(self, n_done: int) -> None:
        """Show the number of steps that are done, if its percentage has changed."""
        percent = 100 * min(n_done, self._total) // max(self._total, 1)
        if self._is_shown and percent != self._percent:
            self._percent = percent
            bar = "#" * (percent // 5)
            sys.stderr.write(
                f"\r{self._title} [{bar:<20}] {percent:3d}% of {self._total_text}"
            )
            sys.stderr.flush()
