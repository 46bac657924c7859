"""An application of many processes on a real server, and the sidecar that adds them up: what tests of workers share."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from exporter.config import Config, ProcessesConfig, WebConfig
from exporter.demo.programs import process_tree
from exporter.sidecar import Sidecar
from pages import Page, scraped
from sites import Site
from waiting import eventually

POOL = "orders"
NOTHING: Mapping[str, str] = MappingProxyType({})
SIZE, OVERFLOW = 2, 3

SHOP = f"""
import os
from sqlalchemy import create_engine, text
import exporter

engine = create_engine(os.environ["APPLICATION_URL"], pool_size={SIZE}, max_overflow={OVERFLOW})
exporter.instrument(engine, name="{POOL}")
HIT = text(f"INSERT INTO {{os.environ['HITS']}} VALUES (1)")

def use():
    with engine.begin() as connection:
        connection.execute(HIT)
    return os.getpid()

if "USE_AT_IMPORT" in os.environ:  # as those do that make their tables there
    use()
    engine.dispose()

def wsgi(environ, start_response):
    body = str(use()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
"""An application: every checkout of its pool writes one row, so that the server knows the true number of them."""

ASGI = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from shop import use

asgi = Starlette(routes=[Route("/", lambda request: PlainTextResponse(str(use())))])
"""


@dataclass(frozen=True)
class Shop:
    """The application's folder, its table, and the sidecar's page."""

    site: Site
    account: str
    table: str
    folder: Path
    page: Page

    @property
    def box(self) -> Path:
        """Name the directory that the processes publish into."""
        return self.folder / "box"

    @property
    def socket(self) -> Path:
        """Name where its web server listens."""
        return self.folder / "socket"

    def environment(self, **more: str) -> dict[str, str]:
        """Return what its programs are started with: nothing of ours but POOL_EXPORTER_DIR."""
        url = self.site.url(self.account).render_as_string(hide_password=False)
        return {**os.environ, "APPLICATION_URL": url, "HITS": self.table, "POOL_EXPORTER_DIR": str(self.box), **more}

    def write(self, name: str, source: str) -> Path:
        """Put one more module into the application's folder."""
        path = self.folder / name
        path.write_text(source)
        return path

    @contextlib.contextmanager
    def running(
        self,
        *command: str,
        end: Callable[[subprocess.Popen[str]], None] = subprocess.Popen.terminate,
        environment: Mapping[str, str] = NOTHING,
    ) -> Iterator[subprocess.Popen[str]]:
        """Run a module of Python in the folder while the body runs; end it as ``end`` says."""
        with (self.folder / "log").open("a") as log:
            program = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env=self.environment(**environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        with program:
            try:
                yield program
                end(program)
                program.wait(30)
            finally:
                for pid in reversed(process_tree(program.pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def log(self) -> str:
        """Return all that the programs said on standard error."""
        return (self.folder / "log").read_text()

    def hits(self) -> int:
        """Return how many checkouts there really were, as the server knows it."""
        engine = create_engine(self.site.database.url.set(database="orders"), poolclass=NullPool)
        with engine.connect() as connection:
            return int(connection.scalar(text(f"SELECT count(*) FROM {self.table}")) or 0)

    def counted(self) -> float:
        """Return how many checkouts the sidecar shows."""
        return self.page.find("checkouts_total") or 0.0

    def wait_until_all_counted(self) -> None:
        """Wait until every checkout so far is on the page, and none twice."""
        hits = self.hits()
        eventually(lambda: self.counted() >= hits, every=0.1)
        counted = self.counted()
        assert counted == hits, (counted, hits, sorted(path.name for path in self.box.iterdir()))

    def processes(self, state: str = "live") -> float | None:
        """Return how many processes are in this state, as the sidecar shows it."""
        return self.page.find("processes", state=state)

    def ask(self, times: int) -> list[int]:
        """Send requests, several at once; return who answered each. A worker may end while its socket is queued on."""
        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(lambda _: eventually(self._answer, within=20) or 0, range(times)))

    def _answer(self) -> int | None:
        with socket.socket(socket.AF_UNIX) as line, contextlib.closing(HTTPConnection("shop")) as connection:
            try:
                line.settimeout(10)
                line.connect(str(self.socket))
                connection.sock = line
                connection.request("GET", "/", headers={"Connection": "close"})
                return int(connection.getresponse().read())
            except (OSError, HTTPException):  # nobody listens yet, or it ended just now; the server knows the truth
                return None

    def nothing_is_left_open(self) -> bool:
        """Tell whether the page shows no process and no connection any more."""
        live, silent = self.processes(), self.processes("silent")
        return not (live or silent or any(self.page.connections()) or self.page.find("connections_max"))


@contextlib.contextmanager
def open_shop(site: Site, folder: Path) -> Iterator[Shop]:
    """Set an application up, and scrape its sidecar all the time: no counter of the page may ever fall."""
    account = site.new_account()
    table = f"hits_{account}"
    admin = create_engine(site.database.url.set(database="orders"), poolclass=NullPool)
    with admin.begin() as connection:
        connection.execute(text(f"CREATE TABLE {table} (one int)"))
    page = Page(POOL)
    shop = Shop(site, account, table, folder, page)
    shop.box.mkdir()
    shop.write("shop.py", SHOP)
    shop.write("shop_asgi.py", ASGI)
    with sidecar_on(shop.box) as sidecar:
        page.registry = sidecar.registry
        with scraped(page, every=0.05):
            yield shop


@contextlib.contextmanager
def sidecar_on(box: Path, users: frozenset[int] | None = frozenset()) -> Iterator[Sidecar]:
    """Run a sidecar that reads ``box`` and samples no server."""
    processes = ProcessesConfig(directory=box, users=users)
    sidecar = Sidecar(Config(web=WebConfig("127.0.0.1", 0), processes=processes, leak_after=60.0, servers=()))
    sidecar.start()
    try:
        yield sidecar
    finally:
        assert sidecar.stop(within=10)


def children(program: subprocess.Popen[str]) -> Sequence[int]:
    """Return the processes that a program has started, and those that these have."""
    return process_tree(program.pid)[1:]
