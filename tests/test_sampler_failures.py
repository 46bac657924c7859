"""How a sampler says that it could not look, on real servers and without any."""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock
from urllib.parse import quote, quote_plus

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from exporter.demo.databases import free_port
from exporter.news import ADVICE_SECONDS
from exporter.records import ServerSnapshot
from exporter.sampler import Sampler
from exporter.servers import SampleError
from overviews import SAMPLE
from samplers import failed, no_ids, sampled, sampling, unreachable
from sites import PASSWORD, Launch, Site, frozen, sessions_of
from waiting import eventually


@pytest.mark.servers
def test_frozen_server(site: Site) -> None:
    """A server that stops answering is down, for a reason, within the timeout, on a kept connection and a new one."""
    with sampling(site.server(timeout=site.patience)) as sampler:
        sampled(sampler)
        threads = threading.active_count()
        with frozen(site.database):
            for _ in ("kept", "new"):
                began = time.monotonic()
                sampler.sample()
                assert time.monotonic() - began < site.patience + 0.6
                view = sampler.view()
                assert (view.up, view.reason) == (False, "timeout")
        assert sampler.view().errors["timeout"] == 2
        assert threading.active_count() == threads
        sampled(sampler)
        assert sampler.view().reason is None


@pytest.mark.servers
def test_too_slow_for_the_timeout(postgresql_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A server that says itself that its answer takes too long is asked half as often, a frozen one is not."""
    locker = create_engine(postgresql_site.database.url, poolclass=NullPool)
    with sampling(postgresql_site.server(interval=2.0, timeout=0.5)) as sampler:
        sampled(sampler)
        with frozen(postgresql_site.database):
            failed(sampler)
        assert sampler.pace.interval == 2
        eventually(lambda: _is_up(sampler))
        with locker.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE pg_db_role_setting IN ACCESS EXCLUSIVE MODE")
            view = failed(sampler)
        assert (view.reason, view.interval) == ("timeout", 4.0)
        eventually(lambda: _is_up(sampler))
    assert "sampling every 4 s now" in caplog.text


def _is_up(sampler: Sampler) -> bool:
    sampler.sample()
    return sampler.view().up


@pytest.mark.servers
def test_frozen_while_dialling_again(site: Site) -> None:
    """The timeout covers the second try that follows when the kept connection turns out to be dead."""
    account = site.sampler_account()
    with sampling(site.server(account, timeout=site.patience)) as sampler:
        sampled(sampler)
        site.kill(sessions_of(site, account)[0])
        eventually(lambda: not sessions_of(site, account))
        with frozen(site.database):
            began = time.monotonic()
            sampler.sample()
            assert time.monotonic() - began < site.patience + 0.6
        assert sampler.view().reason == "timeout"


@pytest.mark.servers
def test_wrong_password(site: Site) -> None:
    """A password that the server refuses is named as such, and never shown."""
    account = site.sampler_account()
    with sampling(site.server(url=site.url(account).set(password="wrong-s3cret"))) as sampler:
        sampler.sample()
        view = sampler.view()
    assert (view.up, view.reason) == (False, "auth")
    assert view.errors["auth"] == 1
    assert "wrong-s3cret" not in view.message
    assert "\n" not in view.message
    assert account in view.message


@pytest.mark.servers
def test_unknown_database(site: Site) -> None:
    """A database that is not there is a login that cannot succeed."""
    with sampling(site.server(url=site.url(site.sampler_account(), database="nowhere"))) as sampler:
        sampler.sample()
        assert sampler.view().reason == "auth"


@pytest.mark.servers
@pytest.mark.parametrize("dialect", ["mysql", "postgresql"])
def test_stop_and_restart(dialect: str, servers_folder: Path, request: pytest.FixtureRequest) -> None:
    """A server that is stopped is down by reason connect, and up with the first sample after its return."""
    launch: Launch = request.getfixturevalue("start_mariadb" if dialect == "mysql" else "start_postgresql")
    folder, port = servers_folder / f"mortal-{dialect}", free_port()
    with contextlib.ExitStack() as stack:
        with launch(folder, port=port) as database:
            server = Site("mortal", dialect, database).server("nobody", url=database.url)
            sampler = stack.enter_context(sampling(server))
            sampled(sampler)
        sampler.sample()
        assert (sampler.view().up, sampler.view().reason) == (False, "connect")
        for _ in range(2):
            with launch(folder, port=port):
                sampled(sampler)
        assert sampler.view().errors["connect"] == 1


def test_not_sampled_yet() -> None:
    """Before its first sample a server is not up, and nothing is known of it."""
    view = Sampler(unreachable(), ids=no_ids).view()
    assert (view.up, view.reason, view.snapshot) == (False, None, None)
    assert (view.sample_seconds, view.sampled_at) == (None, None)
    assert set(view.errors.values()) == {0}


def test_nobody_there() -> None:
    """A port that nobody listens on is a failure to connect, and counted."""
    sampler = Sampler(unreachable(), ids=no_ids)
    sampler.sample()
    sampler.sample()
    view = sampler.view()
    assert (view.up, view.reason) == (False, "connect")
    assert view.errors == {"connect": 2, "auth": 0, "privilege": 0, "timeout": 0, "query": 0, "other": 0}
    assert view.sample_seconds is not None
    assert PASSWORD not in view.message


@pytest.mark.servers
def test_old_snapshot_is_withheld(postgresql_site: Site) -> None:
    """A snapshot is shown for three intervals and then withheld; when it was taken stays known."""
    now = [1000.0]
    sampler = Sampler(postgresql_site.server(interval=10.0), ids=no_ids, clock=lambda: 1.7e9, steadily=lambda: now[0])
    sampler.sample()
    sampler.close()
    now[0] = 1030.0
    assert sampler.view().snapshot is not None
    now[0] = 1030.1
    assert sampler.view().snapshot is None
    assert sampler.view().sampled_at == 1.7e9


@pytest.mark.servers
@pytest.mark.parametrize("hours", [-5, 5])
def test_time_of_day_is_set(site: Site, hours: int) -> None:
    """A clock that jumps withholds nothing that is fresh, and lets nothing that is old pass for it."""
    clock, now = [1.7e9], [1000.0]
    sampler = Sampler(site.server(interval=10.0), ids=no_ids, clock=lambda: clock[0], steadily=lambda: now[0])
    with contextlib.closing(sampler):
        first = sampled(sampler)
        clock[0] += hours * 3600
        now[0] += 10.0
        assert sampler.view().snapshot == first
        second = sampled(sampler)
        assert (second.ended, sampler.view().earlier, sampler.view().sampled_at) == (clock[0], (first,), clock[0])
        clock[0] -= hours * 3600
        now[0] += 30.1
        assert (sampler.view().snapshot, sampler.view().earlier) == (None, ())


@pytest.mark.servers
def test_slow_samples_double_the_interval(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A sample that takes more than a tenth of the interval doubles it, which is logged once."""
    caplog.set_level(logging.INFO, "exporter.sampler")
    with sampling(site.server(interval=1e-4)) as sampler:
        sampler.sample()  # what it saw is withheld in less than a millisecond
        assert sampler.view().interval == 2e-4
        [said] = [record.getMessage() for record in caplog.records if record.name == "exporter.sampler"]
    assert said.startswith("server orders: a sample took 0.")
    assert said.endswith(" s, more than a 10th of the 0.0001 s between samples; sampling every 0.0002 s now")


@pytest.mark.servers
def test_good_snapshot_outlives_a_failure(mariadb_site: Site) -> None:
    """What was seen last is still shown, while it is fresh, beside the news that the server is down."""
    with sampling(mariadb_site.server(timeout=0.5)) as sampler:
        good = sampled(sampler)
        with frozen(mariadb_site.database):
            sampler.sample()
        view = sampler.view()
    assert view.snapshot == good
    assert not view.up


def test_one_at_a_time() -> None:
    """A sample that hangs is not joined by a second one, and the view says that it hangs."""
    now, entered, released, calls = [1000.0], threading.Event(), threading.Event(), []

    def ids() -> frozenset[int]:
        calls.append(1)
        entered.set()
        released.wait(30)
        return frozenset()

    sampler = Sampler(unreachable(timeout=5.0), ids=ids, steadily=lambda: now[0])
    first = threading.Thread(target=sampler.sample)
    first.start()
    try:
        assert entered.wait(10)
        sampler.sample()
        assert len(calls) == 1
        now[0] = 1007.0
        assert (sampler.view().up, sampler.view().reason) == (False, "timeout")
    finally:
        released.set()
        first.join()
    assert sampler.view().reason == "connect"


def test_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    """An error that is no server's is contained, counted as other, and logged with its traceback."""

    def ids() -> frozenset[int]:
        raise ZeroDivisionError

    sampler = Sampler(unreachable(), ids=ids)
    sampler.sample()
    assert sampler.view().reason == "other"
    assert sampler.view().errors["other"] == 1
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("password", [PASSWORD, "p@ss/w rd'\\"])
def test_a_traceback_shows_no_password(password: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where a traceback is logged, the password is crossed out of it, however it is written there."""
    url = unreachable().url.set(password=password)

    def ids() -> frozenset[int]:
        raise ValueError(f"{password} {quote_plus(password)} {password!r} {url.render_as_string(hide_password=False)}")

    sampler = Sampler(unreachable(url=url), ids=ids)
    sampler.sample()
    assert "ValueError: *** *** " in caplog.text
    for text in (caplog.text, sampler.view().message):
        assert not {password, quote_plus(password), quote(password)} & set(re.split(r"[ :@\n']", text))
        assert "ss/w" not in text
        assert "ss%2Fw" not in text


@pytest.mark.parametrize("dialect", ["mysql", "postgresql"])
def test_a_password_that_is_no_utf_8(dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    """As the environment of a process in latin1 may have one: it is said so, once, and nothing of it is shown."""
    driver = {"mysql": "mysql+pymysql", "postgresql": "postgresql+psycopg"}[dialect]
    url = unreachable().url.set(drivername=driver, password="pl\udce4nted")
    with sampling(unreachable(url=url, dialect=dialect), ids=no_ids) as sampler:
        for _ in range(2):
            view = failed(sampler)
    assert view.message == "the url or its password is no UTF-8 text; write it anew, in UTF-8"
    assert view.errors["other"] == 2
    assert len(caplog.messages) == 1
    assert "\n" not in caplog.messages[0]


class _Untold(Exception):  # noqa: N818  the test's own
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize("error", [_Untold(), SampleError("no such reason", "a family's own")])  # type: ignore[arg-type]
def test_a_failure_that_cannot_be_told(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever telling of it meets, the sample has failed, and the log has one line of it."""

    def ids() -> frozenset[int]:
        raise error

    sampler = Sampler(unreachable(), ids=ids)
    for _ in range(2):
        sampler.sample()
    assert sampler.view().errors["other"] == 2
    assert "it failed, and so did telling why" in sampler.view().message
    assert len(caplog.messages) == 1
    assert "\n" not in caplog.messages[0]


def test_a_traceback_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """However much an error says, and whatever that does to a terminal, the log takes a page of it."""

    def ids() -> frozenset[int]:
        raise ZeroDivisionError("\x1b[31m" + "A" * 10_000_000)

    sampler = Sampler(unreachable(), ids=ids)
    sampler.sample()
    assert len(caplog.text) < 10_000
    assert "Traceback" in caplog.text
    assert "\x1b" not in caplog.text


def test_other_advice_at_each_sample(caplog: pytest.LogCaptureFixture) -> None:
    """A server that wants something else each time is repeated once in some minutes, and nothing is said twice."""
    now, turn = [1000.0], itertools.count()

    class Changing:
        """A line of such a server."""

        answer_seconds = 0.0

        def ask(self, *_: object, **__: object) -> ServerSnapshot:
            return replace(SAMPLE, advice=f"GRANT {next(turn) % 40}\x1b{'x' * 1000}")

    with mock.patch("exporter.sampler.Line", return_value=Changing()):
        sampler = Sampler(unreachable(), ids=no_ids, steadily=lambda: now[0])
    for _ in range(300):
        sampler.sample()
        now[0] += ADVICE_SECONDS / 100
    assert [line.partition("?")[0] for line in caplog.messages] == [f"server orders: GRANT {n}" for n in (0, 20, 1)]
    assert all(line.isprintable() and len(line) < 600 for line in caplog.messages)


@pytest.mark.servers
def test_changes_are_logged_once(mariadb_site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Down is said once, with the reason, and up again once."""
    caplog.set_level(logging.INFO, "exporter.sampler")
    with sampling(mariadb_site.server(timeout=2.0)) as sampler:
        sampled(sampler)
        with frozen(mariadb_site.database):
            sampler.sample()
            sampler.sample()
        sampled(sampler)
        sampled(sampler)
    said = [record.getMessage() for record in caplog.records if record.name == "exporter.sampler"]
    assert said == ["server orders is down (timeout): no answer within 2 s", "server orders is up again"]
