"""The section tls of a server: what a good one becomes, and what is said of files that do not fit."""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certificates import Certificates, make_certificates
from config_files import PLANTED, faults, write
from exporter.config import load
from exporter.tls import Tls, authorities, context

START = "servers:\n  orders:\n    url: {url}\n    tls: "
MYSQL, POSTGRESQL = "mysql+pymysql://probe@db/", "postgresql+psycopg://probe@db/shop"
HOUR = timedelta(hours=1)
NO_CERTIFICATE = "holds no certificate in PEM form, or a broken one; it begins with -----BEGIN CERTIFICATE-----"
WANTED = "the path of a file in PEM form"


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    """Certificates beside the configuration."""
    return make_certificates(tmp_path)


def tls_of(folder: Path, section: str, *, url: str = MYSQL) -> Tls | None:
    return load(write(folder, START.format(url=url) + section)).servers[0].tls


def faults_of(folder: Path, section: str, *, url: str = MYSQL) -> list[str]:
    found = faults(folder, START.format(url=url) + section)
    return [fault.replace(f"{folder}/", "").replace("servers.orders.", "") for fault in found]


@pytest.mark.parametrize("url", [MYSQL, POSTGRESQL])
def test_everything_that_can_be_said(tmp_path: Path, files: Certificates, url: str) -> None:
    """Paths begin at the folder of the configuration, and arrive as they are."""
    section = "{ca: ca.pem, cert: client.pem, key: client.key, verify: ca}"
    assert tls_of(tmp_path, section, url=url) == Tls("ca", files.ca, files.client_cert, files.client_key)


@pytest.mark.parametrize("section", ["", "{}", "{verify: full}"])
def test_full_verification_is_the_default(tmp_path: Path, section: str) -> None:
    """An empty section asks for TLS all the same, with the authorities that this machine trusts."""
    assert tls_of(tmp_path, section) == Tls("full", authorities())


def test_nothing_is_asked_for_without_the_section(tmp_path: Path) -> None:
    """Without the section a server is reached as its URL says."""
    assert load(write(tmp_path, START.format(url=MYSQL).rpartition("    tls")[0])).servers[0].tls is None


def test_a_key_beside_its_certificate(tmp_path: Path, files: Certificates) -> None:
    """One file may hold both."""
    assert tls_of(tmp_path, "{ca: ca.pem, cert: both.pem}") == Tls(
        "full", files.ca, files.client_both, files.client_both
    )


def test_nothing_to_verify(tmp_path: Path) -> None:
    """Without verification no authority is needed."""
    assert tls_of(tmp_path, "{verify: none}") == Tls("none")


