"""The findings: each with its misconfiguration, none with its cure, none where something is not known."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from sqlalchemy import event, text
from sqlalchemy.pool import AssertionPool, NullPool, QueuePool, StaticPool

from advised import CALM, HEALTHY, calm, cure, found, histogram, pool, watching
from exporter.conclusions import Finding
from exporter.findings import findings
from exporter.labels import FINDINGS
from exporter.page import render
from exporter.records import PoolSnapshot, ProcessSnapshot, ServerSnapshot, Session
from exporter.sidecar import Sidecar
from overviews import NOW, config, publish, server
from samplers import sampled, sampling
from sites import Site
from waiting import eventually

ENDLESS = float("inf")
ON_BOTH = pytest.mark.parametrize("site", ["mariadb_site", "postgresql_site"], indirect=True)


def named(report: PoolSnapshot, **changes: Any) -> PoolSnapshot:
    return dataclasses.replace(report, identity=dataclasses.replace(report.identity, **changes))


def test_a_healthy_pool_has_none() -> None:
    """A pool that recycles in time, on a server with room, is left alone; so is one that pings instead."""
    assert found(HEALTHY, HEALTHY) == {}
    assert found(pool(recycle_seconds=None, pre_ping=True)) == {}
    assert findings("orders", pools={}, sample=CALM) == ()


@pytest.mark.parametrize("recycle", [28800.0, 28801.0, 90000.0])
def test_a_recycle_that_is_not_below_the_timeout(recycle: float) -> None:
    """The very second is too late already; both values are named, and the line to change."""
    assert found(pool(recycle_seconds=recycle)) == {
        "recycle_exceeds_server_timeout": Finding(
            pool="shop",
            server="orders",
            finding="recycle_exceeds_server_timeout",
            severity="warning",
            pool_says=f"pool_recycle={recycle:.0f}, pool_pre_ping=False",
            held_against="wait_timeout=28800",
            why="the server ends a connection that sleeps for 28800 s before the pool would replace it: the next user "
            "gets an error",
            change="create_engine(..., pool_recycle=14400)",
        )
    }
    assert found(pool(recycle_seconds=recycle, pre_ping=True)) == {}
    assert found(pool(recycle_seconds=28799.0)) == {}


@pytest.mark.parametrize(
    ("seconds", "change"),
    [(60.0, "pool_recycle=30"), (59.0, "pool_pre_ping=True"), (1.0, "pool_pre_ping=True"), (0.5, "pool_pre_ping=True")],
)
def test_a_short_timeout_is_met_by_pings(seconds: float, change: str) -> None:
    """Where a recycle in time would make connections all the time, the advice is to ping."""
    timeouts = {"idle_session_timeout": seconds, "wait_timeout": 700.0}
    (finding,) = found(pool(recycle_seconds=None), sample=calm(idle_timeouts=timeouts)).values()
    assert (finding.finding, finding.change) == ("no_stale_protection", f"create_engine(..., {change})")
    assert finding.held_against == f"idle_session_timeout={seconds:g}"


@pytest.mark.parametrize("unknown", [{"pre_ping": None}, {"size": None, "identity": "NullPool"}])
def test_what_is_not_known_or_does_not_apply_is_no_finding(unknown: dict[str, Any]) -> None:
    """A pool that cannot be read, or holds no idle connections, is not accused of handing out dead ones."""
    name = unknown.pop("identity", "QueuePool")
    bare = named(pool(recycle_seconds=None, reset_on_return=None, **unknown), pool_class=name)
    assert found(bare) == {}
    assert found(pool(recycle_seconds=None), sample=None) == {}
    assert found(pool(recycle_seconds=None), sample=calm(idle_timeouts={"interactive_timeout": 5.0})) == {}


@pytest.mark.parametrize("pool_class", ["StaticPool", "SingletonThreadPool", "AssertionPool"])
def test_pools_without_a_size_keep_their_connection_too(pool_class: str) -> None:
    """A single connection goes stale as well as one of many; it has no places to count, and nobody waits for it."""
    single = pool(size=None, connections_max=None, timeout_seconds=None, recycle_seconds=None, reset_on_return=False)
    assert [*found(named(single, pool_class=pool_class))] == ["no_stale_protection", "reset_on_return_off"]


def test_one_process_that_is_set_up_wrongly_is_enough() -> None:
    """After half a roll-out the old setting is still found, though summed up the new one would hide it."""
    assert [*found(HEALTHY, pool(recycle_seconds=None), HEALTHY)] == ["no_stale_protection"]
    assert [*found(pool(pre_ping=True), pool(recycle_seconds=86400.0))] == ["recycle_exceeds_server_timeout"]
    assert [*found(HEALTHY, pool(reset_on_return=False))] == ["reset_on_return_off"]


def test_a_timeout_longer_than_anybody_waits() -> None:
    """SQLAlchemy's own 30 s pass; more does not, unless the pool never lets anybody wait."""
    (finding,) = found(pool(timeout_seconds=60.0)).values()
    assert (finding.finding, finding.pool_says, finding.severity) == (
        "timeout_exceeds_patience",
        "pool_timeout=60",
        "info",
    )
    assert "timeout_exceeds_patience" not in found(pool(timeout_seconds=60.0, connections_max=ENDLESS))
    assert found(pool(timeout_seconds=60.0, connections_max=None)) == {}


