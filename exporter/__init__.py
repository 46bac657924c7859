"""What the connection pool believes, what the database server knows, and where the two disagree.

In the application, one line for every engine::

    import exporter
    exporter.instrument(engine)
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from exporter.contained import quietly
from exporter.everywhere import on_every_engine
from exporter.pool import PoolMonitor
from exporter.records import PoolSnapshot
from exporter.version import VERSION
from exporter.watch import Watch
from exporter.wish import Wish

__version__ = VERSION
__all__ = ["Instrumentation", "__version__", "instrument", "instrument_all", "uninstrument"]


class Instrumentation:
    """The handle of one instrumented pool."""

    def __init__(self, monitor: PoolMonitor) -> None:
        self._monitor = monitor

    @property
    def name(self) -> str:
        """The pool's name, as the label ``pool`` shows it."""
        return self._monitor.identity.name

    def snapshot(self) -> PoolSnapshot:
        """Return what is known of the pool now: counts since it was instrumented, and one row per connection."""
        snapshot = self._monitor.snapshot()
        self._monitor.speak()
        return snapshot


def instrument(
    target: Any,
    *,
    name: str | None = None,
    leak_after: float | None = None,
    call_sites: bool | None = None,
    registry: CollectorRegistry | None = None,
) -> Instrumentation:
    """Watch a connection pool and show it in ``registry``; return a handle.

    Args:
        target: an Engine, an AsyncEngine or a Pool.
        name: the label ``pool``; by default ``dialect://host:port/database``. Pools of one name add up, so give names
            to engines that look alike: those that have a ``creator`` say nothing of where they connect to.
        leak_after: seconds after which a checkout counts as overdue; by default the environment variable
            POOL_EXPORTER_LEAK_AFTER, else 60.
        call_sites: whether to note where in the application each connection is taken; by default yes.
        registry: where the metrics are shown; by default prometheus_client's own, hence the application's /metrics,
            and for a pool that is watched already, where it is.

    Instrumenting a pool twice is instrumenting it once: what is given the second time is changed. With
    POOL_EXPORTER_DIR set, the process also publishes its pools into that directory, once a second, for the sidecar.

    Raises:
        TypeError: ``target`` is none of these, or an argument is of another type than above.
        ValueError: ``leak_after`` is not above 0, or ``registry`` has metrics of these names from somebody else.

    Nothing that happens afterwards raises into the application.
    """
    wish = Wish(name=name, leak_after=leak_after, call_sites=call_sites, registry=registry, by_name=True)
    return attach(target, wish)


def attach(target: Any, wish: Wish = Wish()) -> Instrumentation:  # noqa: B008  frozen
    """Do what ``instrument`` does; by default for a pool that nobody asked for by name, and by the defaults."""
    return Instrumentation(_watch().add(_watched(target), wish))


def uninstrument(target: Any) -> None:
    """Stop watching a pool; its metrics vanish. Nothing happens when it is not watched.

    While other pools of its name are watched, what it had counted stays in their sums, so that none of these falls.

    Raises:
        TypeError: ``target`` is no Engine, AsyncEngine or Pool.
    """
    _watch().remove(_watched(target))


def instrument_all(
    *,
    leak_after: float | None = None,
    call_sites: bool | None = None,
    registry: CollectorRegistry | None = None,
) -> None:
    """Instrument every engine that is made from now on, wherever in the program, as ``instrument`` would.

    Engines that exist already are left alone (nobody keeps a list of them): call this before they are made, or
    ``instrument`` them. Called again, it changes the settings of the engines to come. An engine that is instrumented
    by name as well takes that name. Nothing of this raises out of ``create_engine``, nor where the application
    registers metrics of its own that are called like ours: these are then left out.

    Raises:
        TypeError: an argument is of another type than ``instrument`` takes.
        ValueError: ``leak_after`` is not above 0.
    """
    wish = Wish(leak_after=leak_after, call_sites=call_sites, registry=registry)
    on_every_engine(functools.partial(attach, wish=wish))


def _watched(target: Any) -> Engine | Pool:
    # An AsyncEngine is a thin coat over an Engine, which alone has events; looked at by name, so that asyncio's part
    # of SQLAlchemy is not imported into programs that do without.
    engine = getattr(target, "sync_engine", target)
    if not isinstance(engine, Engine | Pool):
        raise TypeError(
            f"exporter needs an Engine, an AsyncEngine or a Pool, not {type(target).__name__}; "
            "a sessionmaker or a Session has its engine as .kw['bind'] or .get_bind()"
        )
    # What execution_options() returns is a short-lived view of an engine, or of another view; the pool is the engine's.
    proxied = getattr(engine, "_proxied", None)
    return engine if proxied is None else _watched(proxied)


def _watch() -> Watch:
    """Return the one watch of this process, made at the first use: importing this package starts nothing."""
    with _making:
        return _made()


@functools.cache
def _made() -> Watch:
    watch = Watch()
    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(
            before=quietly(watch.before_fork, where="fork"),
            after_in_parent=quietly(watch.after_fork_in_parent, where="fork"),
            after_in_child=quietly(watch.after_fork, where="fork"),
        )
    atexit.register(watch.stop)
    watch.succeed()
    return watch


def _renew() -> None:
    global _making  # noqa: PLW0603  a fork has one of its own
    _making = threading.RLock()


_making = threading.RLock()
"""Two threads that come first would make a watch each, and show every metric twice."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)  # another thread of the parent's may have had it
