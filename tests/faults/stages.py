"""The stage of a fault: a server behind a proxy, an application and its bare twin under the same load, and a sidecar.

What must hold after every fault is in here.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from sqlalchemy.engine import URL

from pages import Page
from players import Application, Exporter, Footprint, Role, application, sidecar
from proxies import Proxy, proxied
from sites import Site, sessions_of
from waiting import eventually

COUNTS = {
    "checkouts_total": "checkouts",
    "checkins_total": "checkins",
    "connects_total": "made",
    "connect_errors_total": "refused",
}
"""What the page calls that which the applications count for themselves."""

SCRAPERS = 2
"""How many look at the page at once: the test, and whoever scrapes it all the time."""

PATIENCE = 60.0
"""Seconds that anything may take to be as it was, on a machine that does much else; usually it is one."""

LOOKS, BETWEEN_LOOKS = 8, 0.1  # seconds

POOL = {"pool_size": 3, "max_overflow": 2, "pool_timeout": 30}


@dataclass(frozen=True)
class Driver:
    """How an application connects: its driver, and what it has set against servers that do not answer."""

    name: str
    site: str
    arguments: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    threads_kept: int = 0

    def url(self, site: Site, account: str, **changes: Any) -> URL:
        """Return the URL of an application's engine."""
        return site.url(account, **self.query).set(drivername=self.name, **changes)

    @property
    def engine(self) -> Mapping[str, Any]:
        """Return the options of create_engine."""
        return {**POOL, **self.options, "connect_args": dict(self.arguments)}


DRIVERS = {
    "pymysql": Driver(
        "mysql+pymysql", "mariadb_site", {"connect_timeout": 5, "read_timeout": 3, "write_timeout": 3}
    ),
    "psycopg": Driver("postgresql+psycopg", "postgresql_site", {"connect_timeout": 5}, {"pool_pre_ping": True}),
    # One for each connection of its pool that may be made at once.
    "asyncpg": Driver("postgresql+asyncpg", "postgresql_site", {"timeout": 5, "command_timeout": 3}, threads_kept=5),
}  # fmt: skip


@dataclass
class Stage:
    """All that plays. ``shop`` is instrumented, ``twin`` is not; both run the same load.

    ``begin_shop`` and ``begin_sidecar`` run another one, for those that a fault has ended. ``threads_kept`` is how many
    threads asyncio may keep in each application.
    """

    site: Site
    proxy: Proxy
    box: Path
    begin_shop: Callable[[], Application]
    begin_sidecar: Callable[[], Exporter]
    shop: Application
    twin: Application
    sidecar: Exporter
    page: Page
    told_before: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS.values(), 0))
    died_open: float = 0.0
    steady: list[Footprint] = field(default_factory=list)
    threads_kept: int = 0

    @property
    def both(self) -> tuple[Application, Application]:
        """Return the two applications."""
        return self.shop, self.twin

    def enter(self, phase: str) -> None:
        """Let both applications begin a phase."""
        for each in self.both:
            each.enter(phase)

    def go(self) -> None:
        """Let both loads go on."""
        for each in self.both:
            each.tell("go")

    def pause(self) -> None:
        """Let both loads stand still, when every use has ended."""
        for each in self.both:
            each.tell("pause")

    def wait_for(self, phase: str, *, uses: int = 0, good: int = 0) -> None:
        """Wait until both applications have used their pools so often in a phase, and so often with success."""
        for each in self.both:
            agree(lambda each=each: _enough(each.outcomes(phase), uses, good), expected=True)  # type: ignore[misc]

    def warm_up(self) -> None:
        """Let everything be used until it is as it stays, and note what each process holds then."""
        self.go()
        self.wait_for("before", good=40)
        self.pause()
        self.check()
        self.steady = self.at_rest()
        for each in self.both:
            assert each.outcomes("before").keys() == {"ok"}

    def restart_shop(self) -> None:
        """Run another application in the place of the one that has ended; what that one had counted stays."""
        self.told_before = self.truth()
        self.died_open = self._counted_open()  # nobody was left to count their end
        self.shop = self.begin_shop()
        self.shop.tell("told")

    def restart_sidecar(self) -> None:
        """Run another sidecar in the place of the one that has ended."""
        self.sidecar = self.begin_sidecar()
        self.page.registry = self.sidecar.page().registry

    def up(self) -> bool:
        """Tell whether the page says that the server is up."""
        return self.number("sqlalchemy_server_up", server="orders") == 1

    def number(self, name: str, **labels: str) -> float | None:
        """Return one number of the page, whatever it is about."""
        return self.page.registry.get_sample_value(name, labels)

    def truth(self) -> dict[str, int]:
        """Return what the page must show: what the application counted beside its pool, all its lives together."""
        return {tally: self.shop.told[tally] + before for tally, before in self.told_before.items()}

    def shown(self) -> dict[str, float | None]:
        """Return what the page does show."""
        return {tally: self.page.find(name) for name, tally in COUNTS.items()}

    def check(self) -> None:
        """Hold the page against what the application, and what the server, count; both loads stand still."""
        agree(self.up, expected=True)
        agree(self.shown, self.truth())
        agree(self._apart, (0, 0, 0, 1))
        assert self.page.find("waiting") == 0
        for each in self.both:
            assert each.told["ours"] == []
            assert each.told["checkouts"] == each.told["checkins"]

    def footprints(self) -> list[Footprint]:
        """Return what each process holds, besides its connections to the server."""
        players = (*self.both, self.sidecar)
        return [each.footprint(connections=len(sessions_of(self.site, each.account))) for each in players]

    def at_rest(self) -> list[Footprint]:
        """Return what each process holds when it does nothing: a letter that is just being written is no open file."""
        looks = []
        for _ in range(LOOKS):
            looks.append(self.footprints())
            time.sleep(BETWEEN_LOOKS)
        return [replace(each[-1], files=min(look.files for look in each)) for each in zip(*looks, strict=True)]

    def nothing_is_left(self) -> None:
        """Wait until every process holds what it held before the fault."""
        agree(self._excess, [(0, 0, 0)] * len(self.steady))

    def _excess(self) -> list[tuple[int, int, int]]:
        """Return how many threads, files and children each process has more than in the beginning."""
        # Names are looked up in threads that asyncio keeps, as many as are looked up at once, in the twin too. The page
        # is made in a thread for each of those who ask at once, which its server keeps for a while.
        spare = (self.threads_kept, self.threads_kept, SCRAPERS - 1)
        pairs = zip(self.footprints(), self.steady, spare, strict=True)
        return [
            (max(now.threads - before.threads - more, 0), now.files - before.files, now.children - before.children)
            for now, before, more in pairs
        ]

    def _apart(self) -> tuple[float, float, float, float]:
        """Return how far pool, counters and server are apart, how many are in use, and the sampler's sessions."""
        idle, used = self.page.connections()
        counted = self._counted_open() - self.died_open
        on_server = len(sessions_of(self.site, self.shop.account))
        samplers = len(sessions_of(self.site, self.sidecar.account))
        return (idle or 0) - on_server, counted - on_server, used or 0, samplers

    def _counted_open(self) -> float:
        """Return how many connections were opened and not closed, by the page's counters."""
        return self.page.value("connects_total") - sum(self.page.by("closes_total", "reason").values())


