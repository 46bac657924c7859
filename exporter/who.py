"""Who takes a connection: a thread, greenlet or task, kept so that none of them is held alive, and named when asked."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Mapping
from typing import Any

UNKNOWN = "unknown"


def greenlet_id() -> int:
    """Return what tells this greenlet from others that live."""
    # Its id alone: held itself, one that waits for a loop that is gone would wait for ever.
    return id(sys.modules["greenlet"].getcurrent())


def task_reference() -> weakref.ref[Any] | None:
    """Return a reference to the asyncio task that runs; None when none does."""
    asyncio = sys.modules.get("asyncio")
    try:
        task = None if asyncio is None else asyncio.current_task()
    except RuntimeError:  # no loop runs here, as when SQLAlchemy itself drives an asynchronous driver
        return None
    return None if task is None else weakref.ref(task)


def thread_names() -> Mapping[int | None, str]:
    """Return the names of the threads that live, to look up many."""
    return {thread.ident: _text(thread.name) for thread in threading.enumerate()}


def named(holder: Any, threads: Mapping[int | None, str] | None = None) -> str:
    """Return the name of the thread or task that took a connection, as far as it can still be told.

    Never raises: a task may be of a class of the application's, which need not have a name.
    """
    try:
        return _named(holder, threads)
    except Exception:
        return UNKNOWN


def _text(name: object) -> str:
    return name if isinstance(name, str) else UNKNOWN


def _named(holder: Any, threads: Mapping[int | None, str] | None) -> str:
    if isinstance(holder, int):
        threads = thread_names() if threads is None else threads
        if holder in threads:
            return f"thread {threads[holder]}"
        # gevent numbers its greenlets as threads are numbered, and keeps no list of them.
        gevent = threading.get_ident.__module__.startswith("gevent")
        return f"greenlet {holder}" if gevent else f"thread {holder} (ended)"
    task = None if holder is None else holder()
    if task is not None:
        return f"task {task.get_name()}{' (ended)' if task.done() else ''}"
    return "a task that has ended" if holder is not None else UNKNOWN
