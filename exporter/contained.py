"""Errors of ours that the application never sees: counted, and said once for each place."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter

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