def test_a_limit_that_all_processes_exceed_together() -> None:
    """Each process alone is small enough; the cure divides what is left among them."""
    (finding,) = found(*[HEALTHY] * 10).values()
    assert finding.pool_says == "pool_size + max_overflow = 150 in 10 processes"
    assert finding.held_against == "150 connections allowed, 10 of them taken by others"
    assert cure(finding) == {"pool_size": 5, "max_overflow": 9}
    assert found(*[pool(connections_max=14.0)] * 10) == {}
    assert found(*[HEALTHY] * 9) == {}


def test_others_are_those_that_no_pool_owns() -> None:
    """What the pools themselves have open is theirs, whether it is known by number or by the pools' own count."""
    sessions = {number: Session("sleeping", 1.0) for number in range(140)}
    assert found(*[HEALTHY] * 10, sample=calm(connections=140, sessions=sessions)) == {}
    assert found(*[pool(idle=7, used=7)] * 10, sample=calm(connections=140)) == {}
    assert [*found(*[HEALTHY] * 10, sample=calm(connections=141, sessions=sessions))] == [
        "capacity_exceeds_server_limit"
    ]
    assert found(*[HEALTHY] * 10, sample=calm(connections_max=None)) == {}


def test_the_largest_pool_of_several_is_named() -> None:
    """A small pool beside a huge one is not accused, and the huge one may keep what the small one leaves."""
    pools = {
        "small": [HEALTHY],
        "huge": [pool(connections_max=200.0)],
        "files": [pool(size=None, connections_max=None)],
    }
    (finding,) = findings("orders", pools=pools, sample=CALM)
    assert (finding.pool, cure(finding)) == ("huge", {"pool_size": 5, "max_overflow": 120})
    assert finding.pool_says.endswith("; all 3 pools of this server may open 215")


def test_an_endless_pool_exceeds_every_limit() -> None:
    """No limit at all is found for each such pool, and only for those; a size of 0 is no cure."""
    pools = {"small": [HEALTHY], "one": [pool(connections_max=ENDLESS)], "two": [pool(size=0, connections_max=ENDLESS)]}
    by_pool = {each.pool: each for each in findings("orders", pools=pools, sample=CALM)}
    assert [*by_pool] == ["one", "two"]
    assert by_pool["one"].pool_says.startswith("pool_size + max_overflow = unlimited in 1 process")
    assert cure(by_pool["two"]) == {"pool_size": 125, "max_overflow": 0}


def test_no_room_for_one_connection_each() -> None:
    """With more processes than the server has room for there is no pool small enough."""
    (finding,) = found(*[HEALTHY] * 141).values()
    assert finding.change == "run fewer processes, or raise max_connections on the server"


def test_a_transaction_timeout_shorter_than_a_use() -> None:
    """The longest use that ended counts by its bucket, one that goes on by its age, and one that leaked not at all."""
    server = calm(idle_timeouts={"idle_in_transaction_session_timeout": 60.0})
    long = pool(use_seconds=histogram("use_seconds", above=60.0, count=1))
    (finding,) = found(HEALTHY, long, sample=server).values()
    assert finding.finding == "idle_in_transaction_timeout_too_short"
    assert (finding.pool_says, finding.held_against) == (
        "uses of 60 s and more",
        "idle_in_transaction_session_timeout=60",
    )
    assert finding.change.endswith("idle_in_transaction_session_timeout = 122 seconds")
    assert [*found(pool(used_longest_seconds=61.0), sample=server)] == [finding.finding]
    assert found(pool(used_longest_seconds=61.0, overdue=1), sample=server) == {}
    assert found(pool(use_seconds=histogram("use_seconds", above=30.0, count=9)), sample=server) == {}
    assert found(long) == {}


