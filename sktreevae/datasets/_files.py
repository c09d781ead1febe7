"""Files of a dataset in a folder; pooch downloads those that are missing."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from numbers import Integral, Real
from pathlib import Path

from sklearn.datasets import get_data_home

from ..utils.extras import import_extra
from ..utils.validation import Number, Options, check_argument
from ._progress import Progress


def read_registry() -> dict[str, tuple[str, str]]:
    """Return the SHA-256 checksum and the address of each file, by dataset/file."""
    text = files(__package__).joinpath("registry.txt").read_text("utf-8")
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {name: (sha256, url) for name, sha256, url in rows}


def choose_parts(subset: str, parts: Sequence[str]) -> list[str]:
    """Return the parts that are in a subset: one of them, or all for "all"."""
    check_argument("subset", subset, Options((*parts, "all")))
    return [part for part in parts if subset in (part, "all")]


@dataclass(frozen=True)
class Files:
    """Files of a dataset, by name.

    Parameters
    ----------
    dataset : str
        Name of the dataset in the registry.
    data_home : str, path-like or None
        Folder of scikit-learn's datasets. The files are in the folder
        ``sktreevae/<dataset>`` in it.
    download_if_missing : bool
        Whether missing files are downloaded.
    n_retries : int
        Number of times that a failed download is tried again.
    delay : float
        Seconds between two tries.
    verbose : bool
        Whether progress is shown in a terminal.

    Raises
    ------
    InvalidParameterError
        If `n_retries` or `delay` is negative or of another type.
    """

    dataset: str
    data_home: str | os.PathLike[str] | None
    download_if_missing: bool
    n_retries: int
    delay: float
    verbose: bool

    def __post_init__(self) -> None:
        check_argument("n_retries", self.n_retries, Number(Integral, 0))
        check_argument("delay", self.delay, Number(Real, 0))

    @property
    def home(self) -> Path:
        """Folder of scikit-learn's datasets."""
        return Path(get_data_home(self.data_home))

    def path(self, name: str) -> Path:
        """Return the path of a file, which is downloaded if it is missing.

        A file whose name ends in ``.gz`` may be there without compression, and without
        this ending. A file that is there is not compared with its checksum.

        Raises
        ------
        ImportError
            If the file is missing and pooch is not installed.
        OSError
            If the file is missing and can't be downloaded.
        """
        path = self.home / "sktreevae" / self.dataset / name
        for candidate in (path, path.with_name(name.removesuffix(".gz"))):
            if candidate.exists():
                return candidate
        sha256, url = read_registry()[f"{self.dataset}/{name}"]
        if not self.download_if_missing:
            raise OSError(
                f"{path} does not exist, and download_if_missing is False. It can be "
                f"downloaded from {url}"
            )
        self._download(url, sha256, path)
        return path

    def _download(self, url: str, sha256: str, path: Path) -> None:
        """Download a file, and try again after errors of the network."""
        purpose = f"Downloading {url} to {path} needs pooch"
        import_extra("pooch", purpose, "'sktreevae[datasets]'")
        from requests import RequestException

        for n_left in reversed(range(self.n_retries + 1)):
            try:
                return _retrieve(url, sha256, path, self.verbose)
            except (RequestException, ValueError) as error:
                message = f"Could not download {url}: {error}."
                if n_left == 0 or not isinstance(error, RequestException):
                    raise OSError(
                        f"{message} If you have the file, put it there by hand: {path}"
                    ) from error
                warnings.warn(f"{message} Trying again.", stacklevel=4)
                time.sleep(self.delay)


def _retrieve(
    url: str, sha256: str, path: Path, verbose: bool, timeout: float = 60.0
) -> None:
    """Download a file, and store it under its name if its checksum is right.

    It has failed after `timeout` seconds without an answer.
    """
    import pooch

    progress = Progress(path.name, "bytes", verbose)
    downloader = pooch.HTTPDownloader(
        progressbar=progress,
        chunk_size=2**18,  # bytes that are read at a time
        timeout=timeout,
        # The checksums are those of the compressed files.
        headers={"Accept-Encoding": "identity"},
    )
    # pooch prints a line for each download, even outside of a terminal.
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        pooch.retrieve(url, sha256, path.name, path.parent, downloader=downloader)
    finally:
        progress.close()
        logger.setLevel(level)
