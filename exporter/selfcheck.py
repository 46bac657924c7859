"""The self-check: what the events told of each connection, held against what the pool itself says of it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from sqlalchemy.pool import Pool, QueuePool

from exporter.entry import opened_at
from exporter.limits import slots
from exporter.tally import Usage

PATIENCE = 60.0
"""For how many seconds a difference must stay. The pool and the events change one after the other: in between lie a
ping, and whatever the application listens to."""

LOOKS = 3
"""In how many snapshots in a row it must be seen, however far apart they are."""


class SelfCheck:
    """Remembers which connections of one pool differ, since when, and how often in a row. Not for two threads at once.

    A pool's own word is the list of what lies in it and, on each entry, whether it is out: neither takes a lock.
    """

    def __init__(self) -> None:
        self._differing: dict[Hashable, tuple[float, int]] = {}
        self._began: float | None = None

    def look(self, pools: Iterable[Pool], usages: Iterable[Usage], *, life: object, now: float) -> int | None:
        """Count the connections that are not where the events put them, and have not been for a while.

        ``usages`` are those of ``pools``, ``life`` the ear's, ``now`` seconds on the clock of the usages. None where it
        cannot be told: the class of pool keeps no list, or has connections from before we listened.
        """
        self._began = now if self._began is None else self._began
        queues = [pool for pool in pools if isinstance(pool, QueuePool)]
        try:
            unheard = [record for pool in queues for record in list(slots(pool)) if _is_unheard(record, life)]
        except RuntimeError:  # one came or went while we copied
            return self._lasting(now)
        if not queues or any(_is_older(record, self._began) for record in unheard):
            self._differing.clear()
            return None
        found = [*_misplaced(usages), *((id(record), record.starttime) for record in unheard)]
        self._differing = {key: self._again(key, now) for key in found}
        return self._lasting(now)

    def _again(self, key: Hashable, now: float) -> tuple[float, int]:
        since, looks = self._differing.get(key, (now, 0))
        return since, looks + 1

    def _lasting(self, now: float) -> int:
        return sum(looks >= LOOKS and now - since >= PATIENCE for since, looks in self._differing.values())


def _misplaced(usages: Iterable[Usage]) -> list[Hashable]:
    """Name the stays, in a pool or out of it, of which the events and the entry itself tell different things."""
    found: list[Hashable] = []
    for usage in usages:
        record = usage.record()
        # What its in_use says, for less: there may be thousands, at every look.
        if record is not None and (usage.out_since > 0.0) != (record.fairy_ref is not None):
            found.append((id(usage), usage.out_since, usage.idle_since))
    return found


def _is_unheard(record: Any, life: object) -> bool:
    """Tell whether a connection lies in the pool of which the events have told us nothing."""
    usage = getattr(record, "pool_exporter_usage", None)
    return (usage is None or usage.life is not life) and record.dbapi_connection is not None


def _is_older(record: Any, began: float) -> bool:
    """Tell whether a connection may be from before we listened; a fork brings such along as well."""
    return opened_at(record) <= began
