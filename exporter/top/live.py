"""The terminal while it lasts: reads in a thread of its own, draws when something has changed, and ends with q."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console, ConsoleDimensions
from rich.live import Live

from exporter.top.documents import Content, UnreadableError, check
from exporter.top.screen import Reading, fitting
from exporter.top.sources import Source

EVERY = 1.0
"""Seconds between two readings."""

_LOOK = 0.1  # seconds within which a key, or another size of the window, is answered
_QUIT = (b"q", b"Q", b"\x04")

Keys = Callable[[float], bytes]


class Feed:
    """Reads again and again, so that nobody waits for an answer that does not come."""

    def __init__(self, source: Source, first: Content) -> None:
        self._source = source
        self._last = (first, time.monotonic())
        self._lost = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pool-exporter-top", daemon=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[Feed]:
        """Read while the body runs; an answer that is awaited at its end is awaited no longer."""
        self._thread.start()
        try:
            yield self
        finally:
            self._ended.set()

    def reading(self) -> Reading:
        """Return what was read last, and how it stands now."""
        content, heard = self._last
        return Reading(content, self._source.name, age=time.monotonic() - heard, lost=self._lost)

    def _run(self) -> None:
        while not self._ended.wait(EVERY):
            self._lost = self._read()

    def _read(self) -> str:
        """Read once; return why nothing could be read."""
        try:
            self._last = check(self._source.read()), time.monotonic()
        except UnreadableError as error:
            return str(error)
        except Exception as error:  # a fault of ours: the table stays, and says that it grows old
            return f"an error of pool-exporter itself: {error!r}"
        return ""


def watch(source: Source, first: Content, console: Console) -> None:
    """Show a source until q, Ctrl-C or SIGTERM."""
    screen = Live(console=console, screen=True, auto_refresh=False)
    with _sigterm_ends(), _keys() as pressed, Feed(source, first).running() as feed, screen:
        drawn: object = None
        while pressed(_LOOK) not in _QUIT:
            console.size = _size(console)
            reading = feed.reading()
            state = (reading.content, reading.lost, console.size, int(reading.age))
            if state != drawn:
                screen.update(fitting(reading, console), refresh=True)
                drawn = state


def _size(console: Console) -> ConsoleDimensions:
    """Ask the terminal itself: COLUMNS and LINES, which rich believes, stay what they were when it is resized."""
    try:
        return ConsoleDimensions(*os.get_terminal_size(console.file.fileno()))
    except OSError:
        return console.size


def write(source: Source, first: Content, show: Callable[[Reading], None]) -> None:
    """Write a source again and again, where nothing can be drawn over, until Ctrl-C or until nobody reads it."""
    with _sigterm_ends(), Feed(source, first).running() as feed:
        while True:
            show(feed.reading())
            time.sleep(EVERY)


@contextlib.contextmanager
def _sigterm_ends() -> Iterator[None]:
    """Leave in good order: else the terminal would keep our screen, and echo nothing that is typed."""

    def leave(number: int, _frame: Any) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _keys() -> Iterator[Keys]:
    """Give what waits so many seconds for a key. Without a keyboard there is none."""
    if not sys.stdin.isatty():
        yield _no_key
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)

    def pressed(seconds: float) -> bytes:
        ready, _, _ = select.select([fd], [], [], seconds)
        return os.read(fd, 1) if ready else b""

    try:
        tty.setcbreak(fd)
        yield pressed
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _no_key(seconds: float) -> bytes:
    time.sleep(seconds)
    return b""
