"""The rendering: /metrics as bytes, made once for all who had asked for the same before it was begun."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from prometheus_client.registry import CollectorRegistry

from exporter.exposition import OPENMETRICS, TEXT, Encoder, negotiated

K = TypeVar("K")
V = TypeVar("V")

MOST_WAITING = 4
"""Of how many different pages of one's own, by names or by an unusual version, the making may wait."""

_GZIP_LEVEL = 1  # level 9, which prometheus_client takes, needs twenty times as long


@dataclass(frozen=True)
class Asked:
    """What a client wants: the form of the page, the ``names`` to be shown (none: all), packed or not.

    The same content is told with many a content type: those who differ in nothing else share a page.
    """

    form: str
    names: frozenset[str]
    zipped: bool
    content_type: str = field(compare=False)
    encode: Encoder = field(compare=False, repr=False)

    @property
    def is_own(self) -> bool:
        """Tell whether this is a page of one's own, of which there are endlessly many, and not everybody's."""
        return bool(self.names) or self.form not in (TEXT, OPENMETRICS)

    @property
    def headers(self) -> dict[str, str]:
        """Return what is to be said of the answer's form."""
        packed = {"Content-Encoding": "gzip"} if self.zipped else {}
        return {"Content-Type": self.content_type, "Vary": "Accept, Accept-Encoding", **packed}


class Renderings(Generic[K, V]):
    """Makes what is asked for, in a thread, one thing at a time, and shares it among those who may have it.

    Whoever asks while the same is being made does not get that: it may be older than the question. All who wait share
    the next one, which begins after each of them has asked. So twenty scrapers cost what two do, and every answer is as
    fresh as if it had been made for one alone. To be used in one event loop only, which is why there is no lock.
    """

    def __init__(self, render: Callable[[K], V]) -> None:
        self._render = render
        self._turn = asyncio.Lock()  # two at once would share one interpreter, and both be late
        # One of its own, that is kept: those in which pages are made for people may all be taken. And a loop must not
        # wait for a new one to begin: where memory is short that may never come.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pool-exporter-page")
        self._next: dict[K, asyncio.Task[V]] = {}

    def close(self) -> None:
        """Make nothing more; what is being made is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def waiting(self, which: Callable[[K], bool]) -> int:
        """Count the things of a kind that wait to be made."""
        return sum(map(which, self._next))

    async def get(self, key: K) -> V:
        """Return what was rendered for ``key``, begun after this call; whatever ``render`` raises, all waiters get."""
        task = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._rendered(key))
        # Whoever hangs up takes nothing from the others.
        return await asyncio.shield(task)

    async def _rendered(self, key: K) -> V:
        async with self._turn:
            del self._next[key]  # who asks from here on waits for the next
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._render, key)


def asked(headers: Mapping[str, str], *, names: Iterable[str]) -> Asked:
    """Tell from a request what its client wants; ``headers`` are looked up in lower case."""
    encode, content_type, form = negotiated(headers.get("accept", ""))
    return Asked(form, frozenset(names), _takes_gzip(headers.get("accept-encoding", "")), content_type, encode)


def rendered(registry: CollectorRegistry, wanted: Asked) -> bytes:
    """Return the page."""
    body = wanted.encode(registry.restricted_registry(wanted.names) if wanted.names else registry)
    return gzip.compress(body, compresslevel=_GZIP_LEVEL) if wanted.zipped else body


def _takes_gzip(accepted: str) -> bool:
    """Tell whether an Accept-Encoding names gzip, or anything, and does not weigh it with 0."""
    for each in accepted.lower().split(","):
        coding, _, weight = (part.strip() for part in each.partition(";"))
        if coding in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
