"""The lock of the page over real HTTP: who comes in, what the others learn, and who waits for whom."""

from __future__ import annotations

import asyncio
import base64
import itertools
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import pytest

from doors import HASH, PASSWORD, Said, door
from exporter import web_lock
from exporter.web_guard import OPEN_PATHS
from exporter.web_lock import BusyError, Lock
from waiting import eventually, until

USERS = f"basic_auth_users: {{prometheus: '{HASH}'}}\n"
GOOD = f"prometheus:{PASSWORD}"
PATHS = ("/", "/metrics", "/api/v1/pools", "/api/v1/holders", "/nothing", "/-/nothing", "/-/healthy/", "//-/healthy")


def test_who_has_the_password_comes_in(tmp_path: Path) -> None:
    """With name and password the page is there; a longer password than bcrypt reads is no error."""
    with door(tmp_path, USERS) as page:
        assert page.ask(login=GOOD).status == 200
        assert page.ask(login=GOOD).text.startswith("# HELP")
        assert page.ask("/", login=GOOD).status == 200
        assert page.ask(login=f"{GOOD}{'x' * 100}").status == 401


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        "Bearer abc",
        f"Basic {base64.b64encode(b'prometheus').decode()}",
        f"Basic {base64.b64encode(b'prometheus:').decode()}",
        f"Basic {base64.b64encode(b'prometheus:wrong').decode()}",
        f"Basic {base64.b64encode(b'nobody:Tr0ub4dor').decode()}",
        f"Basic {base64.b64encode(b'PROMETHEUS:Tr0ub4dor').decode()}",
        f"Basic {base64.b64encode(bytes(range(256))).decode()}",
        f"Basic {base64.b64encode(b'prometheus:' + bytes(80)).decode()}",
    ],
)
def test_nobody_else_learns_anything(tmp_path: Path, header: str | None) -> None:
    """Whatever is wrong with a login, the answer is the same 401, whether the path exists or not."""
    sent = {} if header is None else {"Authorization": header}
    with door(tmp_path, USERS) as page:
        answers = [page.ask(path, **sent) for path in PATHS]
    for answer in answers:
        assert (answer.status, answer.text) == (401, "Unauthorized\n")
        assert answer.headers["www-authenticate"] == 'Basic realm="pool-exporter", charset="UTF-8"'
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_health_is_open(tmp_path: Path) -> None:
    """Probes need no password, and neither wait for those who have none."""
    with door(tmp_path, f"{USERS}rate_limit: {{interval: 1h, burst: 1}}\n") as page:
        assert {path: page.ask(path).status for path in OPEN_PATHS for _ in range(3)} == dict.fromkeys(OPEN_PATHS, 200)
        assert page.ask("/-/healthy", method="POST").status == 405


def test_a_login_that_is_known_waits_for_nobody(tmp_path: Path) -> None:
    """While wrong passwords keep bcrypt busy for seconds, a scrape with a known login is answered before them."""
    dear = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(13)).decode()
    with door(tmp_path, f"basic_auth_users: {{prometheus: '{dear}'}}") as page, ThreadPoolExecutor(8) as pool:
        assert page.ask(login=GOOD).status == 200
        wrong = [pool.submit(page.ask, login=f"prometheus:{number}") for number in range(4)]
        eventually(lambda: any(each.running() for each in wrong))
        assert [page.ask(login=GOOD).status for _ in range(3)] == [200] * 3
        assert not all(each.done() for each in wrong)
        assert {each.result().status for each in wrong} == {401}


def test_a_flood_is_turned_away(tmp_path: Path) -> None:
    """Of many different passwords from one address only a few wait; the same one twice is checked once."""
    dear = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    with door(tmp_path, f"basic_auth_users: {{prometheus: '{dear}'}}") as page, ThreadPoolExecutor(40) as pool:
        wrong = [pool.submit(page.ask, login=f"prometheus:{number}") for number in range(40)]
        answers = [each.result() for each in wrong]
        assert {each.status for each in answers} == {401, 429}
        assert all("retry-after" in each.headers for each in answers if each.status == 429)
        assert {each.result().status for each in [pool.submit(page.ask, login=GOOD) for _ in range(40)]} == {200}


