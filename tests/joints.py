"""Pools and servers joined as the sidecar does it, but sampled when a test says so."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import exporter
from exporter.conclusions import Match, Unowned
from exporter.config import ServerConfig
from exporter.joint import Joined, Joint
from exporter.names import Names
from exporter.records import ProcessSnapshot
from exporter.sampler import Sampler
from waiting import eventually

Pairs = Mapping[tuple[str, str], int]


@dataclass
class Joining:
    """A server that is sampled, and whoever reports pools; ``processes`` tells what they report now."""

    server: ServerConfig
    processes: Callable[[], Sequence[ProcessSnapshot]]
    leak_after: float = 60.0
    joint: Joint = field(init=False)
    sampler: Sampler = field(init=False)

    def __post_init__(self) -> None:
        self.joint = Joint([self.server], leak_after=self.leak_after, names=Names())
        self.sampler = Sampler(self.server, ids=self._ids)

    def sample(self) -> None:
        """Ask the server once; it answers."""
        self.sampler.sample()
        assert self.sampler.view().up, self.sampler.view().message

    def joined(self) -> Joined:
        """Look once."""
        return self.joint.join(self.processes(), [self.sampler.view()], now=time.time())

    def look(self) -> Joined:
        """Ask the server once, and look."""
        self.sample()
        return self.joined()

    def match(self) -> Match:
        """Ask the server once, and return the match of the only pool."""
        (found,) = self.look().matches
        return found

    def pairs(self) -> Pairs:
        """Ask the server once, and return the pairs that are not 0."""
        return {pair: count for pair, count in self.match().pairs.items() if count}

    def unowned(self, account: str) -> list[Unowned]:
        """Ask the server once, and return what is known of an account."""
        return [found for found in self.look().unowned if found.user == account]

    def sees(self, pairs: Pairs) -> bool:
        """Wait until the pairs are these and no others; a state must have lasted a moment to be believed."""
        return eventually(lambda: self.pairs() == pairs, every=0.1)

    def _ids(self) -> frozenset[int]:
        return self.joint.ids(self.server, self.processes(), self.sampler.view(), now=time.time())


def reporting(*pools: exporter.Instrumentation) -> Callable[[], list[ProcessSnapshot]]:
    """Return what tells of pools as this process would."""

    def look() -> list[ProcessSnapshot]:
        taken = time.time()
        return [ProcessSnapshot(os.getpid(), taken, tuple(pool.snapshot() for pool in pools))]

    return look


@contextlib.contextmanager
def joining(
    server: ServerConfig, processes: Callable[[], Sequence[ProcessSnapshot]], *, leak_after: float = 60.0
) -> Iterator[Joining]:
    """Join while the body runs."""
    found = Joining(server, processes, leak_after)
    try:
        yield found
    finally:
        found.sampler.close()
