"""The web configuration, held against promtool: its no is our no, and its yes ours or refused in so many words."""

from __future__ import annotations

import functools
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certificates import Certificates, make_certificates
from config_files import PLANTED, SERVER, faults, write
from exporter.config import load
from exporter.web_file import Rate, WebFileError, read
from exporter.yaml_nodes import Fault

HASH = "$2y$04$YoQP3jdJODizXkY7mBtE6OpW4UayHPuFtmkG.xw4Kjvr7BqH6FcNW"
"""A cheap one, of PLANTED."""

NO_HASH = "is no bcrypt hash such as htpasswd -nBC 10 makes ($2y$10$ and 53 characters); others are not supported here"
NO_HTTP2 = "HTTP/2 is not supported here; write false, or remove the key: Prometheus takes HTTP/1.1 as well"
UNREADABLE = "No such file or directory; make the file readable to this process"

TAKEN_APART = ("not supported here", "not read here")
"""What a refusal says of something that promtool takes."""


@dataclass(frozen=True)
class Files:
    """A folder with certificates, and a web configuration that names them."""

    folder: Path
    certificates: Certificates

    def write(self, text: str) -> Path:
        path = self.folder / "web.yml"
        path.write_text(text)
        return path

    def refusals(self, text: str) -> list[str]:
        """Return the faults found, each as it is printed; none when it is taken."""
        found = faults_of(self.write(text))
        assert {each.file for each in found} <= {str(self.folder / "web.yml")}
        return [str(each) for each in found]

    def promtool_takes(self, text: str) -> bool:
        command = ("promtool", "check", "web-config", str(self.write(text)))
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def faults_of(path: Path) -> tuple[Fault, ...]:
    try:
        read(path)
    except WebFileError as error:
        return error.faults
    return ()


@pytest.fixture(scope="module")
def files() -> Iterator[Files]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates = make_certificates(folder)
        (folder / "empty.pem").touch()
        (folder / "garbage.pem").write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
        yield Files(folder, certificates)


