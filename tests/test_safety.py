"""The application comes first: whatever fails, interrupts or meets itself in our code, it gets its connections."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

import exporter
from exporter.contained import contained_errors
from exporter.ear import Ear
from exporter.ledger import Ledger
from exporter.seam import ear_of
from pages import Page
from waiting import eventually
from wires import Line

PACKAGE = Path(exporter.__file__).parent


class Broken:
    """Raises, whatever is done with it."""

    def __call__(self, *_args: object, **_options: object) -> object:
        raise RuntimeError("planted")

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(f"planted: {name}")


def live(engine: Engine, line: Line) -> None:
    """Do everything that an application does to a pool of two places, three times over."""
    for _ in range(3):  # more rounds than places: one that got lost would be missed
        wait(engine)
        time_out(engine)
        raw = engine.raw_connection()
        raw.driver_connection.close()  # type: ignore[union-attr]
        raw.close()
        engine.connect().close()
        for idle in list(engine.pool._pool.queue):  # type: ignore[attr-defined]  # noqa: SLF001
            if idle.driver_connection is not None:
                idle.driver_connection.close()  # for the ping to find
        engine.connect().close()
        for end in ("invalidate", "detach"):
            raw = engine.raw_connection()
            getattr(raw, end)()
            raw.close()
        raw = engine.raw_connection()
        raw.invalidate(soft=True)
        raw.close()
        fail(engine, line)
        engine.dispose()
        engine.dispose(close=False)
    with engine.connect(), engine.connect():
        pass


def wait(engine: Engine) -> None:
    """Let a thread wait for a connection, and get it."""
    held = engine.connect(), engine.connect()
    thread = threading.Thread(target=lambda: engine.connect().close())
    thread.start()
    condition: Any = engine.pool._pool.not_empty  # type: ignore[attr-defined]  # noqa: SLF001
    eventually(lambda: condition._waiters)  # noqa: SLF001  the truth, whatever our page says
    for each in held:
        each.close()
    thread.join()


def time_out(engine: Engine) -> None:
    """Wait in vain."""
    pool: Any = engine.pool
    patience, pool._timeout = pool._timeout, 0.01  # noqa: SLF001
    with engine.connect(), engine.connect(), pytest.raises(PoolTimeoutError):
        engine.connect()
    pool._timeout = patience  # noqa: SLF001


def fail(engine: Engine, line: Line) -> None:
    """Ask for a connection while none can be made."""
    line.failing = 1.0
    engine.pool.dispose()
    with pytest.raises(sqlite3.OperationalError):
        engine.raw_connection()
    line.failing = 0.0


Seam = tuple[str, Callable[[Engine], Any], str]
"""Where an error is contained, and the attribute that raises it: whose it is, and its name."""

SEAMS: list[Seam] = [
    ("checkout", lambda _: Ear, "took"),
    ("checkout", lambda _: sys.modules["exporter.ear"], "taken_at"),
    ("checkin", lambda _: Ear, "gave_back"),
    ("connect", lambda _: Ear, "opened"),
    ("connect_errors", lambda _: Ledger, "note"),
    ("disposals", lambda _: Ledger, "note"),
    ("ping", lambda _: Ear, "pinged"),
    ("ping", lambda _: sys.modules["exporter.ear"], "stale_code"),
    ("recreate", lambda _: sys.modules["exporter.seam"], "install"),
    ("timeout", lambda _: Ear, "timed_out"),
    ("timeout", lambda engine: ear_of(engine.pool), "complain"),
    ("timeout", lambda _: Ledger, "peek"),
    ("wait", lambda engine: ear_of(engine.pool), "whoami"),
    ("invalidate", lambda _: sys.modules["exporter.listeners"], "cause_of"),
    ("soft_invalidate", lambda _: Ledger, "note"),
    ("close", lambda _: sys.modules["exporter.listeners"], "reason_of"),
    ("detach", lambda engine: ear_of(engine.pool), "leaving"),
    ("close_detached", lambda engine: ear_of(engine.pool), "detached"),
    ("server_id", lambda _: sys.modules["exporter.entry"], "server_id"),
]


@pytest.mark.parametrize("seam", SEAMS, ids=[f"{where}-{name}" for where, _, name in SEAMS])
def test_with_any_part_of_ours_broken_the_application_lives(
    watched: Engine, line: Line, page: Page, monkeypatch: pytest.MonkeyPatch, seam: Seam
) -> None:
    """With any listener or seam raising, nothing reaches the application and every place in the pool comes back."""
    where, owner, name = seam
    before = contained_errors().get(where, 0)
    monkeypatch.setattr(owner(watched), name, Broken())
    live(watched, line)
    assert contained_errors()[where] > before
    shown = page.registry.get_sample_value("pool_exporter_contained_errors_total", {"where": where})
    assert shown == contained_errors()[where]
    monkeypatch.undo()
    with watched.connect(), watched.connect():
        assert page.value("checkouts_total") >= 0


def test_nothing_is_contained_when_nothing_is_broken(watched: Engine, line: Line, page: Page) -> None:
    """The same life without a fault contains no error, and is counted."""
    before = contained_errors()
    live(watched, line)
    assert contained_errors() == before
    assert page.values("timeouts_total", "disposals_total", "connect_errors_total") == {
        "timeouts_total": 3,
        "disposals_total": 9,
        "connect_errors_total": 3,
    }
