"""Errors of ours that the application never sees: counted, and said once for each place."""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

PLACES = (
    "api", "checkin", "checkout", "close", "close_detached", "collect", "connect", "connect_errors", "detach",
    "disposals", "fork", "instrument_all", "invalidate", "listen", "log", "ping", "plugin", "publish", "recreate",
    "server_id", "soft_invalidate", "swap", "timeout", "wait", "other",
)  # fmt: skip
"""Where errors are contained; the values of the label ``where``, the last for places that only a process of a newer
version knows."""

_OURS = {*sys.stdlib_module_names, "sqlalchemy", __name__.partition(".")[0]}
"""Where the classes of errors come from that our own code may run into."""

_log = logging.getLogger("exporter")
_counts: Counter[str] = Counter()


def contain(where: str) -> None:
    """Count the exception being handled under ``where`` and log it, with its traceback, the first time only.

    To be called from an ``except`` clause. Raises nothing, whatever the application has done to its logging.
    """
    _counts[where] += 1
    if _counts[where] > 1:
        return
    # A logging handler that raises is not ours to mend, and nobody is left to be told.
    with contextlib.suppress(Exception):
        _log.warning(
            "contained an error of sqlalchemy-pool-exporter in %s; the application is unharmed, but its "
            "figures may be incomplete. This is said once; please report it",
            where,
            exc_info=True,
        )


def quietly(step: Callable[[], None], *, where: str) -> Callable[[], None]:
    """Return ``step``, which lets nothing out: whoever calls it is the application, or Python for it."""

    def quiet() -> None:
        try:
            step()
        except Exception:
            contain(where)

    return quiet


def contain_ours(where: str, error: Exception) -> None:
    """Contain an error as ``contain`` does, but raise one that is the application's.

    Its signal handler may raise inside our code, and so may another of its threads. That is meant for who called us.
    """
    if not _is_ours(error):
        raise error
    contain(where)


def contain_unless_signalled(where: str, error: Exception) -> None:
    """Contain an error that may be of any class, as a driver's is, but raise what a signal handler has raised."""
    if _is_signalled(error):
        raise error
    contain(where)


def _is_ours(error: Exception) -> bool:
    """Tell our own failures, which are Python's errors and SQLAlchemy's, from what others raise into our code."""
    return type(error).__module__.partition(".")[0] in _OURS and not _is_signalled(error)


def _is_signalled(error: Exception) -> bool:
    """Tell whether a signal handler of the application's raised an error."""
    handlers, trace = set(_signal_handlers()), error.__traceback__
    while trace is not None and trace.tb_frame.f_code not in handlers:
        trace = trace.tb_next
    return trace is not None


def _signal_handlers() -> Iterator[CodeType]:
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while isinstance(handler, functools.partial):
            handler = handler.func
        for function in (handler, getattr(handler, "__func__", None), vars(type(handler)).get("__call__")):
            if isinstance(code := getattr(function, "__code__", None), CodeType):
                yield code


def contained_errors() -> dict[str, int]:
    """Return how many errors were contained so far, by place."""
    return dict(_counts)


def start_from_zero() -> None:
    """Forget what was contained, as a child does with what its parent was."""
    _counts.clear()