def pinging(*, ping: float, use: float, count: int = 1000) -> PoolSnapshot:
    return pool(
        pre_ping=True,
        recycle_seconds=None,
        ping_seconds=histogram("ping_seconds", above=0.0005, count=count, sum=ping),
        use_seconds=histogram("use_seconds", above=0.001, count=count, sum=use),
    )


def test_pings_that_cost_a_large_share() -> None:
    """A fifth of the time is the limit, and it takes a thousand pings to say so."""
    (finding,) = found(pinging(ping=1.0, use=3.0)).values()
    assert (finding.finding, finding.severity) == ("ping_costs", "info")
    assert finding.held_against == "25% of the time of 1000 checkouts that pinged"
    assert "each waits 1 ms" in finding.why
    assert cure(finding) == {"pool_pre_ping": False, "pool_recycle": 14400}
    assert found(pinging(ping=1.0, use=4.0)) == {}
    assert found(pinging(ping=1.0, use=3.0, count=999)) == {}


def test_the_cure_of_pings_protects_too() -> None:
    """No ping is given up without a recycle that comes in time; where there can be none, or who knows, pings stay."""
    dear = pinging(ping=1.0, use=1.0)
    assert cure(found(dear, sample=calm(idle_timeouts={}))["ping_costs"])["pool_recycle"] == 1800
    assert found(dear, sample=calm(idle_timeouts={"wait_timeout": 10.0})) == {}
    assert found(dear, sample=None) == {}


def test_a_pool_that_works_at_its_overflow() -> None:
    """Connections that are thrown away after one use are kept by a larger pool, at no more load for the server."""
    (finding,) = found(pool(checkouts=1000, closes={"overflow": 100})).values()
    assert (finding.finding, finding.pool_says) == ("pool_too_small", "pool_size=5, max_overflow=10")
    assert finding.held_against == "10% of 1000 checkouts ended with their connection closed as overflow"
    assert cure(finding) == {"pool_size": 15, "max_overflow": 0}
    assert found(pool(checkouts=1000, closes={"overflow": 99, "recycle": 500})) == {}
    assert found(pool(checkouts=999, closes={"overflow": 999})) == {}
    assert found(named(pool(checkouts=1000, closes={"overflow": 1000}, size=None), pool_class="NullPool")) == {}
    endless = found(pool(checkouts=1000, closes={"overflow": 100}, connections_max=ENDLESS))["pool_too_small"]
    assert (endless.pool_says, cure(endless)) == ("pool_size=5, max_overflow=-1", {"pool_size": 10})
    unread = found(pool(checkouts=1000, closes={"overflow": 100}, connections_max=None))["pool_too_small"]
    assert (unread.pool_says, cure(unread)) == ("pool_size=5", {"pool_size": 10})


def test_a_pool_that_lets_its_users_wait() -> None:
    """Many that wait for long want a larger pool, unless connections are held for too long: that is it then."""
    waits = histogram("wait_seconds", above=0.1, count=100)
    (finding,) = found(pool(checkouts=1000, wait_seconds=waits, connections_max=5.0)).values()
    assert (finding.finding, cure(finding)) == ("pool_too_small", {"pool_size": 10})
    assert finding.held_against == "10% of 1000 checkouts waited longer than 0.1 s"
    assert found(pool(checkouts=1000, wait_seconds=histogram("wait_seconds", above=0.05, count=1000))) == {}
    assert found(pool(checkouts=1000, wait_seconds=waits, overdue=1)) == {}
    assert found(pool(checkouts=1000, wait_seconds=waits), pool(overdue_checkouts=1)) == {}


def quiet(**changes: Any) -> PoolSnapshot:
    lain = histogram("idle_seconds", above=0.1, count=999, sum=7200.0)
    return pool(**{"size": 20, "idle": 2, "connects": 2, "checkouts": 1000, "idle_seconds": lain, **changes})


