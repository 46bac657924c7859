"""Starts the newest MySQL and MariaDB, which scripts/newest-servers has unpacked, each from its own root folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from exporter.demo.databases import MARIADB_ADMINISTRATOR, MARIADB_SETTINGS, NO_SETTINGS, Database, free_port, serving
from exporter.demo.programs import Program, run

# The name that MariaDB's has on the other sites.
SOCKET = "mariadb.sock"

MYSQL_SETTINGS = {
    "bind-address": "127.0.0.1",
    "skip-name-resolve": "ON",
    "skip-log-bin": "",
    "mysqlx": "OFF",
    "secure-file-priv": "NULL",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-buffer-pool-size": "16M",
    "innodb-redo-log-capacity": "8M",
    "innodb-use-native-aio": "OFF",
}
MYSQL_ADMINISTRATOR = """\
CREATE USER IF NOT EXISTS administrator@'%' IDENTIFIED BY '{password}';
GRANT ALL ON *.* TO administrator@'%' WITH GRANT OPTION;
"""


@dataclass(frozen=True)
class Newest:
    """A kind of server that is started from a root folder of its own: what its data is made with, and how it is run."""

    name: str
    program: str
    install: tuple[str, ...]
    settings: Mapping[str, str]
    administrator: str

    @property
    def root(self) -> Path:
        """Name the folder that scripts/newest-servers makes for it."""
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        kept = os.environ.get("POOL_EXPORTER_NEWEST") or caches / "sqlalchemy-pool-exporter" / "newest"
        return Path(kept) / self.name

    def missing(self) -> str | None:
        """Tell why it cannot be started here; None when it can."""
        if os.geteuid() != 0:
            return "needs root, for chroot"
        if not (self.root / "usr/sbin" / self.program).exists():
            return f"there is no {self.root}; make it with scripts/newest-servers"
        return None


MYSQL = Newest(
    name="mysql",
    program="mysqld",
    install=("mysqld", "--no-defaults", "--user=root", "--initialize-insecure", "--innodb-use-native-aio=OFF"),
    settings=MYSQL_SETTINGS,
    administrator=MYSQL_ADMINISTRATOR,
)
MARIADB = Newest(
    name="mariadb",
    program="mariadbd",
    install=(
        *("mariadb-install-db", "--no-defaults", "--user=root", "--skip-test-db", "--force"),
        *(f"--{name}={MARIADB_SETTINGS[name]}" for name in ("innodb-log-file-size", "innodb-use-native-aio")),
    ),
    settings=MARIADB_SETTINGS,
    administrator=MARIADB_ADMINISTRATOR,
)


@contextlib.contextmanager
def newest(kind: Newest, *, settings: Mapping[str, str] = NO_SETTINGS, port: int | None = None) -> Iterator[Database]:
    """Run a server of ``kind`` while the body runs; its data is made anew, and removed at the end."""
    port = port or free_port()
    password = secrets.token_hex(16)
    with _folder(kind) as folder:
        inside = Path("/") / folder.relative_to(kind.root)
        run(["chroot", kind.root, *kind.install, f"--datadir={inside / 'data'}", f"--tmpdir={inside}"], folder)
        (folder / "administrator.sql").write_text(kind.administrator.format(password=password))
        files = {"datadir": "data", "socket": SOCKET, "pid-file": "server.pid", "init-file": "administrator.sql"}
        places = {name: str(inside / file) for name, file in files.items()} | {"tmpdir": str(inside), "port": str(port)}
        chosen = {**places, **kind.settings, **settings}
        options = [f"--{name}={value}" if value else f"--{name}" for name, value in chosen.items()]
        # chroot becomes the server: its pid is the server's.
        command: list[str | Path] = ["chroot", kind.root, kind.program, "--no-defaults", "--user=root", *options]
        program = Program(command, folder, stop=signal.SIGTERM, orphaned=signal.SIGKILL)
        with serving(program, URL.create("mysql+pymysql", "administrator", password, "127.0.0.1", port)) as up:
            yield up


@contextlib.contextmanager
def _folder(kind: Newest) -> Iterator[Path]:
    """Give a folder that the server can see from its root, and sweep up what runs that were killed have left there."""
    for left in (kind.root / "srv").iterdir():
        if not Path("/proc", left.name.partition("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=kind.root / "srv") as name:
        yield Path(name)
