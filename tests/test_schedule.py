"""The clock: first samples at once, then each server at its own interval, whatever the others do."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest

from exporter.pace import steady
from exporter.sampler import Sampler
from exporter.schedule import Schedule
from samplers import no_ids, unreachable
from sites import Site
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


def test_a_dead_server_is_tried_less_often() -> None:
    """However short the interval, the pauses between tries of a server that refuses grow up to a second."""
    tries: list[float] = []

    def ids() -> frozenset[int]:
        tries.append(steady())
        return frozenset()

    with running(Sampler(unreachable(interval=0.1), ids=ids)):
        eventually(lambda: len(tries) >= 6)
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries[:6])]
    assert all(pause > 0.7 * least for pause, least in zip(pauses, (0.1, 0.2, 0.4, 0.8, 1.0), strict=True))


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


def test_name_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that nobody can end takes one thread, the view says so, and the other servers are sampled on."""
    answered, look_up = threading.Event(), socket.getaddrinfo

    def hang(host: object, *args: Any, **options: Any) -> Any:
        if host == "hanging.test":
            answered.wait(60)
        return look_up("127.0.0.1", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    url = unreachable().url.set(host="hanging.test")
    stuck = Sampler(unreachable(interval=0.1, timeout=0.05, url=url), ids=no_ids)
    well = Sampler(unreachable(interval=0.1), ids=no_ids)
    with running(stuck, well):
        try:
            eventually(lambda: stuck.view().reason == "timeout")
            before, threads = failures(well), threading.active_count()
            eventually(lambda: failures(well) >= before + 3)
            assert threading.active_count() <= threads
            assert failures(stuck) == 0
        finally:
            answered.set()
    assert stuck.view().reason in ("timeout", "connect")


@pytest.mark.servers
def test_the_interval_follows_the_samples(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Where samples take too long for the interval, it grows until they do not, and what is fresh with it."""
    sampler = Sampler(site.server(interval=0.002), ids=no_ids)
    with contextlib.closing(sampler), running(sampler):
        seen = eventually(lambda: [interval for interval in [sampler.view().interval] if interval and interval > 0.01])
        assert seen[0] / 0.002 in {2.0**power for power in range(20)}
        assert sampler.view().snapshot is not None
    assert "more than a 10th of the 0.002 s between samples; sampling every 0.004 s now" in caplog.text


def test_stop_without_start() -> None:
    """A clock that was never started can be stopped."""
    Schedule([Sampler(unreachable(), ids=no_ids)]).stop()


def test_stop_leaves_no_thread() -> None:
    """When the clock has stopped, its threads are gone."""
    before = threading.active_count()
    with running(Sampler(unreachable(interval=0.05), ids=no_ids)):
        pass
    # Not ==: a thread that an earlier test left behind may end meanwhile.
    eventually(lambda: threading.active_count() <= before)


def test_stop_in_the_middle() -> None:
    """However the end meets samples that begin and end, it comes, and nothing is said of it."""
    for _ in range(30):
        with running(*(Sampler(unreachable(interval=0.1), ids=no_ids) for _ in range(3))):
            pass


@pytest.mark.parametrize("hours", [-1, 1, -48, 48])
def test_time_of_day_is_set(hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """When somebody sets the clock, by hours, sampling goes on."""
    offset = timedelta()

    class Set(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Set:
            return super().now(tz) + offset

    for module in ("exporter.schedule", "apscheduler.schedulers.base"):
        monkeypatch.setattr(f"{module}.datetime", Set)
    sampler = Sampler(unreachable(interval=0.2), ids=no_ids)
    with running(sampler):
        eventually(lambda: failures(sampler) >= 2)
        offset = timedelta(hours=hours)
        before = failures(sampler)
        eventually(lambda: failures(sampler) >= before + 3)


def test_no_servers() -> None:
    """A clock with nothing to do runs and stops."""
    with running():
        pass
