"""The self-check: faults of ours that are planted here show as drift when they stay, and nothing else ever does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import AssertionPool, NullPool, QueuePool, SingletonThreadPool, StaticPool

import exporter
from exporter import selfcheck
from exporter.ear import Ear
from exporter.limits import Pools
from exporter.records import PoolSnapshot
from exporter.selfcheck import LOOKS, PATIENCE, SelfCheck


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a difference count as soon as it was seen often enough; how long it must stay has a test of its own."""
    monkeypatch.setattr(selfcheck, "PATIENCE", 0.0)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}", poolclass=QueuePool, pool_size=2, max_overflow=2)
    yield engine
    exporter.uninstrument(engine)
    engine.dispose()


def looks(look: Callable[[], PoolSnapshot], count: int = LOOKS) -> list[int | None]:
    return [look().drift for _ in range(count)]


def miss(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Make every ear deaf to one thing from now on."""
    monkeypatch.setattr(Ear, what, lambda *_args, **_options: None)


def test_a_checkin_that_was_missed_shows_when_it_stays(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that lies in the pool, and that we still count as used, is drift from the third look on."""
    handle = exporter.instrument(engine)
    connection = engine.connect()
    with monkeypatch.context() as patch:
        miss(patch, "gave_back")
        connection.close()
    assert looks(handle.snapshot) == [0, 0, 1]
    assert handle.snapshot().used == 1
    with engine.connect():
        assert looks(handle.snapshot) == [0, 0, 0]
    assert looks(handle.snapshot) == [0, 0, 0]


def test_a_checkout_that_was_missed_shows_when_it_stays(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is out, and that we still count as idle, is drift until it comes back."""
    handle = exporter.instrument(engine)
    engine.connect().close()
    with monkeypatch.context() as patch:
        miss(patch, "took")
        connection = engine.connect()
    assert looks(handle.snapshot) == [0, 0, 1]
    connection.close()
    assert looks(handle.snapshot) == [0, 0, 0]


def test_a_connect_that_was_missed_shows_when_it_stays(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection in the pool that we know nothing of is drift, if it was made while we listened."""
    handle = exporter.instrument(engine)
    handle.snapshot()
    with monkeypatch.context() as patch:
        for what in ("opened", "took", "gave_back"):
            miss(patch, what)
        engine.connect().close()
    assert looks(handle.snapshot) == [0, 0, 1]
    engine.dispose()
    assert looks(handle.snapshot) == [0, 0, 0]


def test_another_difference_at_every_look_is_none(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs once, and then another time, is how a busy pool looks; only the same that stays counts."""
    handle = exporter.instrument(engine)
    for _ in range(2 * LOOKS):
        connection = engine.connect()
        with monkeypatch.context() as patch:
            miss(patch, "gave_back")
            connection.close()
        assert handle.snapshot().drift == 0


def test_a_difference_must_stay_for_a_while(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many looks in a moment are one look: a ping may take seconds."""
    monkeypatch.setattr(selfcheck, "PATIENCE", PATIENCE)
    handle = exporter.instrument(engine)
    connection = engine.connect()
    with monkeypatch.context() as patch:
        miss(patch, "gave_back")
        connection.close()
    monitor: Any = handle._monitor  # noqa: SLF001
    check, ear = SelfCheck(), monitor._ear  # noqa: SLF001

    def look(now: float) -> int | None:
        return check.look(Pools([engine.pool]), ear.ledger.peek(), life=ear.life, now=now)

    assert [look(now) for now in (1.0, 2.0, 3.0, 4.0, 60.9, 61.0)] == [0, 0, 0, 0, 0, 1]
    assert looks(handle.snapshot, 9) == [0] * 9


def test_what_the_application_does_is_no_drift(engine: Engine) -> None:
    """An invalidated connection still held, a detached one, a soft invalidation, a dispose in use: all is as told."""
    handle = exporter.instrument(engine)
    invalidated, detached, soft, orphan = (engine.raw_connection() for _ in range(4))
    invalidated.invalidate()
    detached.detach()
    soft.invalidate(soft=True)
    assert looks(handle.snapshot) == [0, 0, 0]
    soft.close()
    assert looks(handle.snapshot) == [0, 0, 0]
    engine.dispose()
    assert looks(handle.snapshot) == [0, 0, 0]
    for each in (invalidated, detached, orphan):
        each.close()
    assert looks(handle.snapshot) == [0, 0, 0]


def test_a_ping_is_no_drift_until_it_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is pinged a connection is out for the pool and not yet for the application: that must not last."""
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}", poolclass=QueuePool, pool_pre_ping=True)
    handle, ping = exporter.instrument(engine), engine.dialect.do_ping
    seen: list[list[int | None]] = []

    def looked_at(dbapi_connection: Any) -> bool:
        seen.append(looks(handle.snapshot))
        with monkeypatch.context() as patch:
            patch.setattr(selfcheck, "PATIENCE", 0.0)
            seen.append(looks(handle.snapshot))
        return ping(dbapi_connection)

    engine.connect().close()
    monkeypatch.setattr(selfcheck, "PATIENCE", PATIENCE)
    monkeypatch.setattr(engine.dialect, "do_ping", looked_at)
    with engine.connect():
        assert looks(handle.snapshot) == [0, 0, 0]
    assert seen == [[0, 0, 0], [1, 1, 1]]
    exporter.uninstrument(engine)
    engine.dispose()


@pytest.mark.parametrize("pool", [NullPool, StaticPool, SingletonThreadPool, AssertionPool])
def test_a_pool_that_keeps_no_list_says_nothing(tmp_path: Path, pool: Any) -> None:
    """Where the pool itself has no word, there is nothing to compare, and no 0."""
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}", poolclass=pool)
    handle = exporter.instrument(engine)
    with engine.connect():
        assert handle.snapshot().drift is None
    exporter.uninstrument(engine)
    engine.dispose()


def test_nothing_is_said_until_all_are_met(engine: Engine) -> None:
    """Of connections from before we came we know too little; once each was used, the check begins."""
    held = [engine.connect() for _ in range(2)]
    handle = exporter.instrument(engine)
    assert handle.snapshot().drift is None
    held[0].close()
    assert handle.snapshot().drift is None
    held[1].close()
    assert looks(handle.snapshot) == [0, 0, 0]


def test_a_child_knows_nothing_of_what_it_inherits(engine: Engine) -> None:
    """After a fork the connections of the parent lie in the child's pool, unknown to it, and are no fault of ours."""
    handle = exporter.instrument(engine)
    engine.connect().close()
    child = os.fork()
    if child == 0:
        os._exit(0 if looks(handle.snapshot) == [None] * LOOKS else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert looks(handle.snapshot) == [0, 0, 0]