def test_a_pool_of_which_a_small_part_is_used() -> None:
    """A pool opens a connection only when all are used: as few as it has, so few were ever used at once."""
    (finding,) = found(quiet(), pool(size=20)).values()
    assert (finding.finding, finding.pool_says) == ("pool_too_large", "pool_size=20")
    assert finding.held_against == "at most 2 used at once in any process"
    assert cure(finding) == {"pool_size": 5}
    assert [*found(quiet(connects=902, closes={"recycle": 900}))] == [finding.finding]


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 9},  # no more than others have by default
        {"idle": 5},
        {"connects": 5},  # three of them were lost, and may have been used at once with the others
        {"connects": 92, "closes": {"overflow": 90}},
        {"checkouts": 999},
        {"disposals": 1},
        {"disposals": None},
        {"idle_seconds": None},
        {"idle_seconds": histogram("idle_seconds", above=0.1, count=999, sum=7199.0)},  # two places, an hour each
    ],
)
def test_no_size_is_too_large_before_that_is_certain(changes: dict[str, Any]) -> None:
    """What was opened and lost again, a short time, few checkouts or a dispose() allow no advice."""
    assert found(quiet(**changes)) == {}


numbers = st.integers(0, 2000)
maybe = st.none() | st.floats(0, 1e6) | st.just(ENDLESS)
flags = st.none() | st.booleans()
reports = st.builds(
    pool,
    size=st.none() | st.integers(0, 50),
    connections_max=maybe,
    recycle_seconds=st.none() | st.floats(0, 1e6),
    timeout_seconds=st.none() | st.floats(0, 1e6),
    pre_ping=flags,
    reset_on_return=flags,
    checkouts=numbers,
    connects=numbers,
    disposals=st.none() | numbers,
    closes=st.dictionaries(st.sampled_from(["overflow", "recycle"]), numbers),
    ping_seconds=st.none() | st.builds(histogram, st.just("ping_seconds"), above=st.just(0.001), count=numbers),
    wait_seconds=st.none() | st.builds(histogram, st.just("wait_seconds"), above=st.just(1.0), count=numbers),
)


@given(st.lists(reports, min_size=1, max_size=3), st.dictionaries(st.just("wait_timeout"), st.floats(0.1, 1e6)))
def test_nothing_that_a_pool_may_say_makes_it_fail(said: list[PoolSnapshot], timeouts: dict[str, float]) -> None:
    """Whatever is known or not, each finding is there once, in order, and says everything in one line each."""
    for sample in (None, calm(idle_timeouts=timeouts)):
        all_ = findings("orders", pools={"shop": said}, sample=sample)
        order = [FINDINGS.index(each.finding) for each in all_]
        assert order == sorted(set(order))
        words = [word for each in all_ for word in (each.pool_says, each.held_against, each.why, each.change)]
        assert all(word and "\n" not in word and "None" not in word.replace("return=None", "") for word in words)


def test_findings_are_on_the_page_and_in_the_metrics(tmp_path: Path) -> None:
    """The sidecar shows what it finds for people and for Prometheus, by pool, server and finding."""
    here = dataclasses.replace(HEALTHY.identity, host="127.0.0.1", port=7)
    publish(tmp_path, ProcessSnapshot(7, NOW, (pool(identity=here, reset_on_return=False, timeout_seconds=31.0),)))
    sidecar = Sidecar(config(tmp_path, server(7)), clock=lambda: NOW)
    metrics = generate_latest(sidecar.registry).decode()
    shown = [line for line in metrics.splitlines() if line.startswith("sqlalchemy_pool_finding")]
    assert shown == [
        'sqlalchemy_pool_finding{finding="reset_on_return_off",pool="shop",server="orders"} 1.0',
        'sqlalchemy_pool_finding{finding="timeout_exceeds_patience",pool="shop",server="orders"} 1.0',
    ]
    page = render(sidecar.overview(), leak_after=60.0)
    assert "reset on return off</h3>" in page
    assert "<code>create_engine(..., pool_timeout=10)</code>" in page
    assert "Nothing to change is known." in render(Sidecar(config(), clock=lambda: NOW).overview(), leak_after=60.0)


def test_every_finding_is_explained() -> None:
    """The page of findings has a section for each, and for nothing else."""
    page = (Path(__file__).parents[1] / "docs" / "findings.md").read_text()
    assert tuple(re.findall(r"^## `(\w+)`$", page, flags=re.MULTILINE)) == FINDINGS


