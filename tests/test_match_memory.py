"""What the join remembers: whom it has met, whether ids mean anything, and who has answered."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import pytest

from exporter.acquaintance import ENOUGH, Known, follow, learn
from exporter.joint import Joined, Joint
from exporter.names import Names
from exporter.records import Instance, PooledConnection, ProcessSnapshot, ServerSnapshot, Session
from exporter.sightings import sightings
from overviews import SHOP, UP, server
from teaching import IDENTITY, SESSION, STRANGER, possible, repeated, reported, sampled, taught


def test_ids_that_never_meet_mean_nothing() -> None:
    """Several samples that find nobody, where strangers sleep in the pool's database, tell of a proxy."""
    against = repeated(ENOUGH, asked=(11, 12), unclaimed=(STRANGER,))
    assert possible(taught(Known(), *against[:-1]))
    assert not possible(taught(Known(), *against))
    assert not possible(taught(taught(Known(), *against), sampled(2000.0, asked=(11, 12))))
    assert possible(taught(taught(Known(), *against), sampled(2000.0, found=(11, 12))))


def test_a_sample_counts_once() -> None:
    """However often somebody looks, it is the samples that must agree."""
    (sample,) = repeated(1, asked=(11, 12), unclaimed=(STRANGER,))
    assert possible(taught(Known(), *[sample] * (ENOUGH + 2)))


def test_nobody_else_there_is_no_sign_of_a_proxy() -> None:
    """Without a stranger in the pool's database, its sessions are rather gone."""
    elsewhere = dataclasses.replace(STRANGER, database="stock")
    assert possible(taught(Known(), *repeated(9, asked=(11, 12), unclaimed=(elsewhere,))))


def test_who_was_met_was_killed() -> None:
    """Sessions that were found once and are not any more have ended, whoever else is there."""
    known = taught(Known(), sampled(900.0, found=(11, 12)), *repeated(9, asked=(11, 12), unclaimed=(STRANGER,)))
    assert possible(known)
    held = reported(1500.0, 11, 12, age=1000.0)
    gone = sightings([held], [sampled(1400.0, asked=(11, 12))])
    known = taught(Known(), sampled(900.0, found=(11, 12)))
    assert [known.is_gone(each) for each in gone] == [False, False]  # opened when those were met: others
    held = reported(1000.0, 11, 12, age=598.5)
    assert [known.is_gone(each) for each in sightings([held], [sampled(990.0, asked=(11, 12))])] == [True, True]


@pytest.mark.parametrize("ids", [(-5, 11), (2**30, 11)])
def test_ids_that_no_server_gives(ids: Sequence[int]) -> None:
    """Numbers that are no process ids are a pooler's, whoever else is there."""
    assert not possible(taught(Known(), *repeated(ENOUGH, asked=ids), ids=ids))


def test_sessions_of_another_database_are_not_the_pool_s() -> None:
    """Ids that all hit upon sessions in another database mean nothing."""
    theirs = dataclasses.replace(SESSION, account=("app", "stock"))
    samples = [dataclasses.replace(each, sessions={11: theirs, 12: theirs}) for each in repeated(3, asked=(11, 12))]
    assert not possible(taught(Known(), *samples))


def test_a_session_of_mysql_may_go_to_another_database() -> None:
    """Where the user is known to be the pool's, a session in another database is its own; else it is not known."""
    there = dataclasses.replace(SESSION, account=("app", "stock"))
    identity = dataclasses.replace(IDENTITY, dialect="mysql")
    sample = dataclasses.replace(sampled(1000.0, found=(11,)), dialect="mysql", sessions={11: there})
    held = reported(1010.0, 11)
    held = dataclasses.replace(held, pool=dataclasses.replace(held.pool, identity=identity))
    assert [each.standing for each in sightings([held], [sample])] == ["unknown"]
    assert [each.standing for each in sightings([held], [sample], users=lambda _: frozenset({"app"}))] == ["found"]


def test_one_that_is_nowhere_takes_the_trust() -> None:
    """Where one of a pool's connections is not on the server, another that slept too long may live elsewhere too."""
    timeouts = {"idle_session_timeout": 5.0}
    held = reported(1020.0, 11, 12, 13)
    gone = sightings([held], [sampled(1015.0, found=(11,), asked=(12, 13), idle_timeouts=timeouts)])
    known = taught(Known(), sampled(1000.0, found=(11,), asked=(12,)))
    assert known.of(IDENTITY).astray
    assert not any(known.is_gone(each) for each in gone)
    known = taught(Known(), sampled(1000.0, found=(11, 12)))
    assert [known.is_gone(each) for each in gone] == [False, True, True]


