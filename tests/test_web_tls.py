"""TLS to the page: who is let in, what is shown when files change, and a real Prometheus that scrapes over it."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import socket
import ssl
import urllib.parse
from http.client import HTTPException
from pathlib import Path

import pytest
import trustme

from certificates import Certificates, make_certificates, with_directory_name
from doors import HASH, PASSWORD, Door, door, sweeping, trusting
from exporter.demo.client import ask
from exporter.demo.databases import free_port
from test_end_to_end import program
from waiting import eventually

SERVER = "cert_file: {0}/server.pem, key_file: {0}/server.key"
MUTUAL = f"{SERVER}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: {{0}}/ca.pem"
CLIENT_SAN = "sampler.example"
PATIENCE = 20.0  # seconds


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def tls(made: Certificates, section: str) -> str:
    return f"tls_server_config: {{{section.format(made.ca.parent)}}}\n"


def is_refused(page: Door, context: ssl.SSLContext) -> bool:
    """Tell whether no request comes through; under TLS 1.3 a client learns that only when it reads."""
    with contextlib.closing(page.connect(context)) as connection:
        try:
            page.on(connection, "/-/healthy")
        except (OSError, HTTPException):
            return True
    return False


def test_the_page_over_tls(tmp_path: Path, made: Certificates) -> None:
    """With a certificate the page speaks TLS 1.2 and 1.3 and nothing else; who speaks in clear gets no answer."""
    with door(tmp_path, tls(made, SERVER), context=trusting(made.ca)) as page:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = trusting(made.ca)
            client.minimum_version = client.maximum_version = version
            with contextlib.closing(page.connect(client)) as connection:
                assert page.on(connection, "/metrics").status == 200
        assert is_refused(page, trusting(made.stranger))
        with page.dial() as line:
            line.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"sqlalchemy" not in read_all(line)
        assert page.ask().status == 200


def test_versions_and_suites_that_are_asked_for(tmp_path: Path, made: Certificates) -> None:
    """A client that speaks only less than min_version, or other suites than cipher_suites, is not answered."""
    old = trusting(made.ca)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with door(tmp_path, tls(made, f"{SERVER}, min_version: TLS13"), context=trusting(made.ca)) as page:
        assert (is_refused(page, old), page.ask().status) == (True, 200)
    suite = (
        "max_version: TLS12, curve_preferences: [CurveP256], cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]"
    )
    with door(tmp_path, tls(made, f"{SERVER}, {suite}"), context=trusting(made.ca)) as page:
        with contextlib.closing(page.connect()) as connection:
            assert page.on(connection, "/-/healthy").status == 200
            assert isinstance(connection.sock, ssl.SSLSocket)
            assert connection.sock.cipher() == ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2", 256)
        old.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        assert is_refused(page, old)


def test_mutual_tls(tmp_path: Path, made: Certificates) -> None:
    """Only a client with a certificate of the authority comes in, to health too."""
    ours = trusting(made.ca, cert=made.client_cert, key=made.client_key)
    stranger = trustme.CA()
    (tmp_path / "own.pem").write_bytes(stranger.issue_cert(CLIENT_SAN).private_key_and_cert_chain_pem.bytes())
    with door(tmp_path, tls(made, MUTUAL), context=ours) as page:
        assert (page.ask().status, page.ask("/-/healthy").status) == (200, 200)
        assert is_refused(page, trusting(made.ca))
        assert is_refused(page, trusting(made.ca, cert=tmp_path / "own.pem"))
        assert page.ask().status == 200
    with door(tmp_path, tls(made, MUTUAL.replace("RequireAnd", "").replace("Cert,", "CertIfGiven,", 1))) as page:
        assert not is_refused(page, trusting(made.ca))
        assert not is_refused(page, ours)
        assert is_refused(page, trusting(made.ca, cert=tmp_path / "own.pem"))


@pytest.mark.parametrize(
    ("names", "comes_in"),
    [("sampler.example", True), ("other.example, sampler.example", True), ("example", False), ("", False)],
)
def test_names_that_are_let_in(tmp_path: Path, made: Certificates, names: str, *, comes_in: bool) -> None:
    """With client_allowed_sans a certificate of the authority is not enough: it needs one of the names."""
    ours = trusting(made.ca, cert=made.client_cert, key=made.client_key)
    with door(tmp_path, tls(made, f"{MUTUAL}, client_allowed_sans: [{names}]"), context=ours) as page:
        assert is_refused(page, ours) is not comes_in


@pytest.mark.parametrize("name", ["127.0.0.1", "::1", "2001:db8::7", "scraper@mail.example"])
def test_names_of_every_kind(tmp_path: Path, made: Certificates, name: str) -> None:
    """An address counts as it is usually written, and a mail address does too."""
    authority = trustme.CA()
    (tmp_path / "clients.pem").write_bytes(authority.cert_pem.bytes())
    (tmp_path / "client.pem").write_bytes(authority.issue_cert(name).private_key_and_cert_chain_pem.bytes())
    section = MUTUAL.replace("{0}/ca.pem", "clients.pem")
    text = tls(made, f"{section}, client_allowed_sans: ['{name}']")
    with door(tmp_path, text, context=trusting(made.ca, cert=tmp_path / "client.pem")) as page:
        assert page.ask().status == 200


def test_a_renewed_certificate_is_shown(tmp_path: Path, made: Certificates) -> None:
    """A certificate renewed under the same path is shown to the next client; those that are in stay in."""
    renewed = trustme.CA()
    certificate = renewed.issue_cert("localhost")
    (tmp_path / "new-ca.pem").write_bytes(renewed.cert_pem.bytes())
    for name in ("server.pem", "server.key"):
        shutil.copy(made.ca.parent / name, tmp_path)
    section = SERVER.replace("{0}/", "")
    with contextlib.ExitStack() as stack:
        swept = stack.enter_context(sweeping())
        page = stack.enter_context(door(tmp_path, tls(made, section), context=trusting(made.ca)))
        kept = stack.enter_context(contextlib.closing(page.connect()))
        assert page.on(kept, "/-/healthy").status == 200
        line = kept.sock
        (tmp_path / "server.pem").write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
        assert page.ask().status == 200
        (tmp_path / "server.key").write_bytes(certificate.private_key_pem.bytes())
        eventually(lambda: not is_refused(page, trusting(tmp_path / "new-ca.pem")))
        assert is_refused(page, trusting(made.ca))
        swept()
        assert page.on(kept, "/-/healthy").status == 200
        assert kept.sock is line, "it has come in anew"


@pytest.mark.parametrize(
    ("section", "missing"),
    [
        (SERVER, "client_auth_type"),
        (MUTUAL, "client_allowed_sans"),
        (MUTUAL.replace("RequireAnd", "").replace("Cert,", "CertIfGiven,", 1), "such a strict client_auth_type"),
    ],
)
def test_a_file_that_is_cut_off_lets_nobody_in(
    tmp_path: Path, made: Certificates, caplog: pytest.LogCaptureFixture, section: str, missing: str
) -> None:
    """A version that asks less of clients' certificates than the one before does not count by itself."""
    ours = trusting(made.ca, cert=made.client_cert, key=made.client_key)
    with door(tmp_path, tls(made, f"{MUTUAL}, client_allowed_sans: [other.example]"), context=ours) as page:
        page.web.write_text(tls(made, section))
        eventually(lambda: f"has no {missing} any more; send SIGHUP to open the page" in caplog.text)
        assert is_refused(page, ours)
        assert is_refused(page, trusting(made.ca))


