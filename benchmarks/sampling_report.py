"""What the figures of `scripts/bench sampling` say: the table, and for each requirement whether it is kept."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

OURS = "ours"
# Milliseconds of a server's CPU time for one sample of 5000 sessions, and how often a peer's.
MOST = {"mariadb": 15.0, "mariadb-schema": 6.0, "mysql": 6.0, "postgresql": 25.0}
PEERS = {"mysqld_exporter": 1.0, "postgres_exporter": 1.5}
SCRAPE, FIND_IDS = 10.0, 1.5
REQUIRED_AT = "5000"

YARDSTICKS = {"mysqld_exporter 0.14": 14.4, "postgres_exporter 0.11": 12.6}
"""What the statements of Debian 12's exporters took for 5000 sessions where the milliseconds above were set, in
milliseconds of the server's CPU time. What they take in a run tells how much slower its machine is."""

_COLUMNS = ("sessions", "server CPU", "own CPU", "own CPU/scrape", "scrape", "RSS", "series")


@dataclass(frozen=True)
class Bound:
    """A figure, and what it may be at most. A goal that is missed is said, and fails nothing."""

    what: str
    value: float
    most: float
    is_goal: bool = False

    @property
    def kept(self) -> bool:
        """Tell whether the figure is within the bound."""
        return self.value <= self.most

    def __str__(self) -> str:
        verdict = "kept" if self.kept else "GOAL MISSED" if self.is_goal else "MISSED"
        return f"{verdict:<11} {self.what}: {self.value:.2f}, at most {self.most:.2f}"


def report(figures: Any) -> str:
    """Return a table for each server, and how the figures stand to the bounds."""
    tables = [table(server) for server in figures["servers"].values()]
    return "\n\n".join((_heading(figures), *tables, "\n".join(map(str, bounds(figures)))))


def bounds(figures: Any) -> list[Bound]:
    """Return all that is bounded, at the number of sessions for which it is."""
    return [bound for key, server in figures["servers"].items() for bound in _bounds(key, server)]


def _bounds(key: str, server: Any) -> Iterator[Bound]:
    at = server["sizes"].get(REQUIRED_AT)
    if at is None:
        return
    name, scrapes, sample = server["name"], at["scrapes"], at["sample"]
    over, slower = sample["server_cpu_over"], slowness(scrapes)
    cost = next((over[full] * there for full, there in _yardsticks(scrapes)), sample["server_cpu"])
    yield Bound(f"{name}: server CPU per sample, ms there", cost, MOST[key])
    for peer, factor in PEERS.items():
        for full in scrapes:
            if full.startswith(peer):
                yield Bound(f"{name}: server CPU per sample / {full}'s", over[full], factor)
    ids = sample["server_cpu"] - sample["server_cpu_without_ids"]
    yield Bound(f"{name}: server CPU to find 20 ids of pools, ms there", ids / slower, FIND_IDS)
    yield Bound(f"{name}: a scrape, ms there", scrapes[OURS]["scrape"] / slower, SCRAPE)
    yield Bound(f"{name}: server CPU per scrape, ms", scrapes[OURS]["server_cpu"], 0.1)
    for full, theirs in scrapes.items():
        if full != OURS:
            yield Bound(f"{name}: a scrape / {full}'s", scrapes[OURS]["scrape"] / theirs["scrape"], 1.0)
        if full.startswith("query-exporter"):
            yield Bound(f"{name}: our RSS / {full}'s", scrapes[OURS]["rss"] / theirs["rss"], 1.0, is_goal=True)
    if "connects" in at:
        alone, sampled = (at["connects"]["p99"][state] for state in ("alone", "sampled"))
        # The noise is what the middle half of the turns without sampling differ by among themselves.
        first, middle, third = statistics.quantiles(alone, n=4, method="inclusive") if alone[1:] else 3 * alone
        most = middle + third - first
        yield Bound(f"{name}: connect p99 while we sample, ms", statistics.median(sampled), most)


def slowness(scrapes: Any) -> float:
    """Return how much longer a statement takes here than where the milliseconds were set; 1 without a yardstick."""
    return next((float(scrapes[full]["server_cpu"]) / there for full, there in _yardsticks(scrapes)), 1.0)


def _yardsticks(scrapes: Any) -> Iterator[tuple[str, float]]:
    for full in scrapes:
        for yardstick, milliseconds in YARDSTICKS.items():
            if full.startswith(yardstick):
                yield full, milliseconds


def _heading(figures: Any) -> str:
    return (
        f"CPython {figures['python']}, {figures['cores']} cores. CPU and scrape in milliseconds, RSS in MB.\n"
        "The first two CPU columns: for a sample of ours, and for a scrape of the others, which ask the server then.\n"
        "Bounds: `ms there` are those of the machine that the bounds were set on, by the yardstick of the same run."
    )


def table(server: Any) -> str:
    """Return what one server and its exporters took, a line an exporter."""
    lines = [f"{server['name']} {server['version']}, {server['source']}", _line("", _COLUMNS)]
    for size, at in server["sizes"].items():
        sample = at["sample"]
        for name, of in at["scrapes"].items():
            cpu = (sample["server_cpu"], sample["own_cpu"]) if name == OURS else (of["server_cpu"], of["own_cpu"])
            values = [f"{value:.2f}" for value in (*cpu, of["own_cpu"], of["scrape"])]
            lines.append(_line(name, (size, *values, f"{of['rss']:.1f}", f"{of['series']:g}")))
        ids = sample["server_cpu"] - sample["server_cpu_without_ids"]
        lines.append(
            f"  20 ids among {size}: {ids:+.2f} ms of the server's CPU; a scrape of ours: "
            f"{at['scrapes'][OURS]['server_cpu']:.2f}"
        )
        if size == REQUIRED_AT:
            lines.append(
                f"  where the bounds in ms were set, the same took 1/{slowness(at['scrapes']):.2f} of the time"
            )
        if "connects" in at:
            lines.append(_connects_line(at["connects"]))
    return "\n".join(line.rstrip() for line in lines)


def _connects_line(connects: Any) -> str:
    turns = {name: " ".join(f"{value:.1f}" for value in values) for name, values in connects["p99"].items()}
    return f"  connect p99, ms, turn by turn: sampled at 1 Hz {turns['sampled']}; not sampled {turns['alone']}"


def _line(name: str, cells: tuple[str, ...]) -> str:
    return f"{name:<26}" + "".join(
        f"{cell:>{max(len(head), 9) + 2}}" for head, cell in zip(_COLUMNS, cells, strict=True)
    )
