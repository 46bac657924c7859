"""Who holds what, whom to suspect, and when the server closes the next one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest

from exporter.match import holders
from exporter.records import PooledConnection, Session
from reports import connection, matched, report, sample


def test_who_holds_what() -> None:
    """A holder has its place in the code, how long it holds, and what its session does; a long sleep is suspicious."""
    out = PooledConnection("used", 300.0, 3600.0, 11, "shop.py:7 pay", "worker-1")
    seen = sample({11: Session("sleeping", 61.0), 12: Session("sleeping", 59.0), 13: Session("active", 200.0)})
    others = [dataclasses.replace(out, server_id=id_, site=None) for id_ in (12, 13, 14)]
    found = matched(report(out, *others, connection("idle", 15)), seen=seen)
    assert found.leak_suspects == 1
    first = found.holders[0]
    assert (first.pool, first.server, first.process, first.pid, first.server_id) == ("shop", "orders", "7", 7, 11)
    assert (first.site, first.holder, first.seconds) == ("shop.py:7 pay", "worker-1", 300.0)
    assert (first.session, first.session_seconds, first.suspect) == ("sleeping", 61.0, True)
    assert [(each.session, each.suspect) for each in found.holders[1:]] == [
        ("sleeping", False),
        ("active", False),
        (None, False),
    ]


def test_holders_of_pools_without_a_server() -> None:
    """Who holds a connection is known without any server."""
    (found,) = holders([report(connection("used"), connection("idle", 12))])
    assert (found.server, found.session, found.server_id, found.suspect) == (None, None, 11, False)


IDLE = {"wait_timeout": 100.0, "idle_session_timeout": 100.0}
HELD = {"idle_in_transaction_session_timeout": 50.0}


@pytest.mark.parametrize(
    ("held", "session", "timeouts", "left"),
    [
        (connection("idle"), Session("sleeping", 30.0), IDLE, 60.5),  # asked 9.5 s ago
        (connection("idle"), Session("sleeping", 99.0), IDLE, 0.0),
        (connection("idle"), Session("sleeping", 30.0), {}, None),
        (connection("idle"), Session("sleeping", 30.0), HELD, None),
        (connection("idle"), Session("active", 30.0), IDLE, None),
        (connection("used"), Session("sleeping", 30.0), IDLE, 60.5),
        (connection("used"), Session("sleeping_in_transaction", 30.0), IDLE | HELD, 10.5),
        (connection("used"), Session("sleeping_in_failed_transaction", 30.0), HELD, 10.5),
        (connection("idle", seconds=4.0), Session("sleeping", 30.0), IDLE, 96.0),  # woken 4 s ago
        (connection("used", seconds=4.0), Session("sleeping", 30.0), IDLE, None),
        (connection("idle"), Session("sleeping", 30.0, ("other", "shop")), IDLE, 20.5),
    ],
)
def test_expiry(held: PooledConnection, session: Session, timeouts: Mapping[str, float], left: float | None) -> None:
    """What is left of the timeout that a session really has, counted from when it was last woken; never below 0."""
    overrides = {("other", "shop"): {"wait_timeout": 60.0}}
    seen = dataclasses.replace(sample({11: session}), idle_timeouts=timeouts, overrides=overrides)
    assert matched(report(held), seen=seen).expiry == left


def test_the_first_to_expire_counts() -> None:
    """Of several, the one that has slept longest is closed first."""
    seen = dataclasses.replace(sample({1: Session("sleeping", 5.0), 2: Session("sleeping", 50.0)}), idle_timeouts=IDLE)
    assert matched(report(connection("idle", 1), connection("idle", 2)), seen=seen).expiry == 40.5
