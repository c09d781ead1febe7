"""Changes of the files of saved models, for tests."""

import contextlib

from sktreevae.utils.archive import read_archive, write_archive


@contextlib.contextmanager
def forging(path):
    """Change the content and the arrays of a file; its checksum is right again."""
    content, arrays = read_archive(path)
    yield content, arrays
    write_archive(path, content, arrays)
