"""Files that are written completely or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

__all__ = ["PathLike", "replacing"]

PathLike = str | os.PathLike[str]


@contextmanager
def replacing(path: PathLike) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces another one if the block succeeds.

    The file keeps its mode, and a link stays.

    Parameters
    ----------
    path : str or path-like
        File to replace, or to make.

    Yields
    ------
    stream : binary file
        What is written to it is the new content.

    Raises
    ------
    FileNotFoundError
        If there is no folder for the file.
    """
    # Of a link, the file that it points to is replaced.
    target = os.path.realpath(os.fsdecode(path))
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        # The error of opening the temporary file would name that one.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target)
    temporary = os.path.join(folder, f".sktreevae-{secrets.token_hex(8)}.tmp")
    stream = open(temporary, "xb")
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
