"""Names that others can invent: bounded in length and number on every page, whatever they send, and that is said."""

from __future__ import annotations

import dataclasses
import gc
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse

from exporter.acquaintance import MOST_HOMES, Known
from exporter.folding import LONGEST, OTHER, SITES, Roster, few_sites, short
from exporter.letterbox import MOST_NAMES
from exporter.records import PoolIdentity, PoolSnapshot, ProcessSnapshot, ServerSnapshot, Session, Unclaimed
from exporter.sampler import Sampler
from exporter.servers import SampleError
from exporter.servers.bounds import ACCOUNTS, CLIENTS, bounded
from exporter.servers.rows import Row, group, sleepers, unclaimed
from exporter.servers.sense import checked, count, key, number, text
from exporter.sidecar import Sidecar
from hostile import mysql_answering
from overviews import NOW, SAMPLE, config, publish, server
from samplers import no_ids
from teaching import reported, sampled, taught

MANY, SAMPLES = 20_000, 5


def crowd(start: int) -> ServerSnapshot:
    """Return a sample of a server with 20 000 sleeping sessions, of as many clients and a thousand accounts."""
    rows = [
        Row((f"user{at % 1000}", f"db{at % 10}", f"client {at}"), "sleeping", False, 1, 1, 2.0, 2.0, 0)  # noqa: FBT003
        for at in range(start, start + MANY)
    ]  # fmt: skip
    return dataclasses.replace(
        SAMPLE, groups=group(rows), sleepers=sleepers(rows), unclaimed=unclaimed((row, "10.0.0.7") for row in rows)
    )


class Crowded:
    """A line to a server whose clients have new names at every sample."""

    answer_seconds = 0.0

    def __init__(self) -> None:
        self._asked = 0

    def ask(self, *_: object, **__: object) -> ServerSnapshot:
        self._asked += 1
        return crowd(self._asked * MANY)

    def close(self) -> None:
        pass


@pytest.fixture
def crowded() -> Iterator[Sidecar]:
    """A sidecar of one server with such clients."""
    with mock.patch("exporter.sampler.Line", return_value=Crowded()):
        sidecar = Sidecar(config(None, server(1, timeout=55.0)))
    yield sidecar
    sidecar.stop()


def folded(sidecar: Sidecar, kind: str) -> float | None:
    return sidecar.registry.get_sample_value("pool_exporter_labels_folded", {"kind": kind})


def test_a_hundred_thousand_clients_do_not_grow_the_page_or_the_memory(crowded: Sidecar) -> None:
    """A hundred thousand names in five samples leave page and memory as large as the first have made them."""
    for _ in range(2):  # two samples are kept
        crowded.sample()
    first = generate_latest(crowded.registry)
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(SAMPLES - 2):
        crowded.sample()
    last = generate_latest(crowded.registry)
    gc.collect()
    grown = sys.getallocatedblocks() - before
    assert abs(len(last) - len(first)) < len(first) / 100
    # Blocks. Each sample brings 300 000; of those of the last 12 seconds a bounded part is kept, some 27 000 of each.
    assert grown < 100_000
    assert last.count(b"sqlalchemy_server_sessions{") == CLIENTS * 5
    assert folded(crowded, "client") == MANY - CLIENTS + 1
    assert folded(crowded, "account") == 1000 - ACCOUNTS + 1
    sessions = [
        sample for family in parse(last.decode()) for sample in family.samples if family.name.endswith("sessions")
    ]
    assert sum(each.value for each in sessions if each.name == "sqlalchemy_server_sessions") == MANY


def test_unclaimed_sessions_of_the_pools_are_kept() -> None:
    """Among many that nobody claims, those that look like the pools' own are not lost."""
    one = Unclaimed("shop", "shop", "web", "10.0.0.7", (1, *(0,) * 12))
    others = tuple(dataclasses.replace(one, client=f"{at}", counts=(9, *(0,) * 12)) for at in range(30))
    session = Session("sleeping", 1.0, ("shop", "shop"), "web", "10.0.0.7")
    less = bounded(dataclasses.replace(SAMPLE, unclaimed=(*others, one), sessions={1: session}), clients=5)
    assert less.unclaimed[0] == one
    assert len(less.unclaimed) == 5


