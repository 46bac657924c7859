"""The terminal: progress while the demonstration sets up, then the table; plain lines where there is no terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live

PLAIN_WIDTH = 132
PLAIN_EVERY = 10.0
"""Seconds between two lines where nothing can be drawn over."""


class Board(Protocol):
    """Where the table is shown."""

    def show(self, table: RenderableType, line: str) -> None:
        """Show how things stand: in full, or where there is room for no more in one line."""


class Display:
    """Writes to standard output: colours and a table that changes in a terminal, else neither; or nothing at all."""

    def __init__(self, *, quiet: bool = False) -> None:
        terminal = sys.stdout.isatty()
        # Told, not guessed: variables such as FORCE_COLOR would put escape codes into files.
        self._console = (
            Console(highlight=False, quiet=quiet)
            if terminal
            else Console(
                force_terminal=False,
                no_color=True,
                color_system=None,
                width=PLAIN_WIDTH,
                highlight=False,
                quiet=quiet,
            )
        )
        self._draws = terminal and not quiet and not self._console.is_dumb_terminal
        self._begun = time.monotonic()

    def say(self, *lines: str) -> None:
        """Print lines as they are."""
        for line in lines:
            self._console.print(line, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def step(self, doing: str, *, done: str) -> Iterator[None]:
        """Say what is being done where that can be wiped away, and what is done when the body has done it."""
        with self._console.status(doing) if self._draws else contextlib.nullcontext():
            yield
        self.say(f"[{time.monotonic() - self._begun:5.1f} s] {done}")

    @contextlib.contextmanager
    def board(self) -> Iterator[Board]:
        """Give what shows a table again and again; the last one stays."""
        if self._draws:
            with Live(console=self._console, auto_refresh=False) as live:
                yield _Drawn(live)
            return
        plain = _Plain(self)
        yield plain
        self.say("")
        self._console.print(plain.last)
        self.say("")


class _Drawn:
    """Draws each table over the one before."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, table: RenderableType, _line: str) -> None:
        self._live.update(table, refresh=True)


class _Plain:
    """Prints the line now and then, and keeps the table for the end."""

    def __init__(self, display: Display) -> None:
        self.last: RenderableType = ""
        self._display = display
        self._begun: float | None = None
        self._lines = 0

    def show(self, table: RenderableType, line: str) -> None:
        self.last = table
        now = time.monotonic()
        self._begun = now if self._begun is None else self._begun
        seconds = now - self._begun
        if seconds >= self._lines * PLAIN_EVERY:
            self._lines += 1
            self._display.say(f"after {seconds:.0f} s: {line}")
