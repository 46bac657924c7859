"""What is left of whoever waited for a connection: nothing, neither on the page nor in the ear."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from exporter.seam import ear_of

NOBODY = {"waiting": 0, "waiting_longest_seconds": 0}
"""What the page says where nobody waits."""


def nothing_is_left(engine: Engine | AsyncEngine) -> None:
    """Check that nobody who waited is remembered."""
    ear = ear_of(engine.pool)
    assert ear is not None
    assert (ear.waiting, ear.waited) == ({}, {})