def agree(look: Callable[[], object], expected: object) -> None:
    """Wait until a look gives what is expected; where it does not, show how the two differ."""
    with contextlib.suppress(AssertionError):
        eventually(lambda: look() == expected, within=PATIENCE, every=0.1)
    found = look()
    if found != expected:
        raise AssertionError(f"still {found!r} after {PATIENCE:g} s, and not {expected!r}")


def _enough(outcomes: Counter[str], uses: int, good: int) -> bool:
    return sum(outcomes.values()) >= uses and outcomes["ok"] >= good


Begin = Callable[[str], Sequence[str]]
"""Gives what the command of a program begins with: shop, twin or sidecar."""


@dataclass(frozen=True)
class Place:
    """Where the programs of a stage run.

    ``host`` is what they call the server's machine, ``root`` where the root of their files lies for us.
    """

    begin: Begin = lambda _role: ()
    host: str = "127.0.0.1"
    root: Path = Path("/")


HERE = Place()


@contextlib.contextmanager
def staged(site: Site, driver: Driver, folder: Path, place: Place = HERE) -> Iterator[Stage]:
    """Set the stage, everything in health; at the end all programs are gone."""
    accounts = [site.new_account(), site.new_account(), site.sampler_account()]
    box, numbers = folder / "box", itertools.count()
    box.mkdir(exist_ok=True)
    with ExitStack() as stack:
        proxy = stack.enter_context(proxied(("127.0.0.1", cast("int", site.database.url.port))))

        def role(name: str, account: str, url: URL) -> Role:
            log = folder / f"{name}{next(numbers)}.log"
            return Role(account, url.set(host=place.host, port=proxy.port), log, place.begin(name))

        def play(name: str, account: str, box: Path | None) -> Application:
            who = role(name, account, driver.url(site, account))
            return stack.enter_context(application(who, options=driver.engine, box=box))

        def watch() -> Exporter:
            return stack.enter_context(sidecar(role("sidecar", accounts[2], site.url(accounts[2])), box=box))

        def shop() -> Application:
            return play("shop", accounts[0], box)

        first, seen = watch(), place.root / box.relative_to("/")
        played = shop(), play("twin", accounts[1], None), first
        stage = Stage(site, proxy, seen, shop, watch, *played, first.page())
        stage.threads_kept = driver.threads_kept
        stage.warm_up()
        yield stage
