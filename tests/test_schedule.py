"""The clock: first samples at once, then each server at its own interval, whatever the others do."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from exporter.sampler import Sampler
from exporter.schedule import Schedule
from samplers import no_ids, unreachable
from waiting import eventually


@contextlib.contextmanager
def running(*samplers: Sampler) -> Iterator[None]:
    """Let the clock run while the body does."""
    schedule = Schedule(samplers)
    schedule.start()
    try:
        yield
    finally:
        schedule.stop()


def failures(sampler: Sampler) -> int:
    """Return how many samples there were; nobody listens, so each of them failed."""
    return sum(sampler.view().errors.values())


def test_first_sample_at_once() -> None:
    """The first sample does not wait for the interval to pass."""
    sampler = Sampler(unreachable(interval=3600.0), ids=no_ids)
    with running(sampler):
        eventually(lambda: failures(sampler) == 1)


def test_every_interval() -> None:
    """Samples follow each other for as long as the clock runs."""
    sampler = Sampler(unreachable(interval=0.05), ids=no_ids)
    with running(sampler):
        eventually(lambda: failures(sampler) >= 3)


def test_each_server_alone() -> None:
    """A server that accepts and stays silent holds up no other, and no second sample of its own."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = unreachable().url.set(port=silent.getsockname()[1])
        calls = []

        def ids() -> frozenset[int]:
            calls.append(1)
            return frozenset()

        stuck = Sampler(unreachable(interval=0.05, timeout=2.0, url=url), ids=ids)
        well = Sampler(unreachable(interval=0.05), ids=no_ids)
        with running(stuck, well):
            eventually(lambda: failures(well) >= 5)
            assert len(calls) == 1
        assert stuck.view().reason == "timeout"


def test_stop_leaves_no_thread() -> None:
    """When the clock has stopped, its threads are gone."""
    before = threading.active_count()
    with running(Sampler(unreachable(interval=0.05), ids=no_ids)):
        pass
    # Not ==: a thread that an earlier test left behind may end meanwhile.
    eventually(lambda: threading.active_count() <= before)


def test_no_servers() -> None:
    """A clock with nothing to do runs and stops."""
    with running():
        pass
