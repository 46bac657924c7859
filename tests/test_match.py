"""The join: which pool belongs to which server, and what each of its connections is there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import URL, make_url

from exporter.labels import SESSION_STATES, SessionState, UseState
from exporter.match import MATCHED_SESSIONS, USE_STATES, Report, belongs, match, owners, reports_by_server
from exporter.records import PooledConnection, PoolIdentity, PoolSnapshot, ProcessSnapshot, ServerSnapshot, Session

BEGAN, ENDED = 1000.0, 1000.5
LATER = 1010.0  # when the process reported, if the test does not say otherwise: well after the sample


@dataclass(frozen=True)
class Server:
    """As much of a configured server as the match asks for."""

    url: URL
    name: str = "orders"
    pools: tuple[str, ...] = ()


def server(url: str, *pools: str, name: str = "orders") -> Server:
    return Server(make_url(url), name, pools)


def identity(dialect: str = "mysql", host: str = "db", port: int | None = 3306, name: str = "shop") -> PoolIdentity:
    return PoolIdentity(name, "QueuePool", dialect, "driver", host=host, port=port, database="shop")


@pytest.mark.parametrize(
    ("dialect", "host", "port", "url"),
    [
        ("mysql", "db", 3306, "mysql+pymysql://probe@db/"),
        ("mariadb", "db", 3306, "mysql+pymysql://probe@db:3306/"),
        ("mysql", "DB.example.", None, "mariadb+pymysql://probe@db.EXAMPLE/"),
        ("postgresql", "localhost", 5432, "postgresql+psycopg://probe@127.0.0.1/shop"),
        ("postgresql", "127.0.0.1", 5433, "postgresql+psycopg://probe@[::1]:5433/"),
        ("postgresql", "::1", 5432, "postgresql+psycopg://probe@localhost/"),
        ("postgresql", "localhost", 5432, "postgresql+psycopg:///shop"),
        ("postgresql", "/run/postgresql", 5432, "postgresql+psycopg:///shop?host=/run/postgresql"),
        ("postgresql", "a", 5432, "postgresql+psycopg:///shop?host=a&host=b"),
    ],
)
def test_the_same_address_in_other_words(dialect: str, host: str, port: int | None, url: str) -> None:
    """Family, host and port are equal however they are written: MariaDB is MySQL, and this machine has many names."""
    assert belongs(identity(dialect, host, port), server(url))


@pytest.mark.parametrize(
    ("dialect", "host", "port", "url"),
    [
        ("mysql", "db", 3306, "postgresql+psycopg://probe@db:3306/"),
        ("mysql", "db", 3306, "mysql+pymysql://probe@db:3307/"),
        ("mysql", "db", 3306, "mysql+pymysql://probe@db2/"),
        ("postgresql", "127.0.0.2", 5432, "postgresql+psycopg://probe@localhost/"),
        ("sqlite", "", None, "mysql+pymysql://probe@localhost/"),
        ("mysql", "", None, "mysql+pymysql://probe@localhost/"),
    ],
)
def test_another_address(dialect: str, host: str, port: int | None, url: str) -> None:
    """Another family, host or port is another server, and a pool that does not know its own is nobody's."""
    assert not belongs(identity(dialect, host, port), server(url))


@pytest.mark.parametrize(("pattern", "told"), [("shop", True), ("sh*", True), ("Shop", False), ("hop", False)])
def test_patterns_decide_alone(pattern: str, *, told: bool) -> None:
    """With patterns the whole name decides, in its own case, and the address is not looked at."""
    assert belongs(identity("postgresql", "elsewhere"), server("mysql+pymysql://db/", "stock*", pattern)) is told
    assert not belongs(identity("mysql", "db"), server("mysql+pymysql://db/", "stock*"))


def test_an_address_that_two_servers_have_tells_nothing() -> None:
    """A pool is rather nobody's than two servers'; a pattern settles it, and may name several."""
    one, two = server("mysql+pymysql://db/", name="one"), server("mariadb+pymysql://db:3306/", name="two")
    mine, ours = server("mysql+pymysql://proxy/", "shop", name="mine"), server("mysql+pymysql://db/", "s*", name="ours")
    assert owners(identity(), [one]) == (one,)
    assert owners(identity(), [one, two]) == ()
    assert owners(identity(), [one, mine]) == (mine,)
    assert owners(identity(), [one, two, mine, ours]) == (mine, ours)
    assert owners(identity(), []) == ()


def test_reports_are_sorted_by_server_and_by_pool() -> None:
    """Each process's pool goes to the server that it connects to, also where names are the same."""
    here, there = server("mysql+pymysql://a/", name="here"), server("mysql+pymysql://b/", name="there")
    first, second = PoolSnapshot(identity(host="a"), idle=1), PoolSnapshot(identity(host="b"), idle=2)
    lost = PoolSnapshot(identity(host="c", name="lost"))
    processes = [ProcessSnapshot(1, 10.0, (first, lost)), ProcessSnapshot(2, 11.0, (second, first))]
    assert reports_by_server(processes, [here, there]) == {
        "here": {"shop": [Report(10.0, first), Report(11.0, first)]},
        "there": {"shop": [Report(11.0, second)]},
    }
    assert reports_by_server([], [here]) == {"here": {}}


def sample(sessions: dict[int, SessionState], *asked: int) -> ServerSnapshot:
    return ServerSnapshot(
        dialect="mysql",
        version="8.4.0",
        source="performance_schema.threads",
        began=BEGAN,
        ended=ENDED,
        groups=(),
        sleepers=(),
        connections=0,
        connections_max=None,
        asked=frozenset({*sessions, *asked}),
        sessions={number: Session(state) for number, state in sessions.items()},
    )


def pairs(
    *connections: PooledConnection, seen: ServerSnapshot, taken: float = LATER
) -> dict[tuple[UseState, str], int]:
    """Return the pairs that are not 0."""
    report = Report(taken, PoolSnapshot(identity(), connections=connections))
    found = match("shop", "orders", reports=[report], sample=seen)
    assert found is not None
    assert (found.pool, found.server) == ("shop", "orders")
    assert set(found.pairs) == set(product(USE_STATES, MATCHED_SESSIONS))
    return {pair: count for pair, count in found.pairs.items() if count}


def connection(state: UseState, server_id: int | None = 11, *, seconds: float = 60.0) -> PooledConnection:
    return PooledConnection(state, seconds=seconds, age=3600.0, server_id=server_id)


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
    assert pairs(connection("idle"), young, seen=sample(sessions, 11)) != {}


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
    reports = [
        Report(LATER, PoolSnapshot(identity(), connections=(connection("idle", 1), connection("used", 3)))),
        Report(LATER + 1, PoolSnapshot(identity(), connections=(connection("idle", 2), connection("idle", 4)))),
    ]
    found = match("shop", "orders", reports=reports, sample=seen)
    assert found is not None
    assert sum(found.pairs.values()) == 4
    assert (found.pairs["idle", "sleeping"], found.pairs["idle", "gone"], found.pairs["used", "active"]) == (2, 1, 1)


def test_without_a_fresh_sample_there_is_no_match() -> None:
    """What is not known is absent, not 0."""
    assert match("shop", "orders", reports=[], sample=None) is None


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
    found = pairs(*connections, seen=sample(sessions, *asked), taken=taken)
    known = asked | set(sessions)
    old = [each for each in connections if each.server_id in known and taken - each.age < BEGAN]
    certain = [each for each in old if each.server_id in sessions or taken > ENDED]
    assert sum(found.values()) == len(certain)
