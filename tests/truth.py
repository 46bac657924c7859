"""What a page must say when all is done: what the application did, and what the database file saw."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy.pool import Pool, QueuePool

from exporter import selfcheck
from pages import Page
from wires import Line

CAUSES = ("application", "soft", "disconnect", "error", "cancelled", "ping")


def check_counts(page: Page, did: Counter[str], line: Line) -> None:
    """Hold every counter against what the application and the database file saw."""
    names = {"checkouts", "checkins", "detaches", "disposals", "connects", "connect_errors", "garbage_collected"}
    truth = {name: did[name] for name in names}
    truth |= {"connects": len(line.made), "connect_errors": len(line.failed), "garbage_collected": did["garbage"]}
    assert {name: page.value(f"{name}_total") for name in names} == truth
    assert len(line.failed) == did["failures"]
    assert page.by("invalidations_total", "cause") == {cause: did[cause] for cause in CAUSES if did[cause]}
    assert page.by("stale_total", "found", "code") == ({"use other": did["disconnect"]} if did["disconnect"] else {})
    assert page.value("use_seconds_count") == did["checkins"]
    assert page.value("connect_seconds_count") == len(line.made)
    if page.find("timeouts_total") is not None:
        assert page.value("timeouts_total") == did["timeouts"]
        assert page.value("wait_seconds_count") == did["checkouts"] + did["timeouts"]
    closes = page.by("closes_total", "reason")
    assert sum(closes.values()) == len(line.closed)
    assert closes.get("invalidated", 0) == sum(did[cause] for cause in CAUSES if cause != "soft")
    assert closes.get("detached", 0) == did["detaches"]
    assert not closes.keys() & {"recycle", "other"}


def check_gauges(page: Page, pool: Pool, line: Line) -> None:
    """Hold every gauge against what is open."""
    assert page.connections() == (line.open, 0)
    zeros = ("detached", "orphaned", "used_longest_seconds", "overdue")
    assert page.values(*zeros) == dict.fromkeys(zeros, 0)
    check_drift(page, pool)
    if isinstance(pool, QueuePool):
        assert page.values("waiting", "waiting_longest_seconds") == {"waiting": 0, "waiting_longest_seconds": 0}
        size = pool.size()
        assert page.value("overflow") == (max(line.open - size, 0) if size else 0)


def check_drift(page: Page, pool: Pool) -> None:
    """See that the pool's own word is ours, at so many looks that a difference would count, at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selfcheck, "PATIENCE", 0.0)
        found = [page.drift() for _ in range(selfcheck.LOOKS + 1)]
    assert found == [0 if isinstance(pool, QueuePool) else None] * len(found)