def test_a_directory_name_is_no_name(tmp_path: Path, caplog: pytest.LogCaptureFixture, made: Certificates) -> None:
    """A certificate that has a directory name, too, counts by its other names, and nothing is said of it."""
    client = with_directory_name("sampler.example", tmp_path)
    for names, comes_in in (("sampler.example", True), ("other.example", False)):
        text = tls(made, f"{MUTUAL.replace('{0}/ca.pem', str(client))}, client_allowed_sans: [{names}]")
        ours = trusting(made.ca, cert=client)
        with door(tmp_path, text, context=ours) as page:
            assert is_refused(page, ours) is not comes_in
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == []


def test_who_was_let_in_goes_when_names_change(tmp_path: Path, made: Certificates) -> None:
    """A certificate that is let in no more ends the connections that it has opened, not only the next ones."""
    ours = trusting(made.ca, cert=made.client_cert, key=made.client_key)
    with contextlib.ExitStack() as stack:
        page = stack.enter_context(door(tmp_path, tls(made, MUTUAL), context=ours))
        kept = stack.enter_context(contextlib.closing(page.connect()))
        assert page.on(kept, "/-/healthy").status == 200
        assert kept.sock is not None
        page.web.write_text(tls(made, f"{MUTUAL}, client_allowed_sans: [other.example]"))
        kept.sock.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionError):
            assert kept.sock.recv(1) == b""
        assert is_refused(page, ours)


PROMETHEUS = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: good
  scheme: https
  tls_config:
    {{ca_file: {folder}/ca.pem, server_name: localhost, cert_file: {folder}/client.pem, key_file: {folder}/client.key}}
  basic_auth: {{username: prometheus, password: {password}}}
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
- job_name: wrong_password
  scheme: https
  tls_config:
    {{ca_file: {folder}/ca.pem, server_name: localhost, cert_file: {folder}/client.pem, key_file: {folder}/client.key}}
  basic_auth: {{username: prometheus, password: wrong}}
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
- job_name: no_certificate
  scheme: https
  tls_config: {{ca_file: {folder}/ca.pem, server_name: localhost}}
  basic_auth: {{username: prometheus, password: {password}}}
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@pytest.mark.servers
def test_prometheus_scrapes_over_mutual_tls(tmp_path: Path, made: Certificates) -> None:
    """Prometheus with certificate and password sees the pools; without one of the two it does not."""
    text = f"{tls(made, MUTUAL)}basic_auth_users: {{prometheus: '{HASH}'}}\n"
    with door(tmp_path, text, context=trusting(made.ca)) as page:
        settings = tmp_path / "prometheus.yml"
        settings.write_text(PROMETHEUS.format(folder=made.ca.parent, password=PASSWORD, port=page.port))
        port = free_port()
        address = f"http://127.0.0.1:{port}"
        command = (
            "prometheus", f"--config.file={settings}", f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        )  # fmt: skip
        with program(*command):
            eventually(lambda: ask(f"{address}/-/ready").status == 200, within=30)
            asked = functools.partial(query, address)
            eventually(lambda: asked("up") == {"good": 1.0, "wrong_password": 0.0, "no_certificate": 0.0}, within=30)
            assert asked("count by (job) (sqlalchemy_pool_info)").keys() == {"good"}


def query(address: str, expression: str) -> dict[str, float]:
    """Ask Prometheus; return the values by job."""
    answer = ask(f"{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    found = json.loads(answer.body)["data"]["result"]
    return {each["metric"]["job"]: float(each["value"][1]) for each in found}


def read_all(line: socket.socket) -> bytes:
    try:
        return b"".join(iter(lambda: line.recv(65536), b""))
    except ConnectionError:
        return b""
