"""SQLite connections that keep count of themselves: what was really opened and closed, whatever a pool says of it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

NewEngine = Callable[..., Engine]
"""Makes an engine, with the options of create_engine; what a test's fixture makes is cleared away at the end."""


class Wire(sqlite3.Connection):
    """A connection that tells its maker when it ends, be it closed or just dropped."""

    line: Line | None = None

    def close(self) -> None:
        """Close, and say so once."""
        line, self.line = self.line, None
        super().close()
        if line is not None:
            line.closed.append(None)

    def __del__(self) -> None:
        self.close()


class Line:
    """Makes connections to one file, and now and then fails to. Counts by appending, which threads may do at once."""

    def __init__(self, path: Path, *, failing: float = 0.0) -> None:
        self._path = path
        self.failing = failing
        self._chance = random.Random(7)  # noqa: S311  faults, not secrets
        self.made: list[None] = []
        self.failed: list[None] = []
        self.closed: list[None] = []

    def __call__(self) -> Any:
        """Open a connection: the ``creator`` of an engine."""
        return sqlite3.connect(self._path, factory=self.wire, check_same_thread=False)  # type: ignore[call-overload]

    def wire(self, *args: Any, **options: Any) -> Wire:
        """Make a connection: the ``factory`` of sqlite3's own connect()."""
        if self._chance.random() < self.failing:
            self.failed.append(None)
            raise sqlite3.OperationalError("unable to open database file, as the test wants it")
        wire = Wire(*args, **options)
        wire.line = self
        self.made.append(None)
        return wire

    @property
    def open(self) -> int:
        """Return how many there are now."""
        return len(self.made) - len(self.closed)