def test_a_pool_with_ever_new_names_fills_no_memory() -> None:
    """An application that names each of its sessions anew is remembered under the newest names only."""
    known = Known()
    for at in range(MOST_HOMES + 20):
        session = Session("sleeping", 10.0, ("app", "shop"), f"request {at:04}", "10.0.0.7")
        known = taught(
            known,
            dataclasses.replace(sampled(1000.0 + 15 * at), sessions={11: session}, asked=frozenset({11})),
            ids=(11,),
        )
    homes = known.of(reported(0.0).pool.identity).homes
    assert len(homes) == MOST_HOMES
    assert f"request {MOST_HOMES + 19:04}" in {home.client for home in homes}


def named(*names: str, **changes: Any) -> ProcessSnapshot:
    pools = tuple(
        PoolSnapshot(PoolIdentity(name, "QueuePool", "sqlite", "pysqlite"), checkouts=1, **changes) for name in names
    )
    return ProcessSnapshot(7, NOW - 1, pools)


def test_more_pools_than_a_page_holds_are_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However many names lie in the directory, the page shows so many pools, sums the rest, and says so once."""
    caplog.set_level(logging.WARNING, "exporter")
    sidecar = Sidecar(config(tmp_path), clock=lambda: NOW)
    for file in range(3):
        publish(tmp_path, named(*(f"pool {file} {at:03}" for at in range(900))), name=str(file + 1))
    for _ in range(2):
        pools = {pool.identity.name: pool for pool in sidecar.overview().pools}
        assert len(pools) == MOST_NAMES + 1
        assert pools[OTHER].checkouts == 2700 - MOST_NAMES
    assert sidecar.overview().folded == {"pool": 2700 - MOST_NAMES}
    said = "processes.directory has more than 2000 pools; the newest are added up as 'other'"
    assert len([line for line in caplog.messages if line.startswith(said)]) == 1
    sidecar.stop()


def test_processes_are_bounded_where_they_are_told_apart(tmp_path: Path) -> None:
    """With per_process, those beyond the bound are summed as other."""
    told = config(tmp_path)
    told = dataclasses.replace(told, processes=dataclasses.replace(told.processes, per_process=True))
    with mock.patch("exporter.sidecar.MOST_PROCESSES", 3):
        sidecar = Sidecar(told, clock=lambda: NOW)
    for at in range(5):
        publish(tmp_path, dataclasses.replace(named("shop"), pid=at), name=str(at + 1))
    page = generate_latest(sidecar.registry).decode()
    assert page.count("sqlalchemy_pool_checkouts_total{") == 4 + 0
    assert 'sqlalchemy_pool_checkouts_total{pool="shop",process="other"} 2.0' in page
    assert folded(sidecar, "process") == 2
    sidecar.stop()


def test_sites_of_many_processes_are_bounded(tmp_path: Path) -> None:
    """Call sites add up over processes to no more than a pool may show, and no count of them is lost."""
    sidecar = Sidecar(config(tmp_path), clock=lambda: NOW)
    for at in range(4):
        sites = {f"shop/{at}.py:{line}": 1 for line in range(15)}
        publish(tmp_path, named("shop", overdue_by_site={**sites, OTHER: 2}), name=str(at + 1))
    page = generate_latest(sidecar.registry).decode()
    found = [sample for family in parse(page) for sample in family.samples if sample.name.endswith("_overdue_by_site")]
    assert len(found) == SITES + 1
    assert sum(each.value for each in found) == 4 * 17
    assert folded(sidecar, "site")
    sidecar.stop()


def test_long_names_are_cut(tmp_path: Path) -> None:
    """A name of a thousand characters is shown in part, those that begin alike add up, and the cut is counted."""
    publish(tmp_path, named("x" * 900 + "1", "x" * 900 + "2"))
    sidecar = Sidecar(config(tmp_path), clock=lambda: NOW)
    (pool,) = sidecar.overview().pools
    assert (len(pool.identity.name), pool.checkouts) == (LONGEST, 2)
    assert folded(sidecar, "long") == 1
    assert max(len(line) for line in generate_latest(sidecar.registry).decode().splitlines()) < 1000
    sidecar.stop()


def test_long_names_of_a_server_are_cut_and_added_up() -> None:
    """Clients whose names begin alike become one row, so that no series is there twice."""
    rows = [
        Row((name * 500, "d", "c"), "active", ours=False, bucket=0, count=2, seconds=0.0, longest=0.0, stale=0)
        for name in "xy"
    ]
    alike = [dataclasses.replace(rows[0], client=("x" * 500 + end, "d", "c")) for end in "12"]
    less = bounded(checked(dataclasses.replace(SAMPLE, groups=group([*rows, *alike]))))
    active = [each for each in less.groups if each.state == "active"]
    assert sorted((each.user[0], len(each.user), each.count) for each in active) == [
        ("x", LONGEST, 6),
        ("y", LONGEST, 2),
    ]
    assert less.folded["long"] == 2


def test_an_unknown_code_is_other(tmp_path: Path) -> None:
    """A code that no driver has, from a file that somebody forged, makes no series of its own."""
    publish(tmp_path, named("shop", stale_use={"forged": 3}))
    sidecar = Sidecar(config(tmp_path), clock=lambda: NOW)
    page = generate_latest(sidecar.registry).decode()
    assert "forged" not in page
    assert 'sqlalchemy_pool_stale_total{code="other",found="use",pool="shop"} 3.0' in page
    sidecar.stop()


def test_who_is_other_stays_so() -> None:
    """A name that is added up with others is so until there is room for all: no sum of the others falls meanwhile."""
    roster = Roster(2)
    assert roster.others({"a", "b"}) == set()
    assert roster.others({"a", "b", "0"}) == {"0"}
    assert roster.others({"b", "0", "c"}) == {"0"}
    assert roster.others({"b", "0", "c", "d"}) == {"0", "d"}
    assert roster.others({"b", "0"}) == set()


def test_sites_keep_their_other() -> None:
    """What a process has summed as other is in the sum of the sidecar."""
    assert few_sites({OTHER: 3, "a": 1}) == {"a": 1, OTHER: 3}
    assert short("a" * LONGEST) == "a" * LONGEST
    assert len(short("é" * (LONGEST + 1))) == LONGEST
    assert short("\ud800") == "?"


@pytest.mark.parametrize(
    "value", [10**5000, float("nan"), float("inf"), "7", b"7", None, object(), 2**63], ids=range(8)
)
def test_nonsense_is_told_in_one_line(value: object) -> None:
    """What is no number in a server's answer is a SampleError that names the thing, its value and what to do."""
    with pytest.raises(
        SampleError, match=r"makes no sense: a count is .*, which is no number .*; see docs/servers.md"
    ) as told:
        number(value, "a count")
    assert told.value.reason == "query"
    assert "\n" not in str(told.value)


def test_what_makes_sense_is_taken() -> None:
    """Decimals and bytes, as drivers give them, are numbers and names."""
    assert (count(-3, "a"), key(2**64 - 1, "a"), text(b"\xffa", "a"), text(None, "a")) == (0, 2**64 - 1, "\\xffa", "")


def test_what_no_session_does() -> None:
    """A bucket that there is not is nonsense too."""
    with pytest.raises(SampleError, match="99 is nothing that sessions do"):
        mysql_answering([(1, 99, 0, 1, 0.0, 0, 0.0)], [(1, "a", "b", "c")])()


def test_a_senseless_answer_is_a_failed_sample() -> None:
    """A server that talks nonsense is down for a reason, and hides no other."""
    line = mock.Mock(answer_seconds=0.0)
    line.ask.return_value = dataclasses.replace(SAMPLE, connections=float("nan"))  # type: ignore[arg-type]
    line.concealed.side_effect = lambda said: said
    with mock.patch("exporter.sampler.Line", return_value=line):
        sampler = Sampler(server(1), ids=no_ids)
    sampler.sample()
    assert (sampler.view().up, sampler.view().reason) == (False, "query")
