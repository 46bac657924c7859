"""Files that somebody names, read so that nothing hangs and nothing fills the memory. Standard library only."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

LARGEST = 1024 * 1024
"""Bytes; what people write by hand has thousands."""

_HANDED_OVER = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
_PIECE = 65536  # bytes


class UnfitError(ValueError):
    """What a path leads to is no file, or too large a one."""


def read(path: Path) -> bytes:
    """Return what a file holds; one that the shell hands over, as ``<(...)`` does, may be a pipe.

    Raises:
        UnfitError: it is no file, such as a pipe that nobody may ever write into, or has more than LARGEST bytes.
        OSError: it cannot be read.
    """
    # Without O_NONBLOCK, opening a pipe would wait for whoever writes into it.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        kind = stat.S_IFMT(os.fstat(number).st_mode)
        if kind == stat.S_IFDIR:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if kind == stat.S_IFIFO and str(path).startswith(_HANDED_OVER):
            os.set_blocking(number, True)  # its writer has begun already
        elif kind != stat.S_IFREG:
            raise UnfitError("is no file; write the path of one")
        content = b""
        while len(content) <= LARGEST and (piece := os.read(number, _PIECE)):
            content += piece
    finally:
        os.close(number)
    if len(content) > LARGEST:
        raise UnfitError(f"has more than {LARGEST} bytes; write another path")
    return content
