"""The waits: what no event tells of them and of timeouts, in one place, and only where a thread or task really waits.

A checkout that need not wait pays nothing for any of this.
"""

from __future__ import annotations

import functools
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from exporter.contained import contain, contain_ours
from exporter.ear import DEAF, Ear
from exporter.reasons import is_own_timeout
from exporter.swap import base_of, subclass


def watch_queue(queue: Any, ear: Ear) -> None:
    """Hear who waits for a connection of a pool's queue; a pool without a queue has None, and nobody waits."""
    if queue is None:
        return
    condition = getattr(queue, "not_empty", None)
    if isinstance(condition, threading.Condition):
        condition.wait = _WatchedWait(condition, ear)  # type: ignore[method-assign]
    elif hasattr(queue, "get"):
        queue.pool_exporter_ear = ear
        if base_of(queue) is None:
            queue.__class__ = _watched_queue_class(type(queue))


def leave_queue(queue: Any) -> None:
    """Let a queue be what it was. Who waits in it right now ends as he began."""
    condition: Any = getattr(queue, "not_empty", None)
    if isinstance(getattr(condition, "wait", None), _WatchedWait):
        del condition.wait
    base = base_of(queue)
    if base is not None:
        queue.__class__ = base


def ended_without(pool: Any, error: BaseException) -> None:
    """Note that a checkout ended without a connection: in the pool's timeout, or otherwise."""
    try:
        if is_own_timeout(error, pool):
            pool._pool_exporter_ear.timed_out(pool._pool_exporter_ref)
        else:
            pool._pool_exporter_ear.gave_up()
    except Exception as failure:
        contain_ours("timeout", failure)


class _WatchedWait:
    """Stands before the wait() of the condition that threads and gevent's greenlets wait on for a connection.

    An attribute of that condition: with its class swapped, every other use of it, at each checkout, would be slower.
    """

    def __init__(self, condition: threading.Condition, ear: Ear) -> None:
        self.ear = ear
        # Not held: that would be a cycle, and every engine would have to wait for the collector.
        self._condition = weakref.ref(condition)

    def __call__(self, timeout: float | None = None) -> bool:
        condition: Any = self._condition()
        return bool(_timed(self.ear, functools.partial(type(condition).wait, condition), timeout))


def _watched_queue_class(base: Any) -> Any:
    """Make the subclass for a queue class of asyncio engines."""

    def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002  the base's
        if not block or not self.empty():
            return base.get(self, block, timeout)
        return _timed(self.pool_exporter_ear, functools.partial(base.get, self), block, timeout)

    return subclass(base, lambda: {"get": get, "pool_exporter_ear": DEAF})


def _timed(ear: Ear, wait: Callable[..., Any], *args: Any) -> Any:
    """Wait, and note who does and for how long; whoever is cancelled leaves nothing behind."""
    began, me, waiting = 0.0, None, ear.waiting  # a fork or a new start gives the ear another
    try:
        began, me = time.perf_counter(), ear.whoami()
        waiting[me] = began - ear.waited.get(me, 0.0)
    except Exception as error:
        waiting.pop(me, None)
        contain_ours("wait", error)
    try:
        return wait(*args)
    finally:
        try:
            if waiting.pop(me, None) is not None and ear.active:
                ear.waited[me] = ear.waited.get(me, 0.0) + time.perf_counter() - began
        except Exception as error:
            if ear.asynchronous:  # what the queue has just given us would be lost
                contain("wait")
            else:
                contain_ours("wait", error)