@functools.cache
def knows(text: str) -> bool:
    """Tell whether this promtool is new enough for a key."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "web.yml"
        path.write_text(text)
        return (
            subprocess.run(("promtool", "check", "web-config", path), capture_output=True, check=False).returncode == 0
        )


TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key"
GOOD = [
    "",
    "# nothing\n",
    "{}",
    "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n",
    "tls_server_config: {cert_file: '', client_auth_type: ''}",
    f"{TLS}}}",
    f"{TLS}, client_auth_type: RequestClientCert}}",
    f"{TLS}, client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem}}",
    f"{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}}",
    f"{TLS}, client_auth_type: NoClientCert}}",
    f"{TLS}, min_version: TLS13, max_version: TLS13}}",
    f"{TLS}, min_version: TLS12, prefer_server_cipher_suites: no}}",
    f"{TLS}, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA]}}",
    f"{TLS}, cipher_suites: [TLS_AES_128_GCM_SHA256]}}",
    f"{TLS}, curve_preferences: [CurveP256]}}",
    f"{TLS}, curve_preferences: []}}",
    f"{TLS}, min_version: ~}}",
    f"basic_auth_users: {{prometheus: {HASH}, 7: {HASH}, yes: {HASH}}}",
    "http_server_config: {http2: false, headers: {X-Frame-Options: deny, X-Content-Type-Options: nosniff}}",
    "http_server_config: {http2: Off}",
    "http_server_config: {headers: {Strict-Transport-Security: max-age=1, X-XSS-Protection: ''}}",
    "http_server_config: {headers: {Content-Security-Policy: }}",
]
BAD = [
    "tls_server_config",
    "[]",
    "tls_server_config: []",
    "tls_server_config: {cert_file: server.pem}",
    "tls_server_config: {key_file: server.key}",
    "tls_server_config: {client_ca_file: ca.pem}",
    "tls_server_config: {client_auth_type: RequireAndVerifyClientCert}",
    "tls_server_config: {cert_file: missing.pem, key_file: server.key}",
    "tls_server_config: {cert_file: server.pem, key_file: client.key}",
    "tls_server_config: {cert_file: server.key, key_file: server.pem}",
    "tls_server_config: {cert_file: garbage.pem, key_file: server.key}",
    "tls_server_config: {cert_file: server.pem, key_file: empty.pem}",
    "tls_server_config: {min_version: TLS14}",
    "tls_server_config: {min_version: ''}",
    "tls_server_config: {cipher_suites: [ROT13]}",
    f"{TLS}, cipher_suites: TLS_AES_128_GCM_SHA256}}",
    "tls_server_config: {curve_preferences: [CurveP1]}",
    "tls_server_config: {prefer_server_cipher_suites: 'yes'}",
    "tls_server_config: {prefer_server_cipher_suites: 1}",
    f"{TLS}, client_ca_file: ca.pem}}",
    f"{TLS}, client_ca_file: missing.pem, client_auth_type: RequireAndVerifyClientCert}}",
    f"{TLS}, client_auth_type: Sometimes}}",
    f"{TLS}, cert_file: server.pem}}",
    f"{TLS}, colour: red}}",
    "basic_auth_users: {prometheus: secret}",
    "basic_auth_users: {prometheus: }",
    f"basic_auth_users: {{prometheus: [{HASH}]}}",
    f"basic_auth_users: [{HASH}]",
    f"basic_auth_users: {{prometheus: {HASH[:50]}}}",
    "basic_auth_users: {prometheus: $2y$03$YoQP3jdJODizXkY7mBtE6OpW4UayHPuFtmkG.xw4Kjvr7BqH6FcNW}",
    "basic_auth_users: {prometheus: $3y$10$YoQP3jdJODizXkY7mBtE6OpW4UayHPuFtmkG.xw4Kjvr7BqH6FcNW}",
    "http_server_config: {http2: 'false'}",
    "http_server_config: {http3: true}",
    "http_server_config: {headers: {X-Frame-Options: foo}}",
    "http_server_config: {headers: {X-Frame-Options: ''}}",
    "http_server_config: {headers: {Server: mine}}",
    "colour: red",
]
REFUSED = [
    "http_server_config: {http2: true}",
    "tls_server_config: {min_version: TLS13}",
    f"{TLS}, client_auth_type: RequireAnyClientCert}}",
    f"{TLS}, client_auth_type: RequireClientCert}}",
    f"{TLS}, client_auth_type: VerifyClientCertIfGiven}}",
    f"{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: empty.pem}}",
    f"{TLS}, min_version: TLS10}}",
    f"{TLS}, cipher_suites: [~]}}",
    f"{TLS}, max_version: TLS11}}",
    f"{TLS}, min_version: TLS13, max_version: TLS12}}",
    f"{TLS}, curve_preferences: [CurveP256, X25519]}}",
    f"{TLS}, max_version: TLS12, cipher_suites: [TLS_AES_128_GCM_SHA256]}}",
    "basic_auth_users: {prometheus: $2y$16$YoQP3jdJODizXkY7mBtE6OpW4UayHPuFtmkG.xw4Kjvr7BqH6FcNW}",
    "basic_auth_users: {prometheus: $2$10$YoQP3jdJODizXkY7mBtE6OpW4UayHPuFtmkG.xw4Kjvr7BqH6FcNWxx}",
    f"basic_auth_users: {{'': {HASH}}}",
    f"basic_auth_users: {{'a:b': {HASH}}}",
    f"basic_auth_users: {{a: &hash {HASH}, b: *hash}}",
    f"basic_auth_users: {{a: !!str {HASH}, b: !env {HASH}}}",
    'http_server_config: {headers: {Strict-Transport-Security: "max-age=1\\nSet-Cookie: a=b"}}',
]


@pytest.mark.servers
@pytest.mark.parametrize("text", GOOD)
def test_what_both_take(files: Files, text: str) -> None:
    """What promtool takes and we can do is taken."""
    assert files.promtool_takes(text)
    assert files.refusals(text) == []


@pytest.mark.servers
@pytest.mark.parametrize("text", BAD)
def test_what_both_reject(files: Files, text: str) -> None:
    """What promtool rejects is rejected, with its line."""
    assert not files.promtool_takes(text)
    assert files.refusals(text)


@pytest.mark.servers
@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_supported_is_said(files: Files, text: str) -> None:
    """What promtool takes and we cannot do, or will not, is refused in so many words."""
    assert files.promtool_takes(text)
    said = files.refusals(text)
    assert said
    assert any(words in each for each in said for words in TAKEN_APART)


FILES = st.sampled_from(["server.pem", "server.key", "client.pem", "ca.pem", "empty.pem", "missing.pem", "", None, 7])
ANY: st.SearchStrategy[object] = st.sampled_from(
    [None, "", "yes", True, False, 7, 1.5, "TLS12", [], {}, ["CurveP256"], [None], HASH, "x\ny"]
)
VERSIONS = st.sampled_from(["TLS10", "TLS11", "TLS12", "TLS13", "TLS14"])
SUITES = ["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA", "NONE"]
SECTION = {
    "cert_file": st.just("server.pem") | FILES,
    "key_file": st.just("server.key") | FILES,
    "client_ca_file": st.just("ca.pem") | FILES,
    "client_auth_type": st.sampled_from(
        ["NoClientCert", "RequestClientCert", "RequireAnyClientCert", "VerifyClientCertIfGiven", "Never"]
        + ["RequireAndVerifyClientCert"] * 3
    ) | ANY,
    "min_version": VERSIONS | ANY,
    "max_version": VERSIONS | ANY,
    "cipher_suites": st.lists(st.sampled_from(SUITES), max_size=3) | ANY,
    "curve_preferences": st.lists(st.sampled_from(["CurveP256", "X25519", "P1"]), max_size=2) | ANY,
    "prefer_server_cipher_suites": st.booleans() | ANY,
}  # fmt: skip
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "X-Frame-Options": st.sampled_from(["deny", "sameorigin", "no", "DENY"]) | ANY,
        "X-Content-Type-Options": st.sampled_from(["nosniff", "sniff"]) | ANY,
        "Strict-Transport-Security": st.text(max_size=8),
        "X-XSS-Protection": ANY,
        "Content-Security-Policy": ANY,
        "Server": ANY,
    },
)
USERS = st.dictionaries(
    st.sampled_from(["prometheus", "", "a:b", "7", "\u00e9"]),
    st.sampled_from([HASH, HASH.replace("$04$", "$10$"), HASH.replace("$04$", "$15$"), HASH[:-3], f"{HASH}..", "x", ""])
    | ANY,
    max_size=2,
)
DOCUMENTS = (
    st.fixed_dictionaries(
        {},
        optional={
            "tls_server_config": st.fixed_dictionaries({}, optional=SECTION) | ANY,
            "http_server_config": st.fixed_dictionaries(
                {}, optional={"http2": st.booleans() | ANY, "headers": HEADERS | ANY}
            )
            | ANY,
            "basic_auth_users": USERS | ANY,
            "colour": ANY,
        },
    )
    | ANY
)


@pytest.mark.servers
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(document=DOCUMENTS)
def test_promtool_is_the_oracle(files: Files, document: object) -> None:
    """Whatever the document, promtool's no is our no, and where its yes is our no we say that it is ours."""
    text = yaml.safe_dump(document)
    said = files.refusals(text)
    if not said:
        assert files.promtool_takes(text), text
    elif not any(words in each for each in said for words in TAKEN_APART):
        assert not files.promtool_takes(text), (text, said)


