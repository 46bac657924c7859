"""The soak itself: restarts and recycles while everybody works, and watches what it all takes."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampling_clocks import resident_megabytes
from soak_page import scraped, summary
from soak_stage import BARE, WATCHED, Plan, Server, Worker, sidecar, start_mariadb, start_postgresql

from exporter.demo.client import ask
from exporter.demo.page import Page, parse

ROUND = 12.0
"""Seconds, about, in which one server is restarted once, and half of the workers are recycled once."""

KINDS = {"threads": "mariadb", "asyncio": "postgresql"}
MODES = (WATCHED, BARE)
TASKS = 32  # of each of the two workers of an application
READY = 60.0  # seconds until every worker must have begun
SETTLED = 15.0  # seconds until the sidecar must have taken what ended workers had counted


@dataclass
class Watch:
    """Looks at one process from time to time."""

    pid: int
    megabytes: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def look(self) -> None:
        """Note what it takes now."""
        home = Path(f"/proc/{self.pid}")
        self.megabytes.append(resident_megabytes(self.pid))
        self.threads.append(len(list((home / "task").iterdir())))
        self.descriptors.append(len(list((home / "fd").iterdir())))

    def figures(self) -> dict[str, dict[str, float]]:
        """Return what it took after the first tenth of the looks, half-way, and at the end: medians of a tenth each."""
        parts = {"start": (0.1, 0.2), "half": (0.45, 0.55), "end": (0.9, 1.0)}
        taken: dict[str, Any] = {"megabytes": self.megabytes, "threads": self.threads, "descriptors": self.descriptors}
        return {
            name: {part: round(statistics.median(_part(values, *where)), 2) for part, where in parts.items()}
            for name, values in taken.items()
        }


class Soak:
    """Everything that runs, until ``ends`` is closed."""

    def __init__(self, folder: Path, ends: contextlib.ExitStack) -> None:
        directory = folder / "processes"
        directory.mkdir()
        starts = {"mariadb": start_mariadb, "postgresql": start_postgresql}
        self._servers = {name: Server(start, folder / name) for name, start in starts.items()}
        for server in self._servers.values():
            ends.callback(server.stop)
        self._sidecar = ends.enter_context(sidecar(folder, directory, self._servers))
        plans = [Plan(kind, TASKS, mode) for kind in KINDS for mode in MODES]
        self._staying = [self._worker(plan, folder, "staying", directory) for plan in plans]
        self._recycled = [self._worker(plan, folder, "recycled", directory) for plan in plans]
        ends.callback(self._stop)
        watched = {f"{each.plan.kind}, {each.plan.mode}": each.pid for each in self._staying}
        pids = {"sidecar": self._sidecar.pid, **watched}
        self._watches = {name: Watch(pid) for name, pid in pids.items()}
        self._recycles = 0

    def run(self, seconds: float, *, scrapers: int) -> dict[str, Any]:
        """Soak for so long, while so many scrape once a second each; return all figures."""
        rounds = max(round(seconds / ROUND), len(self._servers))
        self._wait_for_all()
        command = scraped(self._sidecar.page, count=scrapers, seconds=seconds, pause=1.0)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as scraping:
            windows = self._rounds(rounds, seconds / rounds)
            scrapes = json.loads(scraping.communicate()[0])
        watches = {name: watch.figures() for name, watch in self._watches.items()}
        drift = self._page().largest("pool_exporter_drift")
        self._stop()
        return {
            "seconds": seconds,
            "restarts": rounds,
            "recycles": self._recycles,
            "applications": {kind: {mode: self._done(kind, mode) for mode in MODES} for kind in KINDS},
            "windows": windows,
            "scrapes": summary([scrapes]),
            "processes": watches,
            "drift": drift,
            "counted": {kind: self._counted(kind) for kind in KINDS},
            "contained": self._page().total("pool_exporter_contained_errors_total"),
        }

    def _worker(self, plan: Plan, folder: Path, what: str, directory: Path) -> Worker:
        url = self._servers[KINDS[plan.kind]].application
        return Worker(plan, url, folder / f"{plan.kind}-{plan.mode}-{what}", directory)

    def _wait_for_all(self) -> None:
        """Return when every worker that stays is at work."""
        deadline = time.monotonic() + READY
        while not all(worker.done().get("requests") for worker in self._staying):
            if time.monotonic() > deadline:
                raise RuntimeError(f"not every worker has used its pool within {READY:g} s")
            for worker in self._staying:
                worker.check()
            time.sleep(0.2)

    def _rounds(self, rounds: int, seconds: float) -> dict[str, list[dict[str, int]]]:
        """Restart the servers in turns, one a round; return by kind the errors of each round that concerned it."""
        windows: dict[str, list[dict[str, int]]] = {kind: [] for kind in KINDS}
        began = time.monotonic()
        for number in range(rounds):
            kind = list(KINDS)[number % len(KINDS)]
            before, at = self._errors(kind), began + number * seconds
            self._watch_until(at + 0.2 * seconds)
            self._servers[KINDS[kind]].restart()
            self._watch_until(at + 0.7 * seconds)
            self._recycle()
            self._watch_until(at + seconds)
            windows[kind].append({mode: count - before[mode] for mode, count in self._errors(kind).items()})
        return windows

    def _watch_until(self, moment: float) -> None:
        while (left := moment - time.monotonic()) > 0:
            time.sleep(min(left, 1.0))
            for watch in self._watches.values():
                watch.look()
            for worker in (*self._staying, *self._recycled):
                worker.check()

    def _recycle(self) -> None:
        for worker in self._recycled:
            worker.recycle()
            self._recycles += 1

    def _errors(self, kind: str) -> dict[str, int]:
        return {mode: sum(self._done(kind, mode)["errors"].values()) for mode in MODES}

    def _done(self, kind: str, mode: str) -> dict[str, Any]:
        """Add up what the workers of one application have done."""
        total: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        ours: list[str] = []
        for worker in (*self._staying, *self._recycled):
            if (worker.plan.kind, worker.plan.mode) == (kind, mode):
                done = worker.done()
                errors.update(done["errors"])
                ours += done["ours"]
                total.update({name: done.get(name, 0) for name in ("requests", "checkouts")})
        return {**total, "errors": dict(errors.most_common()), "ours": ours}

    def _counted(self, kind: str) -> dict[str, float]:
        """Return how many checkouts the watched application has had, by its own count and by the sidecar's page."""
        pool, own = Plan(kind, TASKS, WATCHED).pool, self._done(kind, WATCHED)["checkouts"]
        shown = _eventually(lambda: self._page().total("sqlalchemy_pool_checkouts_total", pool=pool), own)
        return {"own": own, "shown": shown}

    def _page(self) -> Page:
        return parse(ask(self._sidecar.page, timeout=15.0).body)

    def _stop(self) -> None:
        for worker in (*self._staying, *self._recycled):
            worker.stop()


def _eventually(look: Callable[[], float | None], wanted: float) -> float:
    """Return what is there once it is what it should be, or when that takes too long."""
    deadline = time.monotonic() + SETTLED
    while (found := look() or 0.0) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _part(values: list[Any], first: float, last: float) -> list[Any]:
    count = len(values)
    return values[int(first * count) : max(int(last * count), int(first * count) + 1)]
