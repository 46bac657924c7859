"""The sidecar's self-check: what the match leaves out, or counts twice, shows when several samples say the same."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import pytest

import exporter
from exporter import drift as drift_module
from exporter.conclusions import Drift, Match
from exporter.drift import SAMPLES, DriftCheck
from exporter.joint import Joint
from exporter.records import PooledConnection, ProcessReport, ProcessSnapshot, ServerView
from exporter.sidecar import Sidecar
from exporter.sightings import SETTLED
from overviews import MATCH, NOW, SAMPLE, SHOP, UP, config, publish
from sites import Site
from waiting import eventually

INTERVAL = 15.0
OLD = PooledConnection("idle", 500.0, 600.0, 11)
YOUNG = dataclasses.replace(OLD, age=20.0, server_id=12)
BLIND = dataclasses.replace(OLD, server_id=None)


def view(number: int = 0, **changes: Any) -> ServerView:
    """Return the server as its sample of that number has it."""
    moved = number * INTERVAL
    sample = dataclasses.replace(SAMPLE, began=SAMPLE.began + moved, ended=SAMPLE.ended + moved)
    return dataclasses.replace(UP, snapshot=sample, interval=INTERVAL, **changes)


def match(placed: int, **changes: Any) -> Match:
    return dataclasses.replace(MATCH, pairs={("idle", "sleeping"): placed}, **changes)


def process(*connections: PooledConnection, number: int = 0, **changes: Any) -> ProcessReport:
    """Return a process that lives and has reported after the sample of that number."""
    pool = dataclasses.replace(SHOP, connections=connections)
    snapshot = ProcessSnapshot(7, NOW + number * INTERVAL, (pool,))
    return dataclasses.replace(ProcessReport(snapshot, "live", 1.0), **changes)


def drift(placed: int, *connections: PooledConnection, samples: int = SAMPLES) -> list[int]:
    """Return what the check says after each sample."""
    check = DriftCheck()
    found = [
        check.look([match(placed)], [view(number)], [process(*connections, number=number)]) for number in range(samples)
    ]
    assert all(each.between == "pool_server" for some in found for each in some)
    return [each.count for some in found for each in some]


def test_what_is_placed_is_none() -> None:
    """Each connection in one pair is as it should be."""
    assert drift(1, OLD) == [0, 0, 0]


def test_what_is_left_out_shows_when_it_stays() -> None:
    """A connection that the server must know, and of which the match says nothing, shows with the third sample."""
    assert drift(0, OLD, samples=4) == [0, 0, 1, 1]


def test_what_is_counted_twice_shows_when_it_stays() -> None:
    """More pairs than connections cannot be."""
    assert drift(3, OLD) == [0, 0, 2]


@pytest.mark.parametrize("connection", [YOUNG, BLIND])
def test_what_need_not_be_placed_is_none(connection: PooledConnection) -> None:
    """A connection that the samples may have missed, and one whose id no driver tells, may be in no pair."""
    assert drift(0, connection) == [0, 0, 0]


def test_looking_again_at_one_sample_is_no_other_sample() -> None:
    """However often the page is made of one sample, it counts once, and with its smallest difference."""
    check = DriftCheck()

    def look(number: int, placed: int) -> tuple[Drift, ...]:
        return check.look([match(placed)], [view(number)], [process(OLD, number=number)])

    assert [look(0, 0)[0].count for _ in range(9)] == [0] * 9
    assert [look(1, 0)[0].count, look(2, 0)[0].count, look(2, 1)[0].count] == [0, 1, 0]


def test_a_silent_process_need_not_be_placed() -> None:
    """Its last report is too old for the samples that there are."""
    check = DriftCheck()
    found = [check.look([match(0)], [view(number)], [process(OLD, state="silent")]) for number in range(SAMPLES)]
    assert [each.count for some in found for each in some] == [0, 0, 0]


@pytest.mark.parametrize(
    ("matches", "server"),
    [
        ([match(0, possible=False)], view()),
        ([match(0), match(0)], view()),
        ([match(0)], view(hidden=2)),
        ([match(0)], dataclasses.replace(view(), snapshot=None)),
        ([], view()),
    ],
)
def test_nothing_is_said_where_nothing_can_be_told(matches: list[Match], server: ServerView) -> None:
    """Behind a proxy, with two servers, with hidden sessions and without a sample there is no figure, and no 0."""
    assert DriftCheck().look(matches, [server], [process(OLD)]) == ()


def test_a_name_that_stands_for_two_places_says_nothing() -> None:
    """Whose connections are in which place, the sum of the pool does not tell."""
    other = dataclasses.replace(SHOP, identity=dataclasses.replace(SHOP.identity, host="10.0.0.9"), connections=(OLD,))
    reports = [process(OLD), ProcessReport(ProcessSnapshot(8, NOW, (other,)), "live", 1.0)]
    assert DriftCheck().look([match(1)], [view()], reports) == ()


def drifts(sidecar: Sidecar) -> dict[str, float]:
    """Return what the sidecar's page says, by the two views."""
    families = (family for family in sidecar.registry.collect() if family.name == "pool_exporter_drift")
    return {sample.labels["between"]: sample.value for family in families for sample in family.samples}


def test_what_processes_found_is_added_up(tmp_path: Path) -> None:
    """The sidecar's page has the sum of those that can tell, and nothing where nobody can."""
    sidecar = Sidecar(config(tmp_path), clock=lambda: NOW)
    for pid, found in enumerate((1, None, 2)):
        publish(tmp_path, ProcessSnapshot(pid, NOW - 1, (dataclasses.replace(SHOP, drift=found),)), name=str(pid))
    assert drifts(sidecar) == {"events_pool": 3}
    for pid in range(3):
        publish(tmp_path, ProcessSnapshot(pid, NOW - 1, (SHOP,)), name=str(pid))
    assert drifts(sidecar) == {}


@pytest.mark.servers
@pytest.mark.parametrize("fault", [False, True])
def test_real_servers_are_asked_about_all(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fault: bool
) -> None:
    """On a real server each connection is placed; a sidecar that forgets to ask about them says so itself."""
    monkeypatch.setattr(drift_module, "INTERVALS", 0)
    monkeypatch.setattr(drift_module, "SLACK", 0.0)
    if fault:
        monkeypatch.setattr(Joint, "ids", lambda *_, **__: frozenset())
    with site.pool(site.new_account(), 2) as (engine, _):
        handle = exporter.instrument(engine)
        with engine.connect(), engine.connect():
            pass
        # Of what has just been opened nothing is said.
        eventually(lambda: min(each.seconds for each in handle.snapshot().connections) > 2 * SETTLED)
        sidecar = Sidecar(config(tmp_path, site.server()))
        found = []
        for _ in range(SAMPLES + 1):
            publish(tmp_path, ProcessSnapshot(os.getpid(), time.time(), (handle.snapshot(),)))
            sidecar.sample()
            publish(tmp_path, ProcessSnapshot(os.getpid(), time.time(), (handle.snapshot(),)))
            found.append(drifts(sidecar))
        exporter.uninstrument(engine)
        assert sidecar.stop()
    assert [each["pool_server"] for each in found] == ([0, 0, 2, 2] if fault else [0, 0, 0, 0])
    assert [each["events_pool"] for each in found] == [0, 0, 0, 0]
