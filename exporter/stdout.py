"""Standard output, as commands write to it: nobody need read it, and a full disk is told in one sentence."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

CANNOT_WRITE = 2
"""The exit code when the answer cannot be written."""


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Write in the body. That nobody reads any more, as behind `| head`, changes no answer.

    Ends the program with one sentence and CANNOT_WRITE when standard output takes nothing.
    """
    try:
        yield
        if sys.stdout is not None:  # the shell may have closed it
            sys.stdout.flush()
    except BrokenPipeError:
        _drop()
    except OSError as error:
        _drop()
        print(f"pool-exporter: cannot write the answer: {error.strerror}; write it elsewhere", file=sys.stderr)  # noqa: T201
        sys.exit(CANNOT_WRITE)


def _drop() -> None:
    # Python would complain of what it cannot write at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
