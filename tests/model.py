"""A pool on paper: what a QueuePool does with its connections, written down again, so that a page can be held to it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Paper:
    """One connection of the paper pool: out, or idle; ``fairy`` is the real one while it is out."""

    pool: PaperPool
    born: int
    fairy: Any = None
    soft: bool = False
    dead: bool = False
    returned: bool = False


@dataclass(eq=False)
class PaperPool:
    """The slots of one pool, the first to be taken first; None is a slot without a connection."""

    size: int
    max_overflow: int
    idle: list[Paper | None] = field(default_factory=list)
    slots: int = 0
    invalidated: int = -1

    @property
    def connections(self) -> list[Paper]:
        """Return the idle connections."""
        return [paper for paper in self.idle if paper is not None]


class Book:
    """All pools of one engine, and every count that the engine's page must show."""

    def __init__(self, *, size: int, max_overflow: int) -> None:
        self._shape = (size, max_overflow)
        self.pool = PaperPool(*self._shape)
        self.out: list[Paper] = []
        self.detached: list[Paper] = []
        self.old: list[PaperPool] = []
        self.counts: Counter[str] = Counter()
        self.closes: Counter[str] = Counter()
        self.causes: Counter[str] = Counter()
        self._clock = 0

    @property
    def current(self) -> list[Paper]:
        """Return what is out of the pool that the engine has now."""
        return [paper for paper in self.out if paper.pool is self.pool]

    @property
    def orphaned(self) -> int:
        """Return how many connections of pools that were disposed of are open."""
        return len(self.out) - len(self.current) + sum(len(pool.connections) for pool in self.old)

    def full(self) -> bool:
        """Tell whether a checkout will find neither a connection nor a slot to make one in."""
        return not self.pool.idle and self.pool.slots >= self.pool.size + self.pool.max_overflow

    def take(self, *, failing: bool) -> Paper | None:
        """Check out; None when a connection would have to be made and cannot be."""
        existing = bool(self.pool.idle)
        found = self._kept(self.pool.idle.pop(0)) if existing else None
        if found is not None:
            self.counts["idle"] += found.returned
        elif failing:
            self.counts["connect_errors"] += 1
            if existing:
                self._put(self.pool, None)
            return None
        else:
            found = self._made()
            self.pool.slots += not existing
        self.counts["checkouts"] += 1
        self.out.append(found)
        return found

    def _kept(self, paper: Paper | None) -> Paper | None:
        """Return what lies in a slot if the pool hands it out as it is; else end it."""
        if paper is None:
            return None
        if self.pool.invalidated > paper.born:
            self.closes["pool_invalidated"] += 1
        elif paper.soft:
            self.closes["soft_invalidated"] += 1
        else:
            self.counts["pings"] += 1
            if not paper.dead:
                return paper
            self.causes["ping"] += 1
            self.closes["invalidated"] += 1
            self.invalidate_pool(paper)
        return None

    def _made(self) -> Paper:
        self.counts["connects"] += 1
        return Paper(self.pool, self._tick())

    def invalidate_pool(self, paper: Paper) -> None:
        """Let all connections of a pool be replaced that are as old as one that was found dead."""
        if paper.pool.invalidated < paper.born:
            paper.pool.invalidated = self._tick()

    def give_back(self, paper: Paper) -> None:
        """Return a connection; one that is dead fails to roll back and is thrown away."""
        self._back(paper)
        if paper.dead:
            self.causes["error"] += 1
            self.closes["invalidated"] += 1
        paper.returned = True
        self._put(paper.pool, None if paper.dead else paper)

    def end(self, paper: Paper, cause: str) -> None:
        """Invalidate a connection that is out, for good, and return what is left."""
        self._back(paper)
        self.causes[cause] += 1
        self.closes["invalidated"] += 1
        self._put(paper.pool, None)

    def detach(self, paper: Paper) -> None:
        """Let a connection go; its slot is free for another."""
        self.out.remove(paper)
        self.counts["detaches"] += 1
        self.detached.append(paper)
        self._put(paper.pool, None)

    def dispose(self, *, close: bool) -> None:
        """Replace the pool."""
        self.counts["disposals"] += 1
        if close:
            self.closes["disposed"] += len(self.pool.connections)
            self.pool.idle.clear()
            self.pool.slots = 0
        self.old.append(self.pool)
        self.pool = PaperPool(*self._shape)
        self.bury()

    def bury(self) -> None:
        """End the old pools that no connection holds any more, also a detached one; theirs go without a word."""
        held = {paper.pool for paper in (*self.out, *self.detached)}
        for pool in self.old:
            if pool not in held:
                self.closes["garbage_collected"] += len(pool.connections)
        self.old = [pool for pool in self.old if pool in held]

    def _back(self, paper: Paper) -> None:
        self.out.remove(paper)
        self.counts["checkins"] += 1

    def _put(self, pool: PaperPool, paper: Paper | None) -> None:
        if len(pool.idle) < pool.size:
            pool.idle.append(paper)
        else:
            pool.slots -= 1
            self.closes["overflow"] += paper is not None
        self.bury()

    def _tick(self) -> int:
        self._clock += 1
        return self._clock
