"""Errors of ours that the application never sees: counted, and said once for each place."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter

PLACES = (
    "checkin", "checkout", "close", "close_detached", "collect", "connect", "connect_errors", "detach", "disposals",
    "fork", "instrument_all", "invalidate", "listen", "log", "ping", "plugin", "publish", "recreate", "server_id",
    "soft_invalidate", "swap", "timeout", "wait", "other",
)  # fmt: skip
"""Where errors are contained; the values of the label ``where``, the last for places that only a process of a newer
version knows."""

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


def contained_errors() -> dict[str, int]:
    """Return how many errors were contained so far, by place."""
    return dict(_counts)


def start_from_zero() -> None:
    """Forget what was contained, as a child does with what its parent was."""
    _counts.clear()