NEWER_GOOD = [
    "rate_limit: {interval: 1s, burst: 5}",
    "rate_limit: {interval: 0, burst: 0}",
    "rate_limit: {interval: 1500000000, burst: 1}",
    "rate_limit: {interval: 1h2m3.5s4ms, burst: 1}",
    f"{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem, client_allowed_sans: [a, '::1']}}",
    f"{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem, client_allowed_sans: []}}",
]
NEWER_BAD = [
    "rate_limit: {interval: soon, burst: 1}",
    "rate_limit: {interval: 1s, burst: many}",
    "rate_limit: {interval: 1s, colour: red}",
    f"{TLS}, client_allowed_sans: [a]}}",
    f"{TLS}, client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem, client_allowed_sans: [a]}}",
    "tls_server_config: {cert: nothing, key: nothing}",
    f"{TLS}, client_allowed_sans: {{a: b}}}}",
]


@pytest.mark.servers
@pytest.mark.parametrize(
    ("text", "good"), [*((each, True) for each in NEWER_GOOD), *((each, False) for each in NEWER_BAD)]
)
def test_what_only_newer_ones_know(files: Files, text: str, *, good: bool) -> None:
    """Keys that came to the format later are known here, and held against a promtool that knows them."""
    assert (files.refusals(text) == []) is good
    if knows("rate_limit: {interval: 1s, burst: 5}"):
        assert files.promtool_takes(text) is good


def test_a_long_duration_is_refused_at_once(files: Files) -> None:
    """One as long as a file may be costs no more than its length."""
    assert len(files.refusals(f"rate_limit: {{interval: {'1' * 500_000}x, burst: 1}}")) == 1


