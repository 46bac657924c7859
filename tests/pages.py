"""A page of metrics as tests read it, and a scraper that looks at it all the time and sees no counter fall."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from prometheus_client import CollectorRegistry

from waiting import until

T = TypeVar("T")
Sample = tuple[str, tuple[tuple[str, str], ...]]

_COUNTS = ("_total", "_bucket", "_count")


class Page:
    """A registry, and short ways to ask it about one pool."""

    def __init__(self, pool: str) -> None:
        self.pool = pool
        self.registry = CollectorRegistry()

    def find(self, name: str, **labels: str) -> float | None:
        """Return a sample of ``sqlalchemy_pool_NAME``, or None."""
        return self.registry.get_sample_value(f"sqlalchemy_pool_{name}", {"pool": self.pool, **labels})

    def value(self, name: str, **labels: str) -> float:
        """Return a sample that must be there."""
        value = self.find(name, **labels)
        assert value is not None, f"sqlalchemy_pool_{name}{labels} is not on the page"
        return value

    def values(self, *names: str) -> dict[str, float]:
        """Return several samples that have no further labels."""
        return {name: self.value(name) for name in names}

    def connections(self) -> tuple[float | None, float | None]:
        """Return how many are idle and how many used."""
        return self.find("connections", state="idle"), self.find("connections", state="used")

    def drift(self) -> float | None:
        """Return how far the events and the pool are apart, None where that cannot be told."""
        return self.registry.get_sample_value("pool_exporter_drift", {"pool": self.pool, "between": "events_pool"})

    def by(self, name: str, *labels: str) -> dict[str, float]:
        """Return what is above zero, by the values of one label or of several, joined by a blank."""
        found = (sample for family in self.registry.collect() for sample in family.samples)
        return {
            " ".join(sample.labels[label] for label in labels): sample.value
            for sample in found
            if sample.name == f"sqlalchemy_pool_{name}" and sample.value
        }

    def counts(self) -> dict[Sample, float]:
        """Return every sample that may only grow."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name.endswith(_COUNTS) and family.type in ("counter", "histogram")
        }


class Growth:
    """Looks at a page again and again; remembers whatever fell or vanished."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._before: Mapping[Sample, float] = {}
        self.looks = 0
        self.fallen: list[tuple[Sample, float, float | None]] = []

    def look(self) -> None:
        """Read the page once and hold it against the time before."""
        now = self._page.counts()
        self.fallen += [
            (sample, before, now.get(sample))
            for sample, before in self._before.items()
            if now.get(sample, -1.0) < before
        ]
        self._before = now
        self.looks += 1


@contextlib.contextmanager
def scraped(page: Page, *, every: float = 0.003) -> Iterator[Growth]:
    """Scrape a page from another thread while the body runs; no counter may fall from one look to the next."""
    growth, done = Growth(page), threading.Event()

    def scrape() -> None:
        while not done.wait(every):  # leaves the threads some of the one interpreter that all share
            growth.look()

    with ThreadPoolExecutor(1, thread_name_prefix="scraper") as executor:
        scraping = executor.submit(scrape)
        try:
            yield growth
        finally:
            done.set()
    scraping.result()
    growth.look()
    assert not growth.fallen, growth.fallen[:5]
    assert growth.looks > 1


@contextlib.contextmanager
def hurried() -> Iterator[None]:
    """Let threads take turns every 10 microseconds while the body runs, so that they meet everywhere."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def settled(look: Callable[[], T]) -> T:
    """Return what ``look`` tells once the collector has taken all that nobody holds any more."""
    for _ in range(3):  # what the finalizers of one round let go is for the next
        gc.collect()
    return look()


async def threads_of_the_driver_ended() -> None:
    """Wait until aiosqlite's threads are done: they answer to the loop, which must not be closed before."""

    def working() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "_connection_worker_thread" in thread.name]

    await until(lambda: not working(), every=0.01)