@pytest.mark.parametrize("pool_class", [QueuePool, StaticPool, AssertionPool, NullPool])
@pytest.mark.parametrize(
    ("style", "resets"), [("rollback", True), ("commit", True), (True, True), (None, False), (False, False)]
)
def test_reset_on_return_is_read_from_the_pool(pool_class: type[Any], style: Any, *, resets: bool) -> None:
    """Each way to write it is understood, for each class of pool."""
    with watching("sqlite://", poolclass=pool_class, pool_reset_on_return=style) as (_, monitor):
        assert monitor.snapshot().reset_on_return is resets


def test_a_reset_of_the_applications_own_cannot_be_judged() -> None:
    """An engine in AUTOCOMMIT has nothing to reset; a listener may do it; a pool that was collected says nothing."""
    with watching("sqlite://", isolation_level="AUTOCOMMIT", pool_reset_on_return=None) as (_, monitor):
        assert monitor.snapshot().reset_on_return is None
    with watching("sqlite://", pool_reset_on_return=None) as (engine, monitor):
        assert monitor.snapshot().reset_on_return is False
        event.listen(engine, "reset", lambda *_: None)
        assert monitor.snapshot().reset_on_return is None


def real(url: Any, sample: ServerSnapshot, *, work: Any = None, **options: Any) -> dict[str, Finding]:
    """Return what is found about a real pool with these options after ``work`` was done with it."""
    with watching(url, **options) as (engine, monitor):
        if work is not None:
            work(engine)
        return found(monitor.snapshot(), sample=sample)


def test_the_overflow_of_a_real_pool() -> None:
    """Three at once on a pool of two is too small for it; with what the advice says, nothing is thrown away."""

    def three_at_once(engine: Any) -> None:
        for _ in range(400):
            with engine.connect(), engine.connect(), engine.connect():
                pass

    options = {"poolclass": QueuePool, "pool_recycle": 1800, "pool_size": 2, "max_overflow": 1}
    (finding,) = real("sqlite:///:memory:", CALM, work=three_at_once, **options).values()
    assert (finding.finding, cure(finding)) == ("pool_too_small", {"pool_size": 3, "max_overflow": 0})
    assert real("sqlite:///:memory:", CALM, work=three_at_once, **{**options, **cure(finding)}) == {}


def sample_of(site: Site) -> ServerSnapshot:
    with sampling(site.server()) as sampler:
        return sampled(sampler)


@contextlib.contextmanager
def setting(site: Site, name: str, seconds: int) -> Iterator[ServerSnapshot]:
    """Give the server's new sessions a timeout while the body runs; gives a sample that knows of it."""
    (before,) = site.run(f"SELECT @@GLOBAL.{name}")[0] if site.dialect == "mysql" else (0,)

    def set_to(value: int) -> None:
        if site.dialect == "mysql":
            site.run(f"SET GLOBAL {name} = {value}")
        else:
            site.run(f"ALTER SYSTEM SET {name} = {value * 1000}", "SELECT pg_reload_conf()")
        # PostgreSQL reads its files again when it gets to it.
        eventually(lambda: sample_of(site).idle_timeouts.get(name, 0) == value)

    set_to(seconds)
    try:
        yield sample_of(site)
    finally:
        set_to(before)


IDLE = {"mysql": "wait_timeout", "postgresql": "idle_session_timeout"}
IN_TRANSACTION = {"mysql": "idle_transaction_timeout", "postgresql": "idle_in_transaction_session_timeout"}


@pytest.mark.servers
@ON_BOTH
def test_stale_protection_on_a_real_server(site: Site) -> None:
    """A pool is found wanting by the timeout that its server really has, and by nothing once it does as it is told."""
    url = site.url(site.new_account())
    with setting(site, IDLE[site.dialect], 700) as sample:
        (bare,) = real(url, sample).values()
        assert (bare.finding, bare.held_against) == ("no_stale_protection", f"{IDLE[site.dialect]}=700")
        (late,) = real(url, sample, pool_recycle=700).values()
        assert (late.finding, cure(late)) == ("recycle_exceeds_server_timeout", {"pool_recycle": 350})
        for options in (cure(bare), cure(late), {"pool_pre_ping": True}, {"poolclass": NullPool}):
            assert real(url, sample, **options) == {}
    assert ("no_stale_protection" in real(url, sample_of(site))) == (site.dialect == "mysql")