def test_another_server_has_met_nobody() -> None:
    """After a failover all is forgotten; after a restart of the same server nothing is."""
    one, other = Instance("one", 0.0), Instance("other", 0.0)
    known = follow(Known(), sampled(1000.0, instance=one))
    known = taught(known, sampled(1000.0, found=(11, 12)))
    restarted = follow(known, sampled(1100.0, instance=dataclasses.replace(one, started=1090.0)))
    assert restarted.met == known.met
    moved = follow(known, sampled(1100.0, instance=other))
    assert (moved.met, moved.since, moved.identity) == ({}, 1100.0, "other")
    assert follow(moved, sampled(1000.0, instance=one)) is moved
    assert follow(moved, None) is moved


def test_a_clock_that_is_set_back() -> None:
    """What is dated earlier than the last sample is new all the same, unless it was seen: it is learned from."""
    one, other = Instance("one", 0.0), Instance("other", 0.0)
    known = follow(follow(Known(), sampled(9e5, instance=one)), sampled(1e6, instance=other))
    assert follow(known, sampled(9e5, instance=one)) is known  # somebody looks late
    known = taught(known, sampled(1e6, found=(11, 12)))
    back = follow(known, sampled(5e5, instance=other))
    assert (back.identity, back.since, back.ends[0], back.met) == ("other", 5e5, 5e5 + 0.5, known.met)
    for sample in repeated(ENOUGH, first=5e5, asked=(11, 12), unclaimed=(STRANGER,)):
        back = follow(back, dataclasses.replace(sample, instance=other))
        back = taught(back, sample)
    assert back.of(IDENTITY).blank == ENOUGH
    assert follow(back, sampled(6e5, instance=one)).identity == "one"


def test_a_server_whose_clock_is_set_back() -> None:
    """A session that was found is known by its start, however young it looks; another with its id is another one."""
    was, young = (dataclasses.replace(SESSION, age=age, started=1.7e9) for age in (600.0, 2.0))
    held = reported(1010.0, 11, age=500.0)
    known = learn(Known(), sightings([held], [sampled(1000.0, found=(11,), sessions={11: was})]), [held])

    def standing(session: Session, known: Known) -> str:
        sample = sampled(1000.0, found=(11,), sessions={11: session}, instance=Instance("one", 900.0))
        (each,) = sightings([held], [sample], started=known.start)
        return each.standing

    assert standing(young, known) == "found"
    assert standing(dataclasses.replace(was, started=1.7e9 + 1), known) == "ended"
    assert standing(young, Known()) == "ended"
    held = reported(1010.0, 11, age=400.0)  # another connection
    assert standing(young, known) == "ended"


def test_what_nobody_reports_is_forgotten() -> None:
    """Memory grows with what lives, not with what has lived."""
    known = taught(Known(), sampled(1000.0, found=(11, 12)))
    assert len(known.met) == 2
    known = learn(known, [], [])
    assert (known.met, known.pools) == ({}, {})


ORDERS = server(3306)


def process(taken: float, *connections: PooledConnection, pid: int = 7) -> ProcessSnapshot:
    pool = dataclasses.replace(SHOP, idle=len(connections), used=0, connections=connections)
    return ProcessSnapshot(pid, taken, (pool,))


def joined(joint: Joint, *processes: ProcessSnapshot, samples: Sequence[ServerSnapshot], now: float) -> Joined:
    """Ask as a sampler does, and look."""
    newest, *earlier = samples
    joint.ids(ORDERS, processes, dataclasses.replace(UP, snapshot=None), now=newest.began - 0.1)
    view = dataclasses.replace(UP, snapshot=newest, earlier=tuple(earlier))
    return joint.join(processes, [view], now=now)


def mysql(began: float, **changes: object) -> ServerSnapshot:
    return dataclasses.replace(sampled(began, found=(11,)), dialect="mysql", **changes)  # type: ignore[arg-type]


