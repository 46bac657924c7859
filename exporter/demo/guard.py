"""The guard: a small process that ends everything the demonstration started, should the demonstration itself be killed.

Nothing can be cleaned up after SIGKILL from within, and the kernel's parent-death signal reaches children only, not the
workers that a child has started. So another process holds the end of a pipe, and acts when the pipe closes. It runs
this file by its path, with the standard library alone, so that it is up in a moment and small.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

GRACE = 2.0
"""Seconds that the databases have to end themselves and to free their shared memory."""

_OVER = "over"
_ENDED = 0


class Guard:
    """Tells the guard's process what there is to end."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    def watch(self, pid: int, *, orphaned: signal.Signals = signal.SIGKILL) -> None:
        """Send ``orphaned`` to the process group ``pid`` if we die."""
        self._say(f"{pid} {int(orphaned)}")

    def forget(self, pid: int) -> None:
        """Leave the process group ``pid`` alone from now on: it has been ended, and the number may become another's."""
        self._say(f"{pid} {_ENDED}")

    def stand_down(self) -> None:
        """Leave everything alone: it has been ended in good order."""
        self._say(_OVER)

    def _say(self, line: str) -> None:
        # Somebody may have killed the guard; the demonstration can still end what it started.
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(f"{line}\n".encode())


@contextlib.contextmanager
def guarding(folder: Path) -> Iterator[Guard]:
    """Have ``folder`` removed, and what is watched ended, even if this process is killed."""
    command = [sys.executable, "-I", "-S", __file__, str(folder)]
    # A session of its own: Ctrl-C in the terminal is not for the guard.
    with subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0, start_new_session=True) as process:
        if process.stdin is None:
            raise RuntimeError("the guard has no standard input although a pipe was asked for")
        guard = Guard(process.stdin)
        yield guard
        guard.stand_down()


def _listen(lines: Iterable[str]) -> dict[int, int]:
    """Return what is to be signalled, and how, once the pipe has closed."""
    watched = {}
    for line in lines:
        if line.strip() == _OVER:
            return {}
        pid, number = map(int, line.split())
        watched[pid] = number
        if number == _ENDED:
            del watched[pid]
    return watched


def _end(watched: dict[int, int]) -> None:
    for group, number in watched.items():
        _send(group, number)
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and any(_send(group, 0) for group in watched):
        time.sleep(0.05)
    for group in watched:
        _send(group, signal.SIGKILL)


def _send(group: int, number: int) -> bool:
    """Signal a process group and tell whether there was one; a zombie that nobody has waited for still counts."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    _end(_listen(sys.stdin))
    shutil.rmtree(sys.argv[1], ignore_errors=True)