@pytest.mark.servers
@ON_BOTH
def test_capacity_on_a_real_server(site: Site) -> None:
    """More than the server allows is too much, and so is no limit; with the advice everything fits."""
    url, sample = site.url(site.new_account()), sample_of(site)
    safe: dict[str, Any] = {"pool_pre_ping": True}
    for options in ({"max_overflow": sample.connections_max}, {"max_overflow": -1}, {"pool_size": 0}):
        (finding,) = real(url, sample, **safe, **options).values()
        assert finding.finding == "capacity_exceeds_server_limit"
        assert f"{sample.connections_max} connections allowed" in finding.held_against
        cured = real(url, sample, **{**safe, **options, **cure(finding)})
        assert cured == {}


@pytest.mark.servers
@ON_BOTH
def test_a_transaction_timeout_on_a_real_server(site: Site) -> None:
    """A use of more than a second, on a server that ends idle transactions after one; and not when it has more."""
    sleep = "SELECT SLEEP(1.1)" if site.dialect == "mysql" else "SELECT pg_sleep(1.1)"
    name = IN_TRANSACTION[site.dialect]

    def slowly(engine: Any) -> None:
        with engine.connect() as connection:
            connection.execute(text(sleep))

    with watching(site.url(site.new_account()), pool_pre_ping=True) as (engine, monitor):
        slowly(engine)
        with setting(site, name, 1) as sample:
            (finding,) = found(monitor.snapshot(), sample=sample).values()
        assert (finding.finding, finding.held_against) == ("idle_in_transaction_timeout_too_short", f"{name}=1")
        seconds = int(finding.change.split()[-2])
        with setting(site, name, seconds) as sample:
            assert found(monitor.snapshot(), sample=sample) == {}


@pytest.mark.servers
@ON_BOTH
def test_pings_on_a_real_server(site: Site) -> None:
    """Whoever takes connections and does nothing with them pays for pings most; with the advice there are none."""

    def hastily(engine: Any) -> None:
        for _ in range(1001):
            engine.raw_connection().close()

    url, sample = site.url(site.new_account()), sample_of(site)
    (finding,) = real(url, sample, work=hastily, pool_pre_ping=True, pool_reset_on_return="rollback").values()
    assert finding.finding == "ping_costs"
    assert real(url, sample, work=hastily, **cure(finding)) == {}


@pytest.mark.servers
@ON_BOTH
def test_a_reset_that_is_off_leaves_transactions_behind(site: Site) -> None:
    """The finding is right: what one user leaves open is still open on the server; and with the advice it is not."""
    url = site.url(site.new_account())
    site.run(*(("CREATE TABLE IF NOT EXISTS orders.kept (id INT) ENGINE=InnoDB",) if site.dialect == "mysql" else ()))
    look = "SELECT * FROM orders.kept" if site.dialect == "mysql" else "SELECT 1"

    def left(**options: Any) -> tuple[dict[str, Finding], str]:
        with watching(url, pool_pre_ping=True, **options) as (engine, monitor):
            raw = engine.raw_connection()
            raw.cursor().execute(look)
            raw.close()
            snapshot = monitor.snapshot()
            (id_,) = [each.server_id for each in snapshot.connections]
            assert id_ is not None
            with sampling(site.server(), ids=lambda: frozenset({id_})) as sampler:
                # What is known of InnoDB's transactions may be a tenth of a second old.
                wanted = "sleeping_in_transaction" if snapshot.reset_on_return is False else "sleeping"
                eventually(lambda: sampled(sampler).sessions[id_].state == wanted)
                return found(snapshot, sample=sampled(sampler)), wanted

    off, state = left(pool_reset_on_return=None)
    assert ([*off], state) == (["reset_on_return_off"], "sleeping_in_transaction")
    assert left(**cure(off["reset_on_return_off"])) == ({}, "sleeping")


@pytest.mark.servers
@ON_BOTH
def test_patience_with_a_real_pool(site: Site) -> None:
    """A minute is too long to let anybody wait; with the advice it is not."""
    url, sample = site.url(site.new_account()), sample_of(site)
    (finding,) = real(url, sample, pool_pre_ping=True, pool_timeout=60).values()
    assert finding.finding == "timeout_exceeds_patience"
    assert real(url, sample, pool_pre_ping=True, **cure(finding)) == {}
