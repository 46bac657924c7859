"""The last word of processes that end without Python's own ending: workers of multiprocessing, and of celery."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

_LIBRARIES = ("multiprocessing", "billiard")
_LAST = -1000
"""After whatever else ends there: it may still use a connection."""


class Farewell:
    """Lets ``say`` be called when such a worker ends. It leaves by os._exit(), which passes atexit by.

    Neither library is imported for this: a program that has not done so has no such workers. Any fork may be one of
    theirs, so `before_fork` is to be called before each.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self._say = say
        self._prepared: set[str] = set()
        for name in _LIBRARIES:
            process = sys.modules.get(f"{name}.process")
            if process is not None and _is_worker(process):
                self.enter(name)
        self.before_fork()

    def before_fork(self) -> None:
        """Make ready for a fork; does nothing when that was done before."""
        for name in _LIBRARIES:
            util: Any = sys.modules.get(f"{name}.util")
            if util is not None and name not in self._prepared:
                self._prepared.add(name)
                # The worker forgets all finalizers of its parent, and calls these right after.
                util.register_after_fork(self, functools.partial(_enter, name))

    def enter(self, name: str) -> None:
        """Let this worker of a library say farewell."""
        util: Any = sys.modules[f"{name}.util"]
        util.Finalize(None, self._say, exitpriority=_LAST)


def _enter(name: str, farewell: Farewell) -> None:
    farewell.enter(name)


def _is_worker(process: Any) -> bool:
    current = process.current_process()
    return type(current).__name__ != "_MainProcess" and getattr(current, "_popen", None) is None
