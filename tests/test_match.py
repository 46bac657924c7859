"""The join: each connection against the sample that fits it, and the pairs."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.acquaintance import Known
from exporter.labels import SESSION_STATES, SessionState, UseState
from exporter.match import USE_STATES
from exporter.records import Instance, PooledConnection, Session
from exporter.sightings import sightings
from reports import BEGAN, ENDED, LATER, connection, known_to, matched, pairs, report, sample


@pytest.mark.parametrize("state", USE_STATES)
@pytest.mark.parametrize(
    ("session", "said"),
    [
        ("active", "active"),
        ("sleeping", "sleeping"),
        ("sleeping_in_transaction", "sleeping_in_transaction"),
        ("sleeping_in_failed_transaction", "sleeping_in_transaction"),
        ("other", "active"),
    ],
)
def test_every_pair_of_states(state: UseState, session: SessionState, said: str) -> None:
    """A connection that has been in its state since before the sample is in the pair of both states."""
    assert pairs(connection(state), seen=sample({11: session})) == {(state, said): 1}


@pytest.mark.parametrize("state", USE_STATES)
def test_a_session_that_is_no_more(state: UseState) -> None:
    """A connection that the pool still holds after the sample, and the server did not know then, is gone."""
    assert pairs(connection(state), seen=sample({}, 11)) == {(state, "gone"): 1}


@pytest.mark.parametrize("taken", [BEGAN - 1.0, BEGAN + 0.2, ENDED])
def test_only_what_is_held_after_the_sample_can_be_gone(taken: float) -> None:
    """What the pool held before the sample it may have closed meanwhile, so nothing is said of it yet."""
    assert pairs(connection("idle"), seen=sample({}, 11), taken=taken) == {}


@pytest.mark.parametrize("sessions", [{}, {11: "sleeping"}])
def test_an_id_that_is_used_again_is_not_mistaken(sessions: dict[int, SessionState]) -> None:
    """A connection opened since the sample began is not the one that was asked for, whatever the server said."""
    young = PooledConnection("idle", seconds=1.0, age=LATER - BEGAN, server_id=11)
    assert pairs(young, seen=sample(sessions, 11)) == {}
    known = known_to(report(connection("idle")))
    assert pairs(connection("idle"), young, seen=sample(sessions, 11), known=known) != {}


def test_nothing_is_said_of_what_was_not_asked() -> None:
    """A connection without a readable id, or with one that the sample did not ask for, is in no pair."""
    assert pairs(connection("idle", None), connection("used", 12), seen=sample({11: "active"})) == {}


@pytest.mark.parametrize(
    ("state", "session", "pair"),
    [
        ("idle", "active", ("used", "active")),
        ("idle", "other", ("used", "active")),
        ("idle", "sleeping_in_transaction", ("used", "sleeping_in_transaction")),
        ("used", "sleeping", ("idle", "sleeping")),
        ("used", "active", ("used", "active")),
        ("idle", "sleeping", ("idle", "sleeping")),
    ],
)
def test_what_has_moved_since_the_sample_was_healthy_then(
    state: UseState, session: SessionState, pair: tuple[UseState, str]
) -> None:
    """The pool is seen now and the server was seen earlier: a busy pool must not look as if idle connections worked."""
    assert pairs(connection(state, seconds=3.0), seen=sample({11: session})) == {pair: 1}


def test_what_has_moved_may_still_be_gone() -> None:
    """A dead connection that was taken out of the pool after the sample is dead all the same."""
    assert pairs(connection("used", seconds=3.0), seen=sample({}, 11)) == {("used", "gone"): 1}


def test_processes_add_up() -> None:
    """The connections of all processes are counted together."""
    seen = sample({1: "sleeping", 2: "sleeping", 3: "active"}, 4)
    found = matched(
        report(connection("idle", 1), connection("used", 3)),
        report(connection("idle", 2), connection("idle", 4), taken=LATER + 1, process="8"),
        seen=seen,
    )
    assert sum(found.pairs.values()) == 4
    assert (found.pairs["idle", "sleeping"], found.pairs["idle", "gone"], found.pairs["used", "active"]) == (2, 1, 1)
    assert found.stale == 1


@pytest.mark.parametrize(("recycle", "stale"), [(None, 1), (3599.0, 0), (3601.0, 1)])
def test_what_its_pool_replaces_for_its_age_is_not_stale(recycle: float | None, stale: int) -> None:
    """A dead connection that is past pool_recycle hurts nobody: gone, and not stale."""
    one = report(connection("idle", 4))
    one = dataclasses.replace(one, pool=dataclasses.replace(one.pool, recycle_seconds=recycle))
    found = matched(one, seen=sample({}, 4))
    assert (found.pairs["idle", "gone"], found.stale) == (1, stale)


def test_of_two_who_claim_a_session_neither_is_believed() -> None:
    """A session belongs to one connection: two servers behind one name give the same ids."""
    seen = sample({1: "sleeping", 2: "sleeping"})
    found = matched(
        report(connection("idle", 1)), report(connection("idle", 1), connection("idle", 2), process="8"), seen=seen
    )
    assert sum(found.pairs.values()) == 1


@pytest.mark.parametrize("ended", [LATER - 0.1, LATER, LATER + 0.1])
def test_each_report_has_its_sample(ended: float) -> None:
    """The newest sample that ended before a report speaks of it; another one cannot tell who closed a connection."""
    held = report(connection("idle"))
    newer = dataclasses.replace(sample({}, 11), began=ended - 0.05, ended=ended)
    found = sightings([held], [newer, sample({11: "sleeping"})])
    assert [each.standing for each in found] == ["missing" if ended < LATER else "found"]
    assert sightings([held], [dataclasses.replace(newer, ended=LATER + 1)])[0].sample is None


def test_who_was_never_met_is_not_said_to_be_gone() -> None:
    """A connection that no sample has found may live on another server behind the same name."""
    assert pairs(connection("idle"), seen=sample({}, 11), known=Known()) == {}


@pytest.mark.parametrize(("seconds", "gone"), [(100.0, True), (50.0, False)])
def test_who_slept_for_too_long_is_gone(seconds: float, *, gone: bool) -> None:
    """What the server's own timeout explains needs no sample that has met it, once others of its pool were met."""
    known = known_to(report(connection("idle", 12)))
    seen = dataclasses.replace(sample({}, 11), idle_timeouts={"wait_timeout": 60.0, "interactive_timeout": 10.0})
    assert pairs(connection("idle", seconds=seconds), seen=seen, known=known) == ({("idle", "gone"): 1} if gone else {})