def test_after_a_failover_old_connections_are_nobody_s() -> None:
    """The same id on another server is another session: what was opened before is in no pair, gone neither."""
    joint = Joint([ORDERS], leak_after=60.0, names=Names())
    one, other = Instance("one", 0.0), Instance("other", 0.0)
    old = PooledConnection("idle", 20.0, 500.0, 11)
    (before,) = joined(joint, process(1010.0, old), samples=[mysql(1000.0, instance=one)], now=1011.0).matches
    assert before.pairs["idle", "sleeping"] == 1
    old = dataclasses.replace(old, seconds=40.0, age=520.0)
    new = PooledConnection("idle", 5.0, 8.0, 11)
    samples = [mysql(1025.0, instance=other), mysql(1000.0, instance=one)]
    (after,) = joined(joint, process(1030.0, old), samples=samples, now=1031.0).matches
    assert sum(after.pairs.values()) == 0
    samples = [mysql(1045.0, instance=other), mysql(1025.0, instance=other)]
    (later,) = joined(joint, process(1050.0, dataclasses.replace(new, age=18.0)), samples=samples, now=1051.0).matches
    assert later.pairs["idle", "sleeping"] == 1


def test_unowned_sessions_when_a_clock_is_set_back() -> None:
    """What earlier samples said is forgotten: they seem to come later, and would never be confirmed."""
    joint = Joint([ORDERS], leak_after=60.0, names=Names())
    held, counts = PooledConnection("idle", 20.0, 500.0, 11), []
    for began in (1e6, 1e6 + 15, 5e5, 5e5 + 15):
        samples = [mysql(began, unclaimed=(STRANGER,))]
        found = joined(joint, process(began + 2, held), samples=samples, now=began + 3)
        counts.append([each.count > 0 for each in found.unowned])
    assert counts == [[], [True], [], [True]]


def test_it_is_said_once_and_taken_back(caplog: pytest.LogCaptureFixture) -> None:
    """That ids do not meet is said when it is found out, and again when they do."""
    joint = Joint([ORDERS], leak_after=60.0, names=Names())
    lost = {"sessions": {}, "unclaimed": (dataclasses.replace(STRANGER, database="shop"),)}
    with caplog.at_level(logging.WARNING):
        for at in range(ENOUGH + 3):
            began = 1000.0 + 15 * at
            held = process(began + 2, PooledConnection("idle", 20.0, 500.0, 11))
            found = joined(joint, held, samples=[mysql(began, **lost)], now=began + 3)
        assert [match.possible for match in found.matches] == [False]
        assert found.unowned == ()
        held = process(2002.0, PooledConnection("idle", 20.0, 500.0, 11))
        found = joined(joint, held, samples=[mysql(2000.0)], now=2003.0)
    assert [match.possible for match in found.matches] == [True]
    assert [record.getMessage().partition(" on server orders")[2] for record in caplog.records] == [
        ", as behind a proxy that pools by itself; they cannot be matched, see docs/match.md",
        " now",
    ]


def test_holders_without_a_match_are_there_too() -> None:
    """Who holds what is known while a server is down, and of pools that belong to none."""
    joint = Joint([ORDERS], leak_after=60.0, names=Names())
    mine = process(1000.0, PooledConnection("used", 20.0, 500.0, 11))
    other = dataclasses.replace(SHOP, identity=dataclasses.replace(SHOP.identity, name="files", host=""))
    found = joint.join(
        [mine, ProcessSnapshot(8, 1000.0, (other,))], [dataclasses.replace(UP, snapshot=None)], now=1001.0
    )
    assert found.matches == ()
    assert [(each.pool, each.server, each.pid) for each in found.holders] == [("files", None, 8), ("shop", "orders", 7)]


def test_a_holder_of_two_servers_is_one() -> None:
    """A pool that patterns give to two servers has its connections on one of them: the one that knows the session."""
    servers = [dataclasses.replace(ORDERS, name=name, pools=("shop",)) for name in ("one", "two")]
    joint = Joint(servers, leak_after=60.0, names=Names())
    held = [process(1002.0, PooledConnection("used", 20.0, 500.0, 11))]
    samples = {"one": mysql(1000.0, asked=frozenset({11}), sessions={}), "two": mysql(1000.0)}
    views = [dataclasses.replace(UP, name=name, snapshot=sample) for name, sample in samples.items()]
    found = joint.join(held, views, now=1003.0)
    assert [len(match.holders) for match in found.matches] == [1, 1]
    assert [(each.server, each.session) for each in found.holders] == [("two", "sleeping")]
