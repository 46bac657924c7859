"""The last word of processes that end without Python's own ending: of multiprocessing, celery, uvicorn."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

_LIBRARIES = ("multiprocessing", "billiard")
_LAST = -1000
"""After whatever else ends there: it may still use a connection."""


class Farewell:
    """Lets ``say`` be called when a worker of multiprocessing or billiard ends: it does by os._exit(), past atexit.

    ``publish`` is called when a process may end without another word, or go on: when a worker of celery's pool shuts
    down, and when a server of uvicorn has. That raises the signal which it was sent, and no Python code runs any more.

    No library is imported for this: a program that has not done so has no such workers. Since that may come at any
    time, `prepare` is to be called now and then, and before each fork.
    """

    def __init__(self, say: Callable[[], None], publish: Callable[[], None]) -> None:
        self._say = say
        self._publish = publish
        self._prepared: set[str] = set()
        for name in _LIBRARIES:
            process = sys.modules.get(f"{name}.process")
            if process is not None and _is_worker(process):
                self.enter(name)
        self.prepare()

    def prepare(self) -> None:
        """Make ready for the workers of libraries that have been imported by now; does nothing the second time."""
        for name in _LIBRARIES:
            util: Any = sys.modules.get(f"{name}.util")
            if util is not None and self._is_new(name):
                # The worker forgets all finalizers of its parent, and calls these right after.
                util.register_after_fork(self, functools.partial(_enter, name))
        signals = sys.modules.get("celery.signals")
        if signals is not None and self._is_new("celery"):
            # Its pool's workers leave without these finalizers. Not the last word: other receivers may come after us.
            signals.worker_process_shutdown.connect(self._publish_after, weak=False)
        server = getattr(sys.modules.get("uvicorn.server"), "Server", None)
        if server is not None and self._is_new("uvicorn"):
            server.shutdown = _followed(server.shutdown, self._publish)

    def enter(self, name: str) -> None:
        """Let this worker of a library say farewell."""
        util: Any = sys.modules[f"{name}.util"]
        util.Finalize(None, self._say, exitpriority=_LAST)

    def _publish_after(self, **_told: Any) -> None:
        self._publish()

    def _is_new(self, name: str) -> bool:
        if name in self._prepared:
            return False
        self._prepared.add(name)
        return True


def _enter(name: str, farewell: Farewell) -> None:
    farewell.enter(name)


def _followed(shutdown: Callable[..., Any], publish: Callable[[], None]) -> Callable[..., Any]:
    @functools.wraps(shutdown)
    async def followed(*args: Any, **options: Any) -> Any:
        try:
            return await shutdown(*args, **options)
        finally:
            publish()

    return followed


def _is_worker(process: Any) -> bool:
    current = process.current_process()
    return type(current).__name__ != "_MainProcess" and getattr(current, "_popen", None) is None