def test_a_machine_without_authorities(tmp_path: Path, files: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody is trusted, whom to trust must be said; SSL_CERT_FILE may say it too."""
    monkeypatch.setattr("exporter.shape.authorities", lambda: None)
    assert faults_of(tmp_path, "{}") == [
        "4:10: tls: needs ca: FILE, for this machine has no list of authorities to trust"
    ]
    monkeypatch.undo()
    monkeypatch.setenv("SSL_CERT_FILE", str(files.stranger))
    assert tls_of(tmp_path, "{}") == Tls("full", files.stranger)


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ("yes", "4:10: tls: must be a mapping of keys, not a text"),
        ("{cafile: ca.pem}", "4:11: tls.cafile: unknown key; known here are ca, cert, key, verify"),
        ("{certs: client.pem}", "4:11: tls.certs: unknown key; did you mean cert?"),
        ("{verify: ful}", "4:19: tls.verify: must be full, ca or none, not 'ful'; did you mean full?"),
        ("{verify: yes}", "4:19: tls.verify: must be full, ca or none, not 'yes'"),
        ("{verify: }", "4:18: tls.verify: is empty; write full, ca or none, or remove the key"),
        (
            "{verify: ca}",
            "4:19: tls.verify: ca needs the key ca: FILE; without it, any authority of the world would do",
        ),
        (
            "{verify: none, ca: ca.pem}",
            "4:29: tls.ca: is of no use with verify: none, which trusts every server; remove one of the two",
        ),
        ("{ca: }", f"4:14: tls.ca: is empty; write {WANTED}, or remove the key"),
        ("{ca: [ca.pem]}", f"4:15: tls.ca: must be {WANTED}, not a list"),
        ("{ca: !file ca.pem}", f"4:15: tls.ca: !file is read under password only; write {WANTED}"),
        (
            "{ca: absent.pem}",
            "4:15: tls.ca: cannot read absent.pem: No such file or directory; make the file readable to this process",
        ),
        ("{ca: folder}", "4:15: tls.ca: folder is no file; write the path of a file in PEM form"),
        ("{ca: pipe}", "4:15: tls.ca: pipe is no file; write the path of a file in PEM form"),
        ("{ca: /dev/zero}", "4:15: tls.ca: /dev/zero is no file; write the path of a file in PEM form"),
        (
            "{ca: large}",
            "4:15: tls.ca: large has 5000000 bytes, too many for certificates; write the path of another file",
        ),
        ("{ca: empty}", f"4:15: tls.ca: empty {NO_CERTIFICATE}"),
        ("{ca: client.key}", f"4:15: tls.ca: client.key {NO_CERTIFICATE}"),
        ("{ca: broken.pem}", f"4:15: tls.ca: broken.pem {NO_CERTIFICATE}"),
        ("{ca: revoked.pem}", f"4:15: tls.ca: revoked.pem {NO_CERTIFICATE}"),
        ("{cert: empty}", f"4:17: tls.cert: empty {NO_CERTIFICATE}"),
        ("{cert: client.pem}", "4:17: tls.cert: client.pem holds no private key; write key: FILE for it"),
        (
            "{key: client.key}",
            "4:16: tls.key: is of no use without its certificate; write cert: FILE, or remove the key",
        ),
        (
            "{cert: client.pem, key: server.key}",
            "4:34: tls.key: server.key is not the key of the certificate in client.pem; write the one it was made with",
        ),
        (
            "{cert: client.pem, key: ca.pem}",
            "4:34: tls.key: ca.pem holds no private key in PEM form; it begins with -----BEGIN PRIVATE KEY-----",
        ),
        (
            "{cert: client.pem, key: encrypted.key}",
            "4:34: tls.key: encrypted.key is encrypted; write the key without a passphrase, readable to nobody else",
        ),
    ],
)
@pytest.mark.usefixtures("files")
def test_fault_of_a_section(tmp_path: Path, section: str, fault: str) -> None:
    """Whatever would keep TLS from working is found before anything starts, at its line; nothing waits for input."""
    for name, content in {"empty": b"", "large": b"x" * 5_000_000}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "broken.pem").write_bytes((tmp_path / "ca.pem").read_bytes() * 2 + b"-----BEGIN CERTIFICATE-----\n~")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    key = serialization.load_pem_private_key((tmp_path / "client.key").read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(PLANTED.encode())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    (tmp_path / "encrypted.key").write_bytes(key.private_bytes(*form))
    (tmp_path / "revoked.pem").write_bytes(revocations())
    assert faults_of(tmp_path, section) == [fault]


def revocations() -> bytes:
    """Make a list of revoked certificates, which is signed like one and is none."""
    now = datetime.now(timezone.utc)
    made = x509.CertificateRevocationListBuilder().issuer_name(x509.Name([])).last_update(now).next_update(now + HOUR)
    return made.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        (
            f"{MYSQL}?ssl_ca=a&ssl_check_hostname=0",
            "says what ssl_ca and ssl_check_hostname in the url's query say too",
        ),
        (f"{POSTGRESQL}?sslmode=disable", "says what sslmode in the url's query says too"),
        (
            f"{POSTGRESQL}?sslmode=prefer&gssencmode=prefer",
            "says what gssencmode and sslmode in the url's query say too",
        ),
    ],
)
def test_the_url_may_not_say_it_too(tmp_path: Path, url: str, fault: str) -> None:
    """What stands in two places could be two things."""
    assert faults_of(tmp_path, "{}", url=url) == [f"4:10: tls: {fault}; remove it there"]


@pytest.mark.parametrize("query", ["host=/run/postgresql", "host=db&host=@abstract"])
def test_postgresql_has_no_tls_on_a_unix_socket(tmp_path: Path, query: str) -> None:
    """What libpq would pass over in silence is refused."""
    assert faults_of(tmp_path, "{}", url=f"postgresql://probe@/shop?{query}") == [
        "4:10: tls: PostgreSQL has no TLS on a Unix socket, which never leaves the machine; remove the section"
    ]


def test_what_is_no_contradiction(tmp_path: Path) -> None:
    """Options of the URL that say something else may stand beside the section, and MySQL has TLS on its socket."""
    assert tls_of(tmp_path, "{}", url=f"{POSTGRESQL}?ssl_min_protocol_version=TLSv1.3") is not None
    assert tls_of(tmp_path, "{}", url="mysql://probe@/?unix_socket=/run/mysqld.sock") is not None


def test_a_key_that_others_can_read(tmp_path: Path, files: Certificates) -> None:
    """PostgreSQL's library refuses such a key at every connect, so it is refused before the first."""
    files.client_key.chmod(0o644)
    files.client_both.chmod(0o604)
    tail = "is open to others than its owner, so libpq refuses it; chmod 600 it"
    pair, both = "{cert: client.pem, key: client.key}", "{cert: both.pem}"
    assert faults_of(tmp_path, pair, url=POSTGRESQL) == [f"4:34: tls.key: client.key {tail}"]
    assert faults_of(tmp_path, both, url=POSTGRESQL) == [f"4:17: tls.cert: both.pem {tail}"]
    assert tls_of(tmp_path, pair) is not None


def test_every_fault_at_once(tmp_path: Path) -> None:
    """A section's faults are listed along with all others, in the order of the file."""
    section = "\n      verify: ful\n      ca: absent\n      colour: red\n    interval: soon"
    assert [fault.split(":")[0] + fault.split(":")[2] for fault in faults_of(tmp_path, section)] == [
        "5 tls.verify",
        "6 tls.ca",
        "7 tls.colour",
        "8 interval",
    ]


def test_keys_of_the_section_elsewhere(tmp_path: Path) -> None:
    """A key of the section that stands one level too high is shown its place."""
    assert faults_of(tmp_path, "{}\n    verify: none") == [
        "5:5: verify: unknown key; verify belongs under servers.NAME.tls"
    ]


def test_contexts_are_kept_until_a_file_changes(tmp_path: Path, files: Certificates) -> None:
    """Reading certificates for each connection would be a waste, and keeping those that were renewed a fault."""
    tls = Tls("full", files.ca)
    assert context(tls) is context(tls)
    before = context(tls)
    renewed = tmp_path / "renewed.pem"
    renewed.write_bytes(files.stranger.read_bytes())
    renewed.replace(files.ca)
    assert context(tls) is not before
    assert context(tls).get_ca_certs() != before.get_ca_certs()


def test_the_examples_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/servers.md shows of a configuration is good, with the files that it names."""
    monkeypatch.setenv("DB_PASSWORD", PLANTED)
    (tmp_path / "certificates").mkdir()
    make_certificates(tmp_path / "certificates")
    docs = (Path(__file__).parent.parent / "docs" / "servers.md").read_text()
    first, second = re.findall(r"^```yaml\n(.*?)^```", docs, flags=re.DOTALL | re.MULTILINE)
    (orders,) = load(write(tmp_path, first)).servers
    assert orders.tls is not None
    assert orders.tls.cert == tmp_path / "certificates" / "client.pem"
    assert len(load(write(tmp_path, second)).servers) == 2
