"""What the figures of `scripts/bench soak` say: the tables, and for each requirement whether it is kept."""

from __future__ import annotations

import itertools
import math
import operator
import random
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

OURS, PEER = "ours", "start_http_server"
WATCHED, BARE = "watched", "bare"
FLAT = 1.02
"""How much more memory may be taken at the end than half-way. Where the bare application grows, the watched one may."""

NAMES = {"threads": "64 threads, MariaDB", "asyncio": "64 tasks, PostgreSQL"}
FORMS = {"gzip": "gzip, as Prometheus asks", "plain": "plain"}
CHANCE = 0.01
"""Of the runs in which watching costs nothing, so many are beyond the noise all the same."""

_MOST_ROUNDS = 16  # of which every way to swap is tried; of more, as many as these have

LEAST_NOISE = 0.02
"""Of the bare application's errors: so much is no difference, however even the rounds were."""


@dataclass(frozen=True)
class Bound:
    """A figure, and what it may be at most, or must be at least."""

    what: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Tell whether the figure is within the bound."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def __str__(self) -> str:
        verdict, sense = "kept" if self.kept else "MISSED", "at least" if self.at_least else "at most"
        return f"{verdict:<6}  {self.what}: {self.value:.2f}, {sense} {self.limit:.2f}"


def report(figures: Any) -> str:
    """Return the tables, and how the figures stand to what is required."""
    page, soak = figures["page"], figures["soak"]
    parts = (_heading(figures), _page(page), _applications(soak, page["scrapers"]), _processes(soak))
    return "\n\n".join((*parts, "\n".join(map(str, bounds(figures)))))


def bounds(figures: Any) -> list[Bound]:
    """Return all that is required."""
    return [*_of_the_page(figures["page"]), *_of_the_soak(figures["soak"])]


def _of_the_page(page: Any) -> Iterator[Bound]:
    yield Bound("series of start_http_server / ours", page["series"][PEER] / page["series"][OURS], 1.0)
    for form, seen in page["forms"].items():
        ours, peer = seen[OURS], seen[PEER]
        yield Bound(f"{form}: scrapes of ours that failed", ours["failures"], 0)
        faster = ours["per_second"] / peer["per_second"]
        yield Bound(f"{form}: scrapes a second / start_http_server's", faster, 1.0, at_least=True)
        yield Bound(f"{form}: p99 of a scrape / start_http_server's", ours["p99"] / peer["p99"], 1.0)


def _of_the_soak(soak: Any) -> Iterator[Bound]:
    for kind, name in NAMES.items():
        application = soak["applications"][kind]
        yield Bound(f"{name}: errors that we caused", len(application[WATCHED]["ours"]), 0)
        more, noise = _difference(soak["windows"][kind])
        yield Bound(f"{name}: errors a restart, watched less bare", more, noise)
        own, shown = soak["counted"][kind]["own"], soak["counted"][kind]["shown"]
        yield Bound(f"{name}: of {own} checkouts, those that the page miscounts", abs(own - shown), 0)
    yield Bound("errors of ours that an application never saw", soak["contained"], 0)
    yield Bound("connections that we place elsewhere than the pool does", soak["drift"] or 0, 0)
    yield Bound("scrapes that failed", soak["scrapes"]["failures"], 0)
    growth = _growth(soak["processes"])
    yield Bound("sidecar: memory at the end / half-way", growth["sidecar"], FLAT)
    for kind in NAMES:
        watched, bare = (growth[f"{kind}, {mode}"] for mode in (WATCHED, BARE))
        yield Bound(f"{kind}, watched: memory at the end / half-way", watched, max(FLAT, bare))
    for what in ("threads", "descriptors"):
        of_ours = soak["processes"]["sidecar"][what]
        # Half-way, and not at the start: then the scrapers had yet to connect.
        half = of_ours["half"]
        yield Bound(f"sidecar: {what} at the end, {half:g} half-way", of_ours["end"], half + 2)


def _growth(processes: Any) -> dict[str, float]:
    """Return by process what it takes at the end as a part of what it took half-way."""
    return {name: taken["megabytes"]["end"] / taken["megabytes"]["half"] for name, taken in processes.items()}


def _difference(windows: list[dict[str, int]]) -> tuple[float, float]:
    """Return by how many errors a restart costs the watched application more, and how many are noise."""
    differences = [window[WATCHED] - window[BARE] for window in windows]
    usual = statistics.mean(window[BARE] for window in windows)
    return statistics.mean(differences), max(_by_chance(differences), LEAST_NOISE * usual)


def _by_chance(differences: list[int]) -> float:
    """Return what the mean is at most, but for one run in a hundred, when in each round either might be the other."""
    rounds, draw = len(differences), random.Random(0)
    swaps: Iterable[Sequence[int]] = (
        itertools.product((1, -1), repeat=rounds)
        if rounds <= _MOST_ROUNDS
        else (draw.choices((1, -1), k=rounds) for _ in range(2**_MOST_ROUNDS))
    )
    means = sorted(statistics.fmean(map(operator.mul, signs, differences)) for signs in swaps)
    return means[math.ceil((1 - CHANCE) * len(means)) - 1]


def _heading(figures: Any) -> str:
    versions, soak = figures["versions"], figures["soak"]
    return (
        f"CPython {versions['python']}, SQLAlchemy {versions['sqlalchemy']}, prometheus_client "
        f"{versions['prometheus_client']}, {figures['cores']} cores.\n"
        f"{soak['seconds']:g} s with {soak['restarts']} restarts of a server and {soak['recycles']} recycled workers."
    )


def _page(page: Any) -> str:
    head = f"{page['scrapers']} scrapers, {page['pools']} pools, {page['series'][OURS]} series"
    lines = [_line(head, "scrapes/s", "p50, ms", "p99, ms", "failed")]
    for form, seen in page["forms"].items():
        for name, of in seen.items():
            cells = (f"{of['per_second']:.1f}", f"{of['p50']:.1f}", f"{of['p99']:.1f}", str(of["failures"]))
            lines.append(_line(f"  {name}, {FORMS[form]}", *cells))
    return "\n".join(lines)


def _applications(soak: Any, scrapers: int) -> str:
    lines = [_line("applications", "requests", "errors", "a restart", "by us")]
    for kind, name in NAMES.items():
        for mode, done in soak["applications"][kind].items():
            a_restart = statistics.mean(window[mode] for window in soak["windows"][kind])
            cells = (
                str(done["requests"]),
                str(sum(done["errors"].values())),
                f"{a_restart:.1f}",
                str(len(done["ours"])),
            )
            lines.append(_line(f"  {name}, {mode}", *cells))
    scrapes = soak["scrapes"]
    lines += [
        "",
        _line(f"the sidecar meanwhile, scraped {scrapers} times a second", "scrapes", "p50, ms", "p99, ms", "failed"),
    ]
    cells = (str(scrapes["scrapes"]), f"{scrapes['p50']:.1f}", f"{scrapes['p99']:.1f}", str(scrapes["failures"]))
    return "\n".join([*lines, _line("", *cells)])


def _processes(soak: Any) -> str:
    lines = [_line("processes that stayed: start, half-way, end", "RSS, MB", "threads", "descriptors")]
    for name, taken in soak["processes"].items():
        cells = [" ".join(f"{taken[what][part]:g}" for part in ("start", "half", "end")) for what in taken]
        lines.append(_line(f"  {name}", *cells))
    return "\n".join(lines)


def _line(name: str, *cells: str) -> str:
    return f"{name:<50}" + "".join(f"{cell:>21}" if len(cells) == 3 else f"{cell:>12}" for cell in cells)
