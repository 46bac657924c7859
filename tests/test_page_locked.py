"""The status page behind the lock: the headers of every answer, and a real Chromium that logs in over TLS."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import bcrypt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from browsers import Browser, browsing
from certificates import Certificates, make_certificates
from doors import HASH, PASSWORD, Door, Said, door, trusting
from exporter.conclusions import Overview
from exporter.page import POLICY
from exporter.web_guard import HEADERS
from overviews import Showing
from test_page_seen import BAD, GOOD, WITHIN, Live
from waiting import eventually

GOOD_LOGIN = f"prometheus:{PASSWORD}"
USERS = f"basic_auth_users: {{prometheus: '{HASH}'}}\n"
NOTHING_LOADS = "default-src 'none'; frame-ancestors 'none'"


class Broken(Showing):
    """A sidecar that cannot be looked at."""

    def overview(self) -> Overview:
        """Fail."""
        raise RuntimeError("broken on purpose")


def is_headed(said: Said, *, policy: str = NOTHING_LOADS) -> None:
    """See that an answer has each header that tells a browser to do nothing of its own."""
    wanted = {name.lower(): value for name, value in {**HEADERS, "Content-Security-Policy": policy}.items()}
    assert {name: said.headers.get(name) for name in wanted} == wanted, said
    assert not {"server", "location", "set-cookie"} & said.headers.keys()


def test_every_status_is_headed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Let in or not, found or not, broken or healthy: no answer lacks a header, and none has one twice."""
    with door(tmp_path, USERS) as page:
        is_headed(page.ask("/", login=GOOD_LOGIN), policy=POLICY)
        assert page.ask("/").headers["www-authenticate"].startswith("Basic ")
        assert page.ask("/", X_Requested_With="refresh").headers["www-authenticate"].startswith("x-Basic ")
        asked = {
            200: page.ask("/metrics", login=GOOD_LOGIN),
            401: page.ask("/"),
            403: page.ask("/-/reload", method="POST", login=GOOD_LOGIN),
            404: page.ask("/nothing", login=GOOD_LOGIN),
            405: page.ask("/", method="DELETE", login=GOOD_LOGIN),
            413: page.ask("/", login=GOOD_LOGIN, Content_Length="99999"),
            431: page.ask("/", login=GOOD_LOGIN, **{f"H{number}": "x" for number in range(101)}),
        }
        for path in ("/-/healthy", "/-/ready", "/api/v1/pools", "/api/v1/holders"):
            is_headed(page.ask(path, login=GOOD_LOGIN))
        assert {status: said.status for status, said in asked.items()} == {status: status for status in asked}
        for said in asked.values():
            is_headed(said)
        broken = b"HEAD / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n"
        for sent in (
            broken,
            b"\0\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        ):
            is_headed(raw(page, sent))
    assert "Traceback" not in caplog.text
    with door(tmp_path, USERS, sidecar=Broken()) as page:
        for path in ("/", "/api/v1/pools"):
            said = page.ask(path, login=GOOD_LOGIN)
            assert (said.status, "on purpose" in said.text) == (500, False)
            is_headed(said)
    assert "on purpose" in caplog.text


def raw(page: Door, sent: bytes) -> Said:
    """Send bytes that are no request, and return the refusal."""
    with page.dial() as line:
        line.sendall(sent)
        got = b"".join(iter(lambda: line.recv(65536), b"")).decode()
    head, _, text = got.partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    assert status.split()[1] == "400", got
    pairs = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
    assert len(pairs) == len(dict(pairs))
    return Said(400, text, dict(pairs))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates that the browser believes."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def browser(made: Certificates) -> Iterator[Browser]:
    """A browser that believes our server's certificate, as if its authority were among the machine's own."""
    key = load_pem_x509_certificate(made.server_cert.read_bytes()).public_key()
    raw_key = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    known = base64.b64encode(hashlib.sha256(raw_key).digest()).decode()
    with browsing([f"--ignore-certificate-errors-spki-list={known}"]) as browser:
        yield browser


@pytest.mark.servers
@pytest.mark.timeout(300)
def test_it_refreshes_itself_behind_the_lock(tmp_path: Path, made: Certificates, browser: Browser) -> None:
    """Logged in over TLS it changes by itself; it says when the login counts no more, and opens no dialog for that."""
    tls = f"tls_server_config: {{cert_file: {made.server_cert}, key_file: {made.server_key}}}\n"
    sidecar = Live(BAD)
    with door(tmp_path, tls + USERS, sidecar=sidecar, context=trusting(made.ca)) as page:
        browser.show(f"https://prometheus:{quote(PASSWORD)}@localhost:{page.port}/")
        browser.run("window.kept = true")
        assert browser.text("#verdict h2") == "Leak pool shop"
        sidecar.show(GOOD)
        eventually(lambda: browser.text("#verdict h2") == "All is well", within=WITHIN)
        assert browser.text("#lost") == ""
        assert {address.partition("@")[2] or address for address in browser.asked_for()} <= {
            f"localhost:{page.port}/",
            f"https://localhost:{page.port}/",
        }
        assert [each for each in browser.complaints() if "Content Security" in each] == []
        other = bcrypt.hashpw(b"another", bcrypt.gensalt(4)).decode()
        page.web.write_text(f"{tls}basic_auth_users: {{prometheus: '{other}'}}\n")
        eventually(lambda: "it asks for a password again (401)" in browser.text("#lost"), within=WITHIN)
        assert browser.text("#verdict h2") == "All is well"
        assert browser.run("return window.kept") is True
        browser.show(f"https://prometheus:another@localhost:{page.port}/")
        sidecar.show(BAD)
        eventually(lambda: browser.text("#verdict h2") == "Leak pool shop", within=WITHIN)
        assert browser.text("#lost") == ""
    eventually(lambda: "The sidecar is not reachable: no connection." in browser.text("#lost"), within=WITHIN)
    browser.complaints()