def test_what_is_read(files: Files) -> None:
    """Inline certificates and files, users, headers and a rate come out as they went in."""
    folder, indent = files.folder, "\n    "
    cert, key, ca = ((folder / name).read_text().strip() for name in ("server.pem", "server.key", "ca.pem"))
    path = files.write(
        f"tls_server_config:\n  cert: |{indent}{cert.replace(chr(10), indent)}\n"
        f"  key: |{indent}{key.replace(chr(10), indent)}\n  client_ca: |{indent}{ca.replace(chr(10), indent)}\n"
        "  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [prometheus.example]\n"
        f"  min_version: TLS13\nbasic_auth_users:\n  prometheus: {HASH}\n"
        "http_server_config: {headers: {Strict-Transport-Security: max-age=63072000}}\n"
        "rate_limit: {interval: 250ms, burst: 20}\n"
    )
    found = read(path)
    assert found.tls is not None
    assert (found.tls.client_auth, found.tls.names) == ("required", frozenset({"prometheus.example"}))
    assert found.tls.minimum is ssl.TLSVersion.TLSv1_3
    assert (found.users, found.rate) == ({"prometheus": HASH.encode()}, Rate(0.25, 20))
    assert found.headers == {"Strict-Transport-Security": "max-age=63072000"}
    assert found.files == (path,)
    assert key.splitlines()[1] not in repr(found)
    assert HASH not in repr(found)


def test_every_fault_at_once(tmp_path: Path) -> None:
    """All that is wrong is said with line and key, together with the faults of the configuration that leads there."""
    (tmp_path / "web.yml").write_text(
        f"basic_auth_users:\n  prometheus: {PLANTED}\nhttp_server_config:\n  http2: true\n  header: {{}}\n"
        "tls_server_config:\n  cert_file: none.pem\n"
    )
    text = f"web: {{listen: 127.0.0.1:0, config_file: web.yml, colour: red}}\n{SERVER}"
    found = faults(tmp_path, text)
    assert found == [
        "1:50: web.colour: unknown key; known here are listen, config_file, reload",
        f"2:15: basic_auth_users.prometheus: {NO_HASH}",
        f"4:10: http_server_config.http2: {NO_HTTP2}",
        "5:3: http_server_config.header: unknown key; did you mean headers?",
        "6:1: tls_server_config.key_file: is missing; TLS needs cert_file and key_file",
        f"7:14: tls_server_config.cert_file: cannot read {tmp_path}/none.pem: {UNREADABLE}",
    ]
    assert not any(PLANTED in each for each in found)


def test_what_stands_behind_a_colon_is_not_repeated(tmp_path: Path) -> None:
    """Without a blank after its colon, a hash becomes a part of a key, which then is in no message."""
    (tmp_path / "web.yml").write_text(f"\"basic_auth_users:{HASH}\": 1\nhttp_server_config: {{'headers:{HASH}': 1}}\n")
    said = "unknown key with a colon in it; write a blank after the colon"
    assert faults(tmp_path, f"web: {{config_file: web.yml}}\n{SERVER}") == [
        f"1:1: {said}",
        f"2:22: http_server_config: {said}",
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A web configuration that cannot be read is a fault of the key that names it; a huge one or a pipe is its own."""
    text = f"web: {{config_file: web.yml}}\n{SERVER}"
    assert faults(tmp_path, text) == [f"1:20: web.config_file: cannot read {tmp_path}/web.yml: {UNREADABLE}"]
    (tmp_path / "web.yml").write_bytes(b"#" * 1_100_000)
    assert faults(tmp_path, text) == ["1:1: has more than 1048576 bytes; write another path"]
    (tmp_path / "web.yml").unlink()
    os.mkfifo(tmp_path / "web.yml")
    assert faults(tmp_path, text) == ["1:1: is no file; write the path of one"]
    (tmp_path / "web.yml").unlink()
    (tmp_path / "web.yml").write_text("")
    assert load(write(tmp_path, text)).web.config_file == tmp_path / "web.yml"


def test_an_encrypted_key_is_refused(files: Files, tmp_path: Path) -> None:
    """A key with a passphrase is refused with a sentence, and nobody is asked for it."""
    locked = tmp_path / "locked.key"
    command = (
        "openssl",
        "pkey",
        "-in",
        files.certificates.server_key,
        "-aes256",
        "-passout",
        "pass:secret",
        "-out",
        locked,
    )
    subprocess.run(command, check=True, capture_output=True)
    shutil.copy(locked, files.folder / "locked.key")
    (said,) = files.refusals("tls_server_config: {cert_file: server.pem, key_file: locked.key}")
    assert "tls_server_config.key_file: is encrypted; write the key without a passphrase" in said


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_garbage_is_only_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever the bytes, they are read or refused with places, and nothing else comes out."""
    path = tmp_path_factory.getbasetemp() / "garbage.yml"
    path.write_bytes(content)
    assert all(each.line >= 1 and each.message for each in faults_of(path))
