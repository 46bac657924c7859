"""The configuration's addresses, URLs and passwords: what is taken, and the exact sentence for what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config_files import PLANTED, SERVER, faults, write
from exporter.config import load

URLS = "mysql+pymysql://USER@HOST:PORT/ or postgresql+psycopg://USER@HOST:PORT/DATABASE"
ADDRESS = "write HOST:PORT such as 127.0.0.1:10306, 0.0.0.0:10306 or '[::]:10306'"
PLAIN = "must not be written out here; write !env NAME or !file PATH"
SUPPORTED = "supported are mysql+pymysql, mariadb+pymysql, postgresql+psycopg"
HOLDS_PASSWORD = "holds a password; take it out, and write password: !env NAME under the url"
NO_OPTION = "in the url's query is no option of the driver"
UNUSABLE = "in the url's query has a value that the driver cannot use; write another"
NO_URL = f"is no database URL; write {URLS}"
ESCAPES = ", with @ / and spaces inside a part as %40 %2F %20"


@pytest.mark.parametrize(
    ("listen", "message"),
    [
        ("10306", f"'10306' is no address to listen on; {ADDRESS}"),
        ("':10306'", f"':10306' is no address to listen on; {ADDRESS}"),
        ("localhost", f"'localhost' is no address to listen on; {ADDRESS}"),
        ("localhost:http", f"'localhost:http' is no address to listen on; {ADDRESS}"),
        ("'::1:10306'", f"'::1:10306' is no address to listen on; {ADDRESS}"),
        ("'[::g]:10306'", f"'[::g]:10306' is no address to listen on; {ADDRESS}"),
        ("'[]:10306'", f"'[]:10306' is no address to listen on; {ADDRESS}"),
        ("256.0.0.1:10306", f"'256.0.0.1:10306' is no address to listen on; {ADDRESS}"),
        ("a b:10306", f"'a b:10306' is no address to listen on; {ADDRESS}"),
        ("http://localhost:10306", f"this text of 22 characters is no address to listen on; {ADDRESS}"),
        ("localhost:65536", f"'localhost:65536' has a port beyond 65535; {ADDRESS}"),
        (f"localhost:{'1' * 40}", f"'localhost:{'1' * 40}' has a port beyond 65535; {ADDRESS}"),
    ],
)
def test_fault_of_an_address(tmp_path: Path, listen: str, message: str) -> None:
    """An address to listen on needs a host that can be one, and a port that there is."""
    assert faults(tmp_path, f"web:\n  listen: {listen}\n{SERVER}") == [f"2:11: web.listen: {message}"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", f"is empty; write {URLS}, or remove the key"),
        ("localhost", NO_URL),
        ("mysql+pymysql://probe@db:port/", NO_URL),
        ("mysql+pymysql://probe @db/", NO_URL + ESCAPES),
        (f"mysql+pymysql://probe/x:{PLANTED}@db/", NO_URL + ESCAPES),
        (f"mysql+pymysql://probe:{PLANTED}@db@db/", NO_URL + ESCAPES),
        (f"mysql+pymysql://probe:{PLANTED}@db:port/", NO_URL),
        (f"mysql+pymysql://probe:{PLANTED}@db/", HOLDS_PASSWORD),
        (f"mysql+pymysql://probe:{PLANTED}/x?y@db/", HOLDS_PASSWORD),
        (f"mysql+pymysql://probe@db/?password={PLANTED}", HOLDS_PASSWORD),
        (f"mysql+pymysql://probe@db/?passwd={PLANTED}", HOLDS_PASSWORD),
        (
            "mysql+pymysql://probe@db:0/",
            "the port is not between 1 and 65535; write the server's, or none for the usual one",
        ),
        (
            "mysql+pymysql://probe@db:70000/",
            "the port is not between 1 and 65535; write the server's, or none for the usual one",
        ),
        (
            f"mysql://probe:{'8' * 8}/db",
            "the port is not between 1 and 65535; write the server's, or none for the usual one",
        ),
        (f"mysql://probe@db/?pwd={PLANTED}", HOLDS_PASSWORD),
        (f"mysql://probe@db/?bogus={PLANTED}", f"bogus {NO_OPTION}; remove it"),
        (f"mysql://probe@db/?charst={PLANTED}", f"charst {NO_OPTION}; did you mean charset?"),
        (f"mysql://probe@db/?x+{PLANTED}=1", f"something {NO_OPTION}; remove it"),
        (f"mysql://probe@db/?cursorclass={PLANTED}", f"cursorclass {NO_OPTION}; remove it"),
        (f"mysql://probe@db/?charset={PLANTED}", f"charset {UNUSABLE}"),
        (f"mariadb://probe@db/?connect_timeout={PLANTED}", f"connect_timeout {UNUSABLE}"),
        ("mysql://probe@db/?read_timeout=-1", f"read_timeout {UNUSABLE}"),
        (
            f"postgresql://probe@db/?applicationname={PLANTED}",
            f"applicationname {NO_OPTION}; did you mean application_name?",
        ),
        (f"postgresql://probe@db/?autocommit={PLANTED}", f"autocommit {NO_OPTION}; remove it"),
        ("mysql+pymysql://probe@/", f"names no host; write {URLS}, or ?unix_socket=PATH (PostgreSQL: ?host=FOLDER)"),
        ("sqlite:///file.db", f"'sqlite' is not supported (it is a file, and has no sessions to look at); {SUPPORTED}"),
        ("oracle://probe@db/", f"'oracle' is not supported; {SUPPORTED}"),
        ("postgres://probe@db/", f"'postgres' is not supported; did you mean postgresql? S{SUPPORTED[1:]}"),
        (
            "mysql+mysqldb://probe@db/",
            "'mysql+mysqldb' is not supported; the driver that is used here is mysql+pymysql",
        ),
        (
            "postgresql+psycopg2://probe@db/",
            "'postgresql+psycopg2' is not supported; the driver that is used here is postgresql+psycopg",
        ),
    ],
)
def test_fault_of_a_url(tmp_path: Path, url: str, message: str) -> None:
    """A URL is refused for what it lacks, names or gives away; the password in it is never repeated."""
    found = faults(tmp_path, f'servers:\n  orders:\n    url: "{url}"\n')
    assert found == [f"3:10: servers.orders.url: {message}"]


def test_missing_url_stands_at_its_server(tmp_path: Path) -> None:
    """A required key that is missing is a fault at the line of what it is missing from."""
    assert faults(tmp_path, "servers:\n  orders: {}\n  billing:\n") == [
        f"2:3: servers.orders.url: is missing; write url: {URLS}",
        f"3:3: servers.billing.url: is missing; write url: {URLS}",
    ]


@pytest.mark.parametrize(
    ("password", "message"),
    [
        (PLANTED, PLAIN),
        (f"!{PLANTED}", PLAIN),
        (f"!{PLANTED} x", PLAIN),
        (f"[{PLANTED}]", PLAIN),
        (f"{{{PLANTED}: x}}", PLAIN),
        (f"*{PLANTED}", "aliases are not read here; a text that begins with * needs quotes"),
        (f"!{PLANTED} []", "a tag (!...) may stand only before a text; remove it"),
        ("''", PLAIN),
        ("~", "is empty; write !env NAME or !file PATH, or remove the key"),
        ("!env", "!env needs the name of an environment variable, such as !env DB_PASSWORD"),
        ("!env $DB", "!env needs the name of an environment variable, such as !env DB_PASSWORD"),
        (f"!env {PLANTED}-1", "!env needs the name of an environment variable, such as !env DB_PASSWORD"),
        ("!env LATIN", "the environment variable LATIN is not UTF-8; set it to the password in UTF-8"),
        ("!env ABSENT", "the environment variable ABSENT is not set; set it to the password"),
        ("!env EMPTY", "the environment variable EMPTY is empty; set it to the password"),
        ("!file", "!file needs a path, such as !file /run/secrets/db_password"),
        ("!file absent", "cannot read {0}/absent: No such file or directory; make the file readable to this process"),
        ("!file .", "cannot read {0}: Is a directory; make the file readable to this process"),
        ("!file pipe", "{0}/pipe is no file; write the path of one"),
        ("!file huge", "{0}/huge has more than 1048576 bytes; write another path"),
        ("!file empty", "{0}/empty is empty; write the password into it"),
        ("!file binary", "{0}/binary is not UTF-8; a password file holds one line of text"),
        ("!file lines", "{0}/lines holds more than one line of 4096 bytes; it should hold the password only"),
        ("!file /dev/zero", "/dev/zero is no file; write the path of one"),
    ],
)
def test_fault_of_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, message: str) -> None:
    """A password comes from the environment or a file that holds one; written out, it is refused and not repeated."""
    monkeypatch.delenv("ABSENT", raising=False)
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "huge").write_bytes(b"x" * 1_100_000)
    monkeypatch.setenv("LATIN", os.fsdecode(b"p\xe4ssword"))
    os.mkfifo(tmp_path / "pipe")
    for name, content in {"empty": b"\n", "binary": b"\xff", "lines": f"{PLANTED}\nsecond\n".encode()}.items():
        (tmp_path / name).write_bytes(content)
    assert faults(tmp_path, SERVER + f"password: {password}") == [
        f"4:15: servers.orders.password: {message.format(tmp_path)}"
    ]


@pytest.mark.parametrize(
    ("url", "drivername", "dialect"),
    [
        ("mysql://probe@db", "mysql+pymysql", "mysql"),
        ("mysql+pymysql://probe@db", "mysql+pymysql", "mysql"),
        ("mariadb://probe@db", "mariadb+pymysql", "mysql"),
        ("mariadb+pymysql://probe@db", "mariadb+pymysql", "mysql"),
        ("postgresql://probe@db", "postgresql+psycopg", "postgresql"),
        ("postgresql+psycopg://probe@db", "postgresql+psycopg", "postgresql"),
        ("mysql://probe@/?unix_socket=/run/mysqld.sock", "mysql+pymysql", "mysql"),
        ("postgresql://probe@/shop?host=/run/postgresql", "postgresql+psycopg", "postgresql"),
    ],
)
def test_urls_get_our_driver(tmp_path: Path, url: str, drivername: str, dialect: str) -> None:
    """A URL without a driver gets the one that we bring along."""
    (only,) = load(write(tmp_path, f"servers: {{orders: {{url: '{url}'}}}}")).servers
    assert (only.url.drivername, only.dialect) == (drivername, dialect)


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("0.0.0.0:0", ("0.0.0.0", 0)),  # noqa: S104  every address, as a user may ask for
        ("localhost:65535", ("localhost", 65535)),
        ("pool-exporter.monitoring.svc:1", ("pool-exporter.monitoring.svc", 1)),
        ("'[::]:10306'", ("::", 10306)),
    ],
)
def test_addresses(tmp_path: Path, listen: str, expected: tuple[str, int]) -> None:
    """Names, both kinds of addresses and any port can be listened on."""
    config = load(write(tmp_path, f"web: {{listen: {listen}}}\n{SERVER}"))
    assert (config.web.host, config.web.port) == expected


@pytest.mark.parametrize(
    "url",
    [
        "mysql://probe@db/?charset=utf8mb4&connect_timeout=3&program_name=me&init_command=SET+x&plugin=pool_exporter",
        "mysql://probe@/?unix_socket=/run/mysqld.sock",
        "mysql://probe@db/?ssl_ca=ca.pem&ssl_verify_cert=true&ssl_disabled=false",
        "mysql://probe@db/?read_default_file=my.cnf&local_infile=0&client_flag=1&max_allowed_packet=1000",
        "postgresql://probe@db/?sslmode=verify-full&options=-c%20a.b%3D1&connect_timeout=3&target_session_attrs=any",
        "postgresql://probe@/postgres?host=/run&port=5433&plugin=pool_exporter",
    ],
)
def test_options_that_drivers_know(tmp_path: Path, url: str) -> None:
    """What a driver takes from a URL's query, it may hold here too."""
    (server,) = load(write(tmp_path, f"servers: {{orders: {{url: '{url}'}}}}")).servers
    assert server.url.query
