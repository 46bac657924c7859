"""Who lives: a process is dead when the kernel says so, not when its number is gone or the clock has jumped."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from exporter.presence import is_held, lock_path
from exporter.records import ProcessSnapshot

LIVE_SECONDS = 10.0
"""A process publishes once a second; one that lives and has not for this long is silent."""


@dataclass(frozen=True)
class Life:
    """What is known of one process: ``age`` is the seconds since it published, ``dead_for`` since it was found dead.

    Its death is ``sure`` when it said so itself, or the kernel: its lock is there, and free.
    """

    state: Literal["live", "silent", "dead"]
    age: float
    dead_for: float = 0.0
    sure: bool = False


@dataclass(frozen=True)
class _Sighting:
    """One version of what a process published: when it was seen first, how old it was then, and since when it is dead.

    Times are of the monotonic clock.
    """

    snapshot: ProcessSnapshot
    seen: float
    age: float
    dead_since: float | None = None


class Lives:
    """Judges the processes of one directory, from look to look; not for two threads at once."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._monotonic = monotonic
        self._sightings: dict[str, _Sighting] = {}
        self._looked: float | None = None

    def judge(self, found: Mapping[str, ProcessSnapshot]) -> dict[str, Life]:
        """Tell of each process, by the name that it publishes under, whether it lives. Forgets those not found."""
        now = self._monotonic()
        sightings = {name: self._sighting(name, snapshot, now) for name, snapshot in found.items()}
        lives = {name: self._life(name, sighting, now) for name, sighting in sightings.items()}
        self._sightings = {name: _judged(each, lives[name], now) for name, each in sightings.items()}
        self._looked = now
        return lives

    def _sighting(self, name: str, snapshot: ProcessSnapshot, now: float) -> _Sighting:
        before = self._sightings.get(name)
        if before is not None and before.snapshot is snapshot:
            return before
        # The clock may have jumped since it was written; it is no older than our last look, which did not find it.
        age = max(self._clock() - snapshot.taken, 0.0)
        if before is not None and self._looked is not None:
            age = min(age, now - self._looked)
        return _Sighting(snapshot, now, age)

    def _life(self, name: str, sighting: _Sighting, now: float) -> Life:
        age = sighting.age + now - sighting.seen
        snapshot = sighting.snapshot
        fresh = age <= LIVE_SECONDS or snapshot.resting
        lock = lock_path(self._directory, name)
        held = None if snapshot.ended else is_held(lock)
        if snapshot.ended or (held is False and snapshot.locked) or not (held or age <= LIVE_SECONDS):
            since = now if sighting.dead_since is None else sighting.dead_since
            # One that is stopped cannot make its lock anew when somebody has removed it.
            sure = snapshot.ended or (held is False and snapshot.locked and lock.exists())
            return Life("dead", age, dead_for=now - since, sure=sure)
        return Life("live" if fresh else "silent", age)


def _judged(sighting: _Sighting, life: Life, now: float) -> _Sighting:
    dead_since = now - life.dead_for if life.state == "dead" else None
    return sighting if sighting.dead_since == dead_since else dataclasses.replace(sighting, dead_since=dead_since)
