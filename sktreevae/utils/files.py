"""Files that are written completely or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

PathLike = str | os.PathLike[str]

TEMPORARY = ".sktreevae-*.tmp"
"""Pattern of the names of unfinished files."""


def check_regular(path: PathLike) -> None:
    """Check that a path leads to a regular file.

    Opening a pipe would wait for its other end, and reading a device may never end.

    Raises
    ------
    FileNotFoundError
        If it leads nowhere.
    OSError
        If it leads to a folder, a pipe, a socket or a device.
    """
    os.stat(path)
    if not os.path.isfile(path):
        raise OSError(errno.EINVAL, "Not a regular file", os.fsdecode(path))


def sync_folder(path: PathLike) -> None:
    """Write the names in a folder to the disk; Windows does so by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_lock(stream: BinaryIO) -> bool:
    """Lock a file until it is closed or the process ends.

    Returns
    -------
    is_ours : bool
        False if another stream has locked the file, also one of this process. True also
        where the file system has no locks.
    """
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


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
    IsADirectoryError
        If the path ends like that of a folder.
    FileNotFoundError
        If there is no folder for the file.
    OSError
        If something else than a regular file has this name.
    """
    path = os.fsdecode(path)
    if os.path.basename(path) in ("", os.curdir, os.pardir):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    # Of a link, the file that it points to is replaced.
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        # The error of opening the temporary file would name that one.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), target)
    with suppress(FileNotFoundError):
        check_regular(target)
    temporary = os.path.join(folder, TEMPORARY.replace("*", secrets.token_hex(8)))
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
