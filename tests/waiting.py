"""Waits for what another process or thread is about to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], *, within: float = 30.0, every: float = 0.02) -> T:
    """Return the first true value that ``look`` gives; fail when there is none ``within`` seconds."""
    deadline = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {found!r} after {within:g} s of asking {look}")
        time.sleep(every)
    return found


async def until(look: Callable[[], object], *, within: float = 10.0, every: float = 0.0) -> None:
    """Let the other tasks run until ``look`` gives something true; fail when it does not ``within`` seconds."""
    deadline = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {found!r} after {within:g} s of asking {look}")
        await asyncio.sleep(every)