def test_first_logins_of_one_scraper_share_a_check(tmp_path: Path) -> None:
    """Twenty jobs that come at once with one login, not known yet, are all let in."""
    barrier = threading.Barrier(20)
    dear = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    with door(tmp_path, f"basic_auth_users: {{prometheus: '{dear}'}}") as page, ThreadPoolExecutor(20) as pool:

        def ask() -> Said:
            barrier.wait()
            return page.ask("/api/v1/pools", login=GOOD)

        assert {each.result().status for each in [pool.submit(ask) for _ in range(20)]} == {200}


def test_a_login_without_room_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no password can be checked for a moment, whoever waits is told to come again, and can."""
    with door(tmp_path, USERS) as page:
        with monkeypatch.context() as fault:
            fault.setattr("exporter.web_lock._matches", lambda *_: 1 // 0)
            assert [page.ask(login=GOOD).status for _ in range(2)] == [429, 429]
        assert page.ask(login=GOOD).status == 200


def test_a_password_that_is_taken_back_counts_no_more(tmp_path: Path) -> None:
    """After a change of the file the old login is refused, though it was remembered, and the new one is good."""
    new = bcrypt.hashpw(b"new", bcrypt.gensalt(4)).decode()
    with door(tmp_path, USERS) as page:
        assert page.ask(login=GOOD).status == 200
        page.web.write_text(f"basic_auth_users: {{prometheus: '{new}'}}")
        eventually(lambda: page.ask(login=GOOD).status == 401)
        assert page.ask(login="prometheus:new").status == 200


def test_who_has_the_password_comes_in_beside_a_flood() -> None:
    """Beside clients of the same address that try wrong passwords without a rest, the right one is let in soon."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(8))
    lock, users = Lock(), {"prometheus": hashed}
    refused: list[str] = []

    async def come_in(login: str) -> bool:
        try:
            return await lock.admits(basic(login), users, address="10.0.0.7")
        except BusyError:
            refused.append(login)
            await asyncio.sleep(0)
            return False

    async def flood(number: int) -> None:
        for again in itertools.count():
            await come_in(f"prometheus:{number}-{again}")

    async def is_let_in() -> bool:
        floods = [asyncio.create_task(flood(number)) for number in range(12)]
        try:
            await until(lambda: refused)
            for _ in range(10):
                if await come_in(GOOD):
                    return True
            return False
        finally:
            for each in floods:
                each.cancel()
            await asyncio.wait(floods)

    try:
        assert asyncio.run(is_let_in())
    finally:
        lock.close()


def test_a_full_lock_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """When as many logins wait as may, one makes room for a new address and is told to come again; all others count."""
    monkeypatch.setattr(web_lock, "REFUSAL_SECONDS", 0.0)
    lock, users = Lock(), {"prometheus": HASH.encode()}

    async def attempt(number: int) -> bool | None:
        try:
            return await lock.admits(basic(f"prometheus:{number}"), users, address=f"10.0.0.{number // 4}")
        except BusyError:
            return None

    async def attempts() -> list[bool | None]:
        return await asyncio.wait_for(asyncio.gather(*map(attempt, range(65))), 60)

    try:
        found = asyncio.run(attempts())
        assert (found.count(False), found.count(None), found[-1]) == (64, 1, False)
    finally:
        lock.close()