@pytest.mark.parametrize(
    ("session", "pair"),
    [
        (Session("sleeping", 3700.0), None),  # it slept before this connection was there
        (Session("sleeping", 10.0, age=100.0), "gone"),  # a younger session has the id by now
        (Session("sleeping", 10.0, age=3601.0), "sleeping"),
        (Session("sleeping", 10.0, ("shop", "stock")), None),
        (Session("sleeping", 10.0, ("shop", "Shop")), "sleeping"),
    ],
)
def test_whose_session_it_is(session: Session, pair: str | None) -> None:
    """A session must have the age and the database that the connection has; else it is not this one's."""
    found = pairs(connection("idle"), seen=sample({11: session}))
    assert found == ({} if pair is None else {("idle", pair): 1})


def test_what_was_opened_before_the_server_started_is_gone() -> None:
    """After a restart the ids begin anew: an old connection's is not that of the session which has it by now."""
    started = dataclasses.replace(sample({11: "sleeping"}), instance=Instance("a", BEGAN - 30))
    assert pairs(connection("idle"), seen=started) == {("idle", "gone"): 1}
    assert pairs(connection("idle"), seen=started, known=Known()) == {}


CONNECTIONS = st.builds(
    PooledConnection,
    state=st.sampled_from(USE_STATES),
    seconds=st.floats(0, 50),
    age=st.floats(0, 50),
    server_id=st.none() | st.integers(0, 9),
)


@given(
    st.lists(CONNECTIONS),
    st.frozensets(st.integers(0, 9)),
    st.dictionaries(st.integers(0, 9), st.sampled_from(SESSION_STATES)),
    st.floats(BEGAN - 20, BEGAN + 40),
)
def test_no_connection_is_counted_twice(
    connections: list[PooledConnection], asked: frozenset[int], sessions: dict[int, SessionState], taken: float
) -> None:
    """Each connection is in one pair at most, and all of those that were asked for and are old enough are in one."""
    held = report(*connections, taken=taken)
    found = matched(held, seen=sample(sessions, *asked))
    old = [each for each in connections if each.server_id in {*asked, *sessions} and taken - each.age + 0.2 < BEGAN]
    claims: Counter[int | None] = Counter(each.server_id for each in old if each.server_id in sessions)
    certain = [each for each in old if claims[each.server_id] < 2] if taken > ENDED else []
    met = [each for each in certain if each.server_id in sessions]
    assert len(met) <= sum(found.pairs.values()) <= len(certain)
