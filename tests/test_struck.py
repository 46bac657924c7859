"""A time limit of the application's that strikes at any line of ours: no count is doubled or falls, no lock stays."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.pool import NullPool, QueuePool

import exporter
from exporter import listeners
from exporter.ear import Ear
from exporter.ledger import Ledger
from pages import Page
from wires import Line, NewEngine


class TimeIsUpError(Exception):
    """What a task queue raises into a task that takes too long."""


def lines_of(code: CodeType) -> list[int]:
    """Return the lines of a function at which it may be struck."""
    return sorted({line for _, _, line in code.co_lines() if line and line > code.co_firstlineno})


@contextmanager
def struck(code: CodeType, line: int, error: BaseException) -> Iterator[list[int]]:
    """Raise an error at a line of a function, once; hand out where it was raised."""
    hits: list[int] = []

    def at_line(frame: FrameType, what: str, _argument: object) -> Any:
        if what == "line" and frame.f_lineno == line and not hits:
            hits.append(line)
            raise error
        return at_line

    before = sys.gettrace()
    sys.settrace(lambda frame, _what, _argument: at_line if frame.f_code is code else None)
    try:
        yield hits
    finally:
        sys.settrace(before)


FOLDING = (Ledger._fold, Ledger._fold_unless_busy)  # noqa: SLF001


@pytest.mark.parametrize("function", FOLDING, ids=lambda each: each.__name__)
def test_struck_while_adding_up_nothing_counts_twice(
    engine_of: Callable[..., Engine], page: Page, monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any]
) -> None:
    """At whatever line a time limit strikes as an application's thread adds up, counts are right, and are read."""
    monkeypatch.setattr("exporter.ledger._FOLD_ABOVE", 4)
    hits = 0
    for line in lines_of(function.__code__):
        engine = engine_of(NullPool)
        with struck(function.__code__, line, TimeIsUpError()) as hit:
            for _ in range(8):
                try:
                    engine.connect().close()
                except TimeIsUpError:  # noqa: PERF203  which it may be in any round
                    hits += 1
        assert len(hit) <= 1
        made, checkouts = page.value("connects_total"), page.value("checkouts_total")
        # A connection is opened, then struck: one that was made and never handed out counts as such, if at all.
        assert checkouts <= made
        assert page.value("checkins_total") == checkouts
        assert sum(page.by("closes_total", "reason").values()) <= made
        reader = threading.Thread(target=page.connections, daemon=True)
        reader.start()
        reader.join(30)
        assert not reader.is_alive()
        exporter.uninstrument(engine)
    assert hits > 5


def test_struck_while_a_connection_comes_back_it_is_idle(engine_of: Callable[..., Engine], page: Page) -> None:
    """At whatever line of ours a return is interrupted, the connection is in the pool and shown as idle."""
    engine = engine_of(QueuePool, pool_size=1, max_overflow=0)
    code = Ear.gave_back.__code__
    hits = 0
    for error in (TimeIsUpError(), KeyboardInterrupt()):
        for line in lines_of(code):
            connection = engine.connect()
            try:
                with struck(code, line, error):
                    connection.close()
            except (TimeIsUpError, KeyboardInterrupt):
                hits += 1
            assert page.connections() == (1, 0)
            assert page.value("overdue") == page.value("used_longest_seconds") == 0
    assert hits > 20


@pytest.mark.parametrize("name", ["note", "server_id", "succeeded"])
def test_what_a_signal_handler_raises_where_little_happens_is_the_application_s_too(
    new_engine: NewEngine, line: Line, page: Page, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Noting a failed connect, asking for a server's id, following dispose(): what strikes there goes on as well."""

    def is_up(_number: int, _frame: object) -> None:
        raise TimeIsUpError

    def fails() -> Any:
        raise OSError

    engine = new_engine(creator=fails if name == "note" else line)
    exporter.instrument(engine, registry=page.registry)
    owner = {"note": Ledger, "server_id": sys.modules["exporter.entry"], "succeeded": Ear}[name]
    own = signal.signal(signal.SIGALRM, is_up)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, lambda *_args, **_options: signal.raise_signal(signal.SIGALRM))
            with pytest.raises(TimeIsUpError):
                engine.dispose() if name == "succeeded" else engine.connect()
    finally:
        signal.signal(signal.SIGALRM, own)


def test_a_listener_that_comes_while_ours_are_put_in_is_kept(
    engine: Engine, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the application adds to the listeners at that very moment is there afterwards; what it removes is not."""
    heard: list[str] = []

    def stays(*_args: object) -> None:
        heard.append("stays")

    def goes(*_args: object) -> None:
        heard.append("goes")

    others = listeners._others  # noqa: SLF001

    def meanwhile(found: Any) -> Any:
        mine = others(found)
        if getattr(found, "__len__", bool)() and goes in found and stays not in found:
            found.append(stays)
            found.remove(goes)
        return mine

    event.listen(engine, "close", goes)
    monkeypatch.setattr(listeners, "_others", meanwhile)
    exporter.instrument(engine, registry=page.registry)
    engine.connect().close()
    engine.dispose()
    assert heard.count("stays") == 1
    assert page.by("closes_total", "reason") == {"disposed": 1}