@pytest.mark.parametrize("text", ["", "http_server_config: {http2: false}"])
def test_a_lock_is_not_lost_with_its_file(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    """A file that is emptied, as by an editor or on a full disk, opens nothing, and the log says what to do."""
    caplog.set_level(logging.INFO)
    with door(tmp_path, USERS) as page:
        page.web.write_text(text)
        eventually(lambda: "has no basic_auth_users any more; send SIGHUP" in caplog.text)
        assert (page.ask().status, page.ask(login=GOOD).status) == (401, 200)
        page.web.write_text(USERS)
        eventually(lambda: "was read again" in caplog.text)
        assert (page.ask().status, page.ask(login=GOOD).status) == (401, 200)


def test_a_broken_version_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A faulty file is said once, without its secrets, and the lock stays as it was; mended, it counts."""
    with door(tmp_path, USERS) as page:
        for text in (f"basic_auth_users: {{prometheus: {PASSWORD}}}", f"basic_auth_users: {{prometheus: {PASSWORD} }}"):
            page.web.write_text(text)
            eventually(lambda: "cannot be used; the version before still counts" in caplog.text)
        page.web.unlink()
        gone = f"{page.web}: No such file or directory; write it again, or take web.config_file out of"
        eventually(lambda: gone in caplog.text)
        assert (page.ask().status, page.ask(login=GOOD).status) == (401, 200)
        said = [record.getMessage() for record in caplog.records if record.name == "exporter.web_keeper"]
        assert len(said) == 2
        assert "basic_auth_users.prometheus: is no bcrypt hash" in said[0]
        assert PASSWORD not in caplog.text
        page.web.write_text(f"{USERS}http_server_config: {{headers: {{Strict-Transport-Security: max-age=1}}}}")
        eventually(lambda: page.ask("/-/healthy").headers.get("strict-transport-security") == "max-age=1")


def test_a_rate_is_kept(tmp_path: Path) -> None:
    """Beyond the burst a request is answered with 429 and when to come again."""
    with door(tmp_path, "rate_limit: {interval: 1h, burst: 3}") as page:
        answers = [page.ask("/api/v1/pools") for _ in range(5)]
    assert [each.status for each in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["retry-after"] == "1"


def test_strangers_do_not_use_up_the_rate(tmp_path: Path) -> None:
    """Who has come in before has a rate of his own, which requests without a login or with a wrong one leave alone."""
    with door(tmp_path, f"{USERS}rate_limit: {{interval: 1h, burst: 2}}") as page:
        assert page.ask(login=GOOD).status == 200
        assert [page.ask().status, page.ask().status, page.ask(login="prometheus:wrong").status] == [401, 429, 429]
        assert [page.ask(login=GOOD).status for _ in range(3)] == [200, 200, 429]


def test_every_answer_is_headed(tmp_path: Path) -> None:
    """Pages, JSON, refusals and what is not there tell browsers to guess, keep, frame and send nothing."""
    headers = "http_server_config: {headers: {X-Frame-Options: sameorigin, Strict-Transport-Security: max-age=9}}"
    with door(tmp_path, headers) as page:
        paths = ("/", "/metrics", "/api/v1/pools", "/nothing", "/-/ready", "/-/reload")
        answers = {path: page.ask(path, Host="evil.example", Referer="http://evil.example/") for path in paths}
        with page.dial() as line:
            line.sendall(b"this is no HTTP\r\n\r\n")
            no_http = _all(line).decode().lower()
    assert no_http.startswith("http/1.1 400 ")
    assert no_http.count("x-frame-options: ") == no_http.count("x-frame-options: sameorigin") == 1
    assert "strict-transport-security: max-age=9\r\n" in no_http
    for path, answer in answers.items():
        found = answer.headers
        assert (found["x-content-type-options"], found["cache-control"]) == ("nosniff", "no-store"), path
        assert (found["referrer-policy"], found["x-frame-options"]) == ("no-referrer", "sameorigin"), path
        assert found["content-security-policy"].startswith("default-src 'none'"), path
        assert found["strict-transport-security"] == "max-age=9", path
        assert found["cross-origin-resource-policy"] == "same-origin", path
        assert "location" not in found, path
        assert "server" not in found, path
        assert "evil" not in answer.text + str(found), path


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/metrics",
        "http://evil.example/-/healthy/../../metrics",
        "http%3a//x/-/healthy",
        "*",
        "/%2e%2e/metrics",
        "/-/healthy%00",
        "/-/healthy%2f../../metrics",
    ],
)
def test_no_path_leads_around_the_lock(tmp_path: Path, target: str) -> None:
    """However a target is written, without the password it is 401 or no request at all."""
    with door(tmp_path, USERS) as page, page.dial() as line:
        line.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = _all(line)
    assert answer.split(b" ")[1] in (b"400", b"401")
    assert b"sqlalchemy_" not in answer


def basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def _all(line: socket.socket) -> bytes:
    return b"".join(iter(lambda: line.recv(65536), b""))
