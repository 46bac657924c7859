"""How long until a server closes the next of a pool's sleeping connections. A pure function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exporter.acquaintance import IDLE_TIMEOUTS
from exporter.records import ServerSnapshot, Session
from exporter.sightings import Sighting

IN_TRANSACTION = (
    "idle_in_transaction_session_timeout",
    "wait_timeout",
    "idle_transaction_timeout",
)
"""What ends a session that sleeps in a transaction. MariaDB's timeouts for transactions that have only read, or that
have written, are left out: which of them it is cannot be seen."""


def expiry(seen: Iterable[Sighting], now: float) -> float | None:
    """Return the seconds until the first of them is closed, at ``now`` (seconds since 1970), unless it is used before.

    None when no connection is known to sleep, or the server never closes one.
    """
    left = [some for each in seen if (some := _left(each, now)) is not None]
    return max(min(left), 0.0) if left else None


def _left(seen: Sighting, now: float) -> float | None:
    session, sample = seen.session, seen.sample
    if session is None or sample is None or not session.state.startswith("sleeping"):
        return None
    asked = IDLE_TIMEOUTS if session.state == "sleeping" else IN_TRANSACTION
    since = seen.report.taken - seen.connection.seconds
    slept = (session.seconds or 0.0) + now - sample.ended
    if since > sample.began:
        # It has moved since: whoever gave it back has woken it, and of one that is out now nothing is known.
        if seen.connection.state == "used":
            return None
        asked, slept = IDLE_TIMEOUTS, now - since
    timeouts = _timeouts(session, sample)
    ends = [timeouts[name] for name in asked if name in timeouts]
    return min(ends) - slept if ends else None


def _timeouts(session: Session, sample: ServerSnapshot) -> Mapping[str, float]:
    account = session.account
    return sample.idle_timeouts if account is None else sample.overrides.get(account, sample.idle_timeouts)
